"""What clients and operators of a batch service do: files fan out, one finalize, live progress, steering."""

from __future__ import annotations

import json
import re
import threading

import httpx
import pytest

from client import begun, ended, every, png, stream, submit, until


@pytest.fixture(scope="module")
def site(new_server):
    """A server with the queues of such a service."""
    return new_server(
        queues="cpu:4,default:2,batch_processing:4,model_generation:8,maintenance:2,priority:2",
        # Workers tell of themselves, and hear of orders, a few times a lease.
        settings={"AQUATINT_LEASE": "2s"},
    )


@pytest.fixture
def ops(site):
    with httpx.Client(base_url=site.url, timeout=30) as ops:
        yield ops


def batch_of_files(api, count, *bad, **form):
    files = [("file", (f"{n}.png", b"spoilt" if n in bad else png(8 + n, 8), "image/png")) for n in range(count)]
    answer = api.post("/api/v1/batches", data={"workflow": "enlarge", "finalize": "collect", **form}, files=files)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


# ---- a batch -----------------------------------------------------------------------------------


def test_files_fan_out_to_one_task_each_and_one_bad_file_does_not_sink_the_batch(ops):
    batch = batch_of_files(ops, 9, 2, 5)
    ended(ops, batch)
    done = ops.get(f"/api/v1/batches/{batch}").json()
    assert done["state"] == "succeeded" and done["items"] == {"total": 9, "open": 0, "failed": 2}
    assert done["result"] == {"total": 9, "completed": 7, "failed": 2, "indices": list(range(9))}
    items = every(ops, f"/api/v1/batches/{batch}/items", limit=4)
    assert [i["item"] for i in items] == list(range(9))
    assert [i["item"] for i in items if i["state"] == "failed"] == [2, 5]
    assert all(i["failure"]["message"] for i in items if i["state"] == "failed")
    # What was sent belongs to the batch, what was made of it to the item's own run.
    assert {f["step"] for f in every(ops, f"/api/v1/runs/{batch}/artifacts")} == {"inputs"}
    files = every(ops, f"/api/v1/runs/{items[0]['child']}/artifacts")
    assert [f["step"] for f in files] == ["upscale"]


def test_the_finalize_runs_exactly_once_and_last(ops):
    batch = batch_of_files(ops, 6, 0)
    ended(ops, batch)
    finalizes = [r for r in every(ops, "/api/v1/runs", all="true", workflow="collect") if r["parent"] == batch]
    assert len(finalizes) == 1
    items = every(ops, f"/api/v1/batches/{batch}/items")
    assert max(i["finished_at"] for i in items) <= finalizes[0]["started_at"]
    with stream(ops, f"/api/v1/runs/{batch}/stream") as heard:
        told = [m for m in heard if m.data.get("step") == "finalize"]
    assert [m.event for m in told].count("task_succeeded") == 1


def test_a_batch_and_each_of_its_files_are_followed_live(ops):
    items = [{"text": f"file {n}", "duration": "300ms" if n < 2 else "0s"} for n in range(5)]
    batch = ops.post("/api/v1/batches", json={"workflow": "item", "items": items}).json()["id"]
    ends, children = {}, {}
    with stream(ops, f"/api/v1/runs/{batch}/stream") as heard:
        for message in heard:
            if message.event == "child_started" and message.data["step"] == "items":
                children[message.data["item"]] = message.data["child"]
            if message.event == "task_succeeded" and message.data.get("item") is not None:
                ends[message.data["item"]] = message.data["seq"]
    assert sorted(ends) == sorted(children) == [0, 1, 2, 3, 4]
    with stream(ops, f"/api/v1/runs/{children[0]}/stream") as heard:
        kinds = [m.event for m in heard]
    assert kinds[0] == "run_submitted" and kinds[-1] == "end"


