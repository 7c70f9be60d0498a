"""The ways Celery is set up for the comparison: what people run, and the best that was found."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Configuration:
    """One way to run Celery."""

    name: str
    title: str
    #: What a "task" is there: what survives what, and what can be looked up afterwards.
    meaning: str
    #: Celery's own settings beyond broker and result backend.
    settings: dict = field(default_factory=dict)
    #: Arguments of each `celery worker`.
    arguments: tuple[str, ...] = ("--pool=prefork", "--concurrency=2")
    #: How many `celery worker` are started; the processes that run tasks are two in every case.
    workers: int = 1
    #: An application's own row per task in PostgreSQL: written at publish, at start, at the end.
    rows: bool = False
    #: Celery's SQLAlchemy result backend instead of Redis.
    database_results: bool = False
    #: Independent tasks and pipelines are sent by an app that does not subscribe to each result.
    quiet_sender: bool = False


LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
}

ALL = (
    Configuration(
        name="late",
        title="Redis, acks late, prefetch 1",
        meaning="message and result in Redis without persistence: lost when Redis restarts; a killed task "
        "runs again after the visibility timeout (1 h by default); no history, no list of runs",
        settings=LATE,
    ),
    Configuration(
        name="postgres",
        title="the same, task state in Postgres",
        meaning="as above, and a row per task in PostgreSQL that the application commits when the task is "
        "published, when it starts and when it ends with its result: durable and inspectable, but the "
        "message, and with it the work, is still only in Redis",
        settings=LATE,
        rows=True,
    ),
    Configuration(
        name="database",
        title="the same, SQLAlchemy result backend",
        meaning="results in PostgreSQL by Celery's own database backend, STARTED recorded; chords are joined "
        "by a task that polls (default 1 s), and a client polls for its result (every 2 ms here); before "
        "it starts a task is only a message in Redis",
        settings={**LATE, "task_track_started": True},
        database_results=True,
    ),
    Configuration(
        name="tuned",
        title="best tuning found",
        meaning="acknowledged before it runs: a killed worker loses what it had fetched, up to 64 tasks a "
        "process; message and result in Redis without persistence",
        settings={
            "worker_prefetch_multiplier": 64,
            "worker_disable_rate_limits": True,
            "task_send_sent_event": False,
            "worker_send_task_events": False,
        },
        arguments=("--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        workers=2,
        quiet_sender=True,
    ),
    Configuration(
        name="tuned-prefork",
        title="tuned, prefork pool",
        meaning="as `tuned`, with Celery's default pool of two processes",
        settings={
            "worker_prefetch_multiplier": 64,
            "worker_disable_rate_limits": True,
            "task_send_sent_event": False,
            "worker_send_task_events": False,
        },
        arguments=(
            "--pool=prefork",
            "--concurrency=2",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ),
        quiet_sender=True,
    ),
)
