"""What is measured, W1 to W5; each measure submits, waits for the last end, and says how long it took."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import redis
from celery import chain, chord

from rig import Rig, Trouble

LOOK_EVERY_S = 0.02


@dataclass
class Sample:
    """A figure in the measure's unit, and what else was seen."""

    value: float
    extra: dict = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """A workload."""

    name: str
    unit: str
    size: int
    quick_size: int
    run: Callable[[Rig, int, float], Sample]
    once: bool = False
    skipped_when_quick: bool = False


def singles(rig, size, deadline):
    noop = rig.sender.signature("bench.noop")
    begun = time.time()
    ids = [noop.apply_async().id for _ in range(size)]
    return Sample(size / (last_end(rig, ids, size, deadline) - begun))


def fan(rig, size, deadline):
    begun = time.time()
    result = one_fan(rig, size)
    try:
        counted = rig.get(result, deadline)
    except Trouble:
        # The client hears of every single result first, and may lag far behind the finalize.
        ended = last_end(rig, [result.id], size + 1, time.monotonic() + 5)
        return Sample(ended - begun, note="the client did not have the result in time")
    held = time.time() - begun
    expect(counted == {"count": size}, f"finalize got {counted}, not {size} results")
    return Sample(last_end(rig, [result.id], size + 1, deadline) - begun, {"client": held})


def fans(rig, size, deadline):
    begun = time.time()
    results = [one_fan(rig, 10) for _ in range(size)]
    ended = last_end(rig, [r.id for r in results], 11 * size, deadline)
    for result in results:
        expect(rig.get(result, deadline) == {"count": 10}, "a finalize did not get its ten results")
    return Sample(11 * size / (ended - begun))


def one_fan(rig, size):
    noop, count = rig.workload.noop, rig.workload.count
    return chord((noop.si(n) for n in range(size)), count.s()).apply_async()


def hops(rig, size, deadline):
    begun = time.time()
    result = chain(rig.workload.noop.s() for _ in range(size)).apply_async()
    rig.get(result, deadline)
    return Sample((time.time() - begun) / size * 1e3)


def pipelines(rig, size, deadline):
    noop = rig.sender.signature("bench.noop")
    begun = time.time()
    ids = []
    for _ in range(size):
        steps = chain(noop.clone(), noop.clone(), noop.clone(), app=rig.sender)
        ids.append(steps.apply_async().id)
    return Sample(3 * size / (last_end(rig, ids, 3 * size, deadline) - begun))


def latencies(rig, size, deadline):
    took = []
    for _ in range(size):
        begun = time.perf_counter()
        rig.get(rig.workload.noop.delay(), deadline)
        took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    return Sample(took[size // 2], {"p99": took[size * 99 // 100]})


ALL = (
    Measure("W1 10,000 one-task runs", "tasks/s", 10_000, 2_000, singles),
    Measure("W2 fan-out 1,000 + finalize", "s", 1_000, 1_000, fan),
    Measure("W2 100 fan-outs of 10", "tasks/s", 100, 30, fans),
    Measure("W2 fan-out 10,000 + finalize", "s", 10_000, 0, fan, once=True, skipped_when_quick=True),
    Measure("W3 chain of 50, per hop", "ms", 50, 50, hops),
    Measure("W3 chain of 1,000, per hop", "ms", 1_000, 0, hops, once=True, skipped_when_quick=True),
    Measure("W4 1,000 three-step pipelines", "tasks/s", 1_000, 300, pipelines),
    Measure("W5 submit → result, p50", "ms", 200, 50, latencies),
)


def last_end(rig, ids, tasks, deadline):
    """Waits until the tasks named have ended, and says when the last did, in seconds since 1970.

    `tasks` is how many have been sent in all, those that run in between included.
    """
    left, ended = set(ids), 0.0
    # Looking costs the workers nothing while messages are waiting anyway.
    while left:
        if time.monotonic() > deadline:
            raise Trouble(f"{len(left):,} of {len(ids):,} not ended in time; workers said: {rig.last_words()}")
        time.sleep(LOOK_EVERY_S)
        if rig.redis.llen("bench") > 0:
            continue
        for key, state, at in ends(rig, left):
            expect(state == "SUCCESS", f"task {key} ended as {state}")
            left.discard(key)
            ended = max(ended, at)
    if rig.configuration.rows:
        ended = max(ended, rows_end(rig, tasks, deadline))
    return ended


def ends(rig, ids):
    """Those of the tasks that have ended: id, state, time."""
    ids = list(ids)
    if rig.configuration.database_results:
        query = "select task_id, status, date_done from celery_taskmeta where task_id = any(%s) and status <> 'STARTED'"
        found = rig.rows.execute(query, (ids,)).fetchall()
        return [(key, state, at.replace(tzinfo=UTC).timestamp()) for key, state, at in found]
    found = []
    for start in range(0, len(ids), 1_000):
        part = ids[start : start + 1_000]
        for key, meta in zip(part, rig.redis.mget([f"celery-task-meta-{i}" for i in part]), strict=True):
            if meta is not None:
                meta = json.loads(meta)
                at = datetime.fromisoformat(meta["date_done"])
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                found.append((key, meta["status"], at.timestamp()))
    return found


def rows_end(rig, tasks, deadline):
    """The same by the application's rows, which are written last; then it forgets them."""
    while True:
        open_, ended, done = rig.rows.execute(
            "select count(*) filter (where state <> 'SUCCESS'), max(finished_ms), count(*) from task_rows"
        ).fetchone()
        if open_ == 0 and done >= tasks:
            rig.rows.execute("truncate task_rows")
            return ended / 1e3
        if time.monotonic() > deadline:
            raise Trouble(f"{open_} of {done} rows were not marked as succeeded in time, {tasks} expected")
        time.sleep(LOOK_EVERY_S)


def expect(fact, otherwise):
    if not fact:
        raise Trouble(otherwise)


def servers(postgres_url, redis_url):
    """Versions and durability of both servers."""
    with psycopg.connect(postgres_url) as connection:
        shown = {
            name: connection.execute(f"show {name}").fetchone()[0]
            for name in ("server_version", "fsync", "synchronous_commit")
        }
    client = redis.Redis.from_url(redis_url)
    try:
        persistence = client.config_get("save", "appendonly")
        return {
            "postgres": shown["server_version"],
            "postgres_fsync": shown["fsync"],
            "postgres_synchronous_commit": shown["synchronous_commit"],
            "redis_server": client.info("server")["redis_version"],
            "redis_save": persistence.get("save", ""),
            "redis_appendonly": persistence.get("appendonly", ""),
        }
    finally:
        client.close()