def test_a_batch_publishes_its_end_to_whoever_listens(ops):
    with stream(ops, "/api/v1/stream") as heard:
        batch = batch_of_files(ops, 3)
        for message in heard:
            if message.data["run"] == batch and message.event == "run_succeeded":
                break


def test_a_batch_of_bad_files_only_still_ends_with_its_count(ops):
    batch = batch_of_files(ops, 3, 0, 1, 2)
    ended(ops, batch)
    done = ops.get(f"/api/v1/batches/{batch}").json()
    assert done["state"] == "succeeded"
    assert (done["result"]["completed"], done["result"]["failed"]) == (0, 3)


def test_no_more_items_run_at_a_time_than_was_said(ops):
    items = [{"text": str(n), "duration": "60ms"} for n in range(8)]
    batch = ops.post("/api/v1/batches", json={"workflow": "item", "items": items, "max_parallel": 2}).json()["id"]
    ended(ops, batch)
    runs = [r for r in every(ops, "/api/v1/runs", all="true", limit=500) if r["parent"] == batch]
    moments = sorted([(r["started_at"], 1) for r in runs] + [(r["finished_at"], -1) for r in runs])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    assert len(runs) == 8 and most <= 2


def test_a_batch_in_the_middle_is_cancelled_with_all_its_items(ops):
    items = [{"text": str(n), "duration": "1h"} for n in range(6)]
    batch = ops.post("/api/v1/batches", json={"workflow": "item", "items": items}).json()["id"]
    begun(ops, batch, "items")
    assert ops.post(f"/api/v1/runs/{batch}/cancel").json()["state"] == "cancelled"

    def all_ended():
        mine = [r for r in every(ops, "/api/v1/runs", all="true", limit=500) if r["parent"] == batch]
        return mine if all(r["finished_at"] for r in mine) else None

    assert {r["state"] for r in until("its items", all_ended)} <= {"cancelled"}


# ---- operators ---------------------------------------------------------------------------------


def queue(ops, name):
    return next((q for q in every(ops, "/api/v1/queues") if q["name"] == name), None)


def test_operators_see_what_workers_do(ops):
    run = submit(ops, "nap")["id"]
    begun(ops, run, "sleep")
    workers = every(ops, "/api/v1/workers")
    assert len(workers) == 1 and workers[0]["state"] == "live"
    served = {q["name"]: q["slots"] for q in workers[0]["queues"]}
    assert served["model_generation"] == 8 and served["batch_processing"] == 4
    mine = until(
        "it to show", lambda: [a for a in every(ops, "/api/v1/workers")[0]["attempts"] if a["run"] == run] or None
    )
    assert (mine[0]["workflow"], mine[0]["step"], mine[0]["queue"]) == ("nap", "sleep", "default")
    assert queue(ops, "default")["running"] == 1
    ops.post(f"/api/v1/runs/{run}/cancel")


def test_a_paused_queue_gives_no_work_until_it_is_resumed(ops):
    assert ops.post("/api/v1/queues/default/pause").json()["paused"] is True
    run = submit(ops, "nap", inputs={"duration": "0s"})["id"]
    assert queue(ops, "default")["ready"] == 1
    assert ops.get(f"/api/v1/runs/{run}?wait=300ms").json()["finished_at"] is None
    assert ops.post("/api/v1/queues/default/resume").json()["paused"] is False
    assert ended(ops, run)["state"] == "succeeded"


def test_a_purge_cancels_what_waits_and_leaves_what_runs(ops):
    running = submit(ops, "nap")["id"]
    begun(ops, running, "sleep")
    ops.post("/api/v1/queues/default/pause")
    waiting = [submit(ops, "nap")["id"] for _ in range(3)]
    assert ops.post("/api/v1/queues/default/purge").json() == {"cancelled": 3}
    ops.post("/api/v1/queues/default/resume")
    assert {ended(ops, run)["state"] for run in waiting} == {"cancelled"}
    assert ops.get(f"/api/v1/runs/{running}").json()["finished_at"] is None
    ops.post(f"/api/v1/runs/{running}/cancel")


