"""A power cut in the middle: what was accepted is done, and done once."""

from __future__ import annotations

import httpx
import pytest

from client import begun, ended, every, stream, submit

# Leases run out in a second, not in half a minute: then somebody else goes on.
QUICK = {"AQUATINT_LEASE": "1s"}


@pytest.fixture
def server(new_server):
    return new_server(settings=QUICK)


def connect(server):
    return httpx.Client(base_url=server.url, timeout=30)


def crash(server):
    server.kill()
    server.start()


def test_a_batch_that_is_cut_off_again_and_again_ends_and_is_finalized_once(server):
    items = [{"text": str(n), "bad": n == 7, "duration": "150ms"} for n in range(30)]
    with connect(server) as api:
        answer = api.post("/api/v1/batches", json={"workflow": "item", "items": items, "finalize": "collect"})
        assert answer.status_code == 202, answer.text
        batch = answer.json()["id"]
    # Twice: of a task that three workers vanished with, it is believed that it was the task's fault.
    for done in (1, 15):
        with connect(server) as api:
            when_done(api, batch, done)
        crash(server)
    with connect(server) as api:
        assert ended(api, batch)["state"] == "succeeded"
        told = api.get(f"/api/v1/batches/{batch}").json()
        failed = [i for i in every(api, f"/api/v1/batches/{batch}/items") if i["state"] != "succeeded"]
        assert [i["item"] for i in failed] == [7], [(i["item"], i["failure"]) for i in failed]
        assert told["items"] == {"total": 30, "open": 0, "failed": 1}
        assert told["result"] == {"total": 30, "completed": 29, "failed": 1, "indices": list(range(30))}
        runs = [r for r in every(api, "/api/v1/runs", all="true", limit=500) if r["parent"] == batch]
        assert len([r for r in runs if r["workflow"] == "collect"]) == 1
        assert len([r for r in runs if r["workflow"] == "item"]) == 30
        with stream(api, f"/api/v1/runs/{batch}/stream") as heard:
            told = [m for m in heard if m.id]
        assert [int(m.id) for m in told] == list(range(1, len(told) + 1))
        finals = [m for m in told if m.data.get("step") == "finalize"]
        assert [m.event for m in finals].count("task_succeeded") == 1
        ends = [m.data["item"] for m in told if m.event in ("task_succeeded", "task_failed") and "item" in m.data]
        assert sorted(ends) == list(range(30)), "each item ended once"


def when_done(api, batch, count):
    """Returns when so many items have ended."""
    with stream(api, f"/api/v1/runs/{batch}/stream") as heard:
        for message in heard:
            assert message.event != "end", "too quick to be cut off"
            count -= message.event in ("task_succeeded", "task_failed") and message.data.get("item") is not None
            if count <= 0:
                return


def test_a_stream_that_a_crash_cut_off_is_replayed_without_a_gap(server):
    with connect(server) as api:
        items = [{"text": str(n), "duration": "100ms"} for n in range(12)]
        run = api.post("/api/v1/batches", json={"workflow": "item", "items": items, "max_parallel": 4}).json()["id"]
    seen, last, crashes, final = [], None, 0, None
    while final is None:
        try:
            with connect(server) as api, stream(api, f"/api/v1/runs/{run}/stream", after=last) as heard:
                for message in heard:
                    if message.id:
                        seen.append(message)
                        last = message.id
                    elif message.event == "end":
                        final = message.data
                    if crashes < 2 and len(seen) > 8 * (crashes + 1):
                        # While it is being read: the client sees its connection break.
                        server.kill()
                        crashes += 1
        except httpx.TransportError:
            pass
        if not server.url:
            server.start()
    assert crashes == 2
    assert [int(m.id) for m in seen] == list(range(1, len(seen) + 1))
    assert final["state"] == "succeeded" and final["last_event"] == len(seen)


def test_the_stream_of_everything_goes_on_after_a_crash(server):
    with connect(server) as api:
        before = submit(api, "nap", "30s", inputs={"duration": "0s"})["id"]
        with stream(api, "/api/v1/stream", after=0) as heard:
            last = next(m.id for m in heard if m.id)
    crash(server)
    with connect(server) as api:
        after = submit(api, "nap", "30s", inputs={"duration": "0s"})["id"]
        kinds = {before: [], after: []}
        with stream(api, "/api/v1/stream", after=last) as heard:
            for message in heard:
                kinds[message.data["run"]].append((message.data["seq"], message.event))
                if message.data["run"] == after and message.event == "run_succeeded":
                    break
        for run, told in kinds.items():
            everything = [(e["seq"], e["kind"]) for e in api.get(f"/api/v1/runs/{run}/events").json()["data"]]
            assert told == everything[len(everything) - len(told) :]
            assert len(told) >= len(everything) - 1


def test_what_was_accepted_is_accepted_once(server):
    headers = {"idempotency-key": "before and after"}
    body = {"workflow": "nap", "inputs": {"duration": "200ms", "text": "once"}}
    with connect(server) as api:
        first = api.post("/api/v1/runs", json=body, headers=headers).json()["id"]
        begun(api, first, "sleep")
    crash(server)
    with connect(server) as api:
        again = api.post("/api/v1/runs", json=body, headers=headers).json()["id"]
        assert again == first
        assert ended(api, first)["outputs"] == {"text": "once"}
        outcomes = [a["outcome"] for a in every(api, f"/api/v1/runs/{first}/attempts") if a["step"] == "sleep"]
        assert outcomes.count("succeeded") == 1


def test_a_job_that_a_crash_cut_off_is_done(server):
    with connect(server) as api:
        runs = [submit(api, "nap", tags=["all of them"])["id"] for _ in range(40)]
        job = api.post("/api/v1/runs/bulk", json={"action": "cancel", "filter": {"tag": "all of them"}})
        assert job.status_code == 202
    crash(server)
    with connect(server) as api:
        for run in runs:
            assert ended(api, run)["state"] == "cancelled"


def test_keys_and_what_operators_said_outlive_a_crash(server):
    with connect(server) as api:
        api.post("/api/v1/queues/default/pause")
        api.put("/api/v1/queues/cpu/cap", json={"cap": 3})
        key = api.post("/api/v1/keys", json={"name": "kept", "scopes": ["admin"]}).json()["key"]
    crash(server)
    with connect(server) as api:
        assert api.get("/api/v1/runs").status_code == 401
        queues = {q["name"]: q for q in api.get("/api/v1/queues", headers={"x-api-key": key}).json()["data"]}
    assert queues["default"]["paused"] is True and queues["cpu"]["cap"] == 3


def test_the_database_is_whole_afterwards(server):
    with connect(server) as api:
        for _ in range(3):
            submit(api, "nap", inputs={"duration": "1h"})
        begun(
            api,
            submit(api, "image-generation", inputs={"prompt": "a storm", "width": 64, "height": 64})["id"],
            "refine",
        )
    server.kill()
    checked = server.command("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
