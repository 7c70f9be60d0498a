"""The Celery application that is measured: tasks that do nothing, and a row per task where asked for.

Client and workers import it alike; `WORKLOAD_OPTIONS` (JSON, set by rig.py) says how it is configured.
"""

import json
import os
import time

from celery import Celery, signals

OPTIONS = json.loads(os.environ["WORKLOAD_OPTIONS"])

app = Celery("workload", broker=OPTIONS["broker"], backend=OPTIONS["backend"])
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_default_queue="bench",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    **OPTIONS["settings"],
)


@app.task(name="bench.noop")
def noop(previous=None):
    """Does nothing, at once."""
    return {"value": 1}


@app.task(name="bench.count")
def count(results):
    """Counts what it is given: the finalize of a fan-out."""
    return {"count": len(results)}


TABLE = """create table task_rows (
    id text primary key, task text not null, state text not null, result text,
    submitted_ms bigint not null, started_ms bigint, finished_ms bigint
)"""

if OPTIONS["rows"]:
    import psycopg

    connections = {}

    def execute(statement, parameters):
        """One statement, one commit; a forked process must not share its parent's connection."""
        connection = connections.get(os.getpid())
        if connection is None:
            connection = connections[os.getpid()] = psycopg.connect(OPTIONS["rows"], autocommit=True)
        connection.execute(statement, parameters, prepare=True)

    def now_ms():
        return time.time_ns() // 1_000_000

    @signals.before_task_publish.connect
    def published(headers=None, **_):
        execute(
            "insert into task_rows (id, task, state, submitted_ms) values (%s, %s, 'PENDING', %s) "
            "on conflict (id) do nothing",
            (headers["id"], headers["task"], now_ms()),
        )

    @signals.task_prerun.connect
    def started(task_id=None, **_):
        execute(
            "update task_rows set state = 'STARTED', started_ms = %s where id = %s",
            (now_ms(), task_id),
        )

    @signals.task_postrun.connect
    def finished(task_id=None, state=None, retval=None, **_):
        execute(
            "update task_rows set state = %s, result = %s, finished_ms = %s where id = %s",
            (state, json.dumps(retval), now_ms(), task_id),
        )