def test_a_cap_holds_over_all_workers(ops):
    assert ops.put("/api/v1/queues/default/cap", json={"cap": 1}).json()["cap"] == 1
    runs = [submit(ops, "nap")["id"] for _ in range(2)]
    begun(ops, runs[0], "sleep")
    ops.get(f"/api/v1/runs/{runs[1]}?wait=300ms")
    assert queue(ops, "default")["running"] == 1
    assert ops.put("/api/v1/queues/default/cap", json={"cap": None}).json()["cap"] is None
    begun(ops, runs[1], "sleep")
    for run in runs:
        ops.post(f"/api/v1/runs/{run}/cancel")


def test_concurrency_is_changed_while_work_goes_on(ops):
    def slots():
        return {q["name"]: q["slots"] for w in every(ops, "/api/v1/workers") for q in w["queues"]}

    before = slots()["maintenance"]
    answer = ops.put("/api/v1/workers/all/slots", json={"maintenance": before + 3})
    assert answer.status_code == 200 and len(answer.json()["told"]) == 1
    until("more slots", lambda: slots()["maintenance"] == before + 3 or None)
    ops.put("/api/v1/workers/all/slots", json={"maintenance": before})
    until("fewer slots", lambda: slots()["maintenance"] == before or None)


def test_events_are_watched_live(ops):
    seen, ready = [], threading.Event()

    def watch():
        with httpx.Client(base_url=str(ops.base_url), timeout=30) as other, stream(other, "/api/v1/stream") as heard:
            ready.set()
            for message in heard:
                seen.append(message)
                if message.event == "run_failed":
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert ready.wait(20)
    run = submit(ops, "second-try", "30s")["id"]
    watcher.join(20)
    kinds = [m.event for m in seen if m.data["run"] == run]
    assert kinds[0] == "run_submitted" and kinds[-1] == "run_failed" and "task_failed" in kinds


def test_metrics_count_tasks_by_name_and_outcome(ops):
    submit(ops, "nap", "30s", inputs={"duration": "0s"})
    submit(ops, "second-try", "30s")
    answer = ops.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    for line in text.splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[a-z_:]+(\{.*\})? \S+", line), line
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    by_outcome = [s for s in samples if "core.sleep" in s and "outcome=" in s]
    assert by_outcome, "tasks by name and outcome"
    assert any("core.fail" in s and 'outcome="failed"' in s for s in samples)
    bounds = {
        float(m[1]) for s in samples if "_bucket" in s and "core.sleep" in s and (m := re.search(r'le="([0-9.]+)"', s))
    }
    assert {1, 5, 10, 30, 60, 120, 300, 600} <= bounds, "the histogram's buckets"
    for name in ("aquatint_queue_length", "aquatint_tasks_active"):
        assert any(s.startswith(name + "{") and 'queue="batch_processing"' in s for s in samples), name


def test_a_worker_is_restarted_without_losing_work(new_server):
    server = new_server()
    with httpx.Client(base_url=server.url, timeout=30) as api:
        items = [{"text": str(n), "duration": "100ms"} for n in range(12)]
        batch = api.post("/api/v1/batches", json={"workflow": "item", "items": items, "finalize": "collect"}).json()[
            "id"
        ]
        begun(api, batch, "items")
    assert server.stop() == 0, server.said()
    server.start()
    with httpx.Client(base_url=server.url, timeout=30) as api:
        ended(api, batch)
        assert api.get(f"/api/v1/batches/{batch}").json()["result"]["completed"] == 12


def test_a_batch_is_kept_as_json_says(ops):
    """The finalize's result is what a program reads a day later."""
    batch = batch_of_files(ops, 2, common=json.dumps({"factor": 4}))
    ended(ops, batch)
    items = every(ops, f"/api/v1/batches/{batch}/items")
    assert [i["output"]["width"] for i in items] == [32, 36]
