"""The API under /api/v1, as a careful client uses it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest

from client import (
    begun,
    bomb,
    ended,
    every,
    is_problem,
    is_refused,
    png,
    png_size,
    run_ids,
    stream,
    submit,
    until,
)

NOBODY = str(uuid.UUID(int=7, version=4))
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64, "factor": 1}


# ---- submit and wait ---------------------------------------------------------------------------


def test_a_run_is_accepted_and_its_address_told(api):
    answer = api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"duration": "0s", "text": "hello"}})
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
    assert uuid.UUID(run["id"]) and run["state"] in ("pending", "running")
    assert ended(api, run["id"])["outputs"] == {"text": "hello"}


@pytest.mark.parametrize(
    ("params", "headers"),
    [({"wait": "30s"}, {}), ({"wait": "30"}, {}), ({}, {"prefer": "wait=30"}), ({}, {"prefer": "foo, wait=30"})],
)
def test_a_request_may_wait_for_the_end(api, params, headers):
    body = {"workflow": "image-generation", "inputs": SMALL, "tags": ["waited"]}
    answer = api.post("/api/v1/runs", params=params, headers=headers, json=body, timeout=40)
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert (run["state"], run["tags"], run["outputs"]["width"]) == ("succeeded", ["waited"], 64)


def test_a_wait_that_is_too_short_leaves_the_run_going_on(api):
    answer = api.post("/api/v1/runs?wait=100ms", json={"workflow": "nap"})
    assert answer.status_code == 202
    run = answer.json()["id"]
    assert api.get(f"/api/v1/runs/{run}?wait=50ms").json()["finished_at"] is None
    assert api.post(f"/api/v1/runs/{run}/cancel").json()["state"] == "cancelled"


def test_many_may_wait_for_the_same_run(api):
    run = submit(api, "nap")["id"]
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(ended, api, run) for _ in range(6)]
        begun(api, run, "sleep")
        assert api.post(f"/api/v1/runs/{run}/cancel").status_code == 200
        assert {w.result()["state"] for w in waiting} == {"cancelled"}


def test_a_form_submits_as_json_does(api):
    inputs = json.dumps({"factor": 2})
    form = {"workflow": "enlarge", "inputs": inputs, "tags": "form, two"}
    answer = api.post("/api/v1/runs?wait=30s", data=form, files={"image": ("mine.png", png(20, 10), "image/png")})
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert (run["outputs"]["width"], run["outputs"]["height"], run["tags"]) == (40, 20, ["form", "two"])


def test_what_a_run_did_is_told(api):
    run = submit(api, "second-try", wait="30s")
    assert run["state"] == "failed"
    assert (run["failure"]["step"], run["failure"]["class"]) == ("second", "intended")
    detail = api.get(f"/api/v1/runs/{run['id']}").json()
    states = {step["step"]: step["state"] for step in detail["steps"]}
    assert states["first"] == "succeeded" and states["second"] == "failed"
    attempts = every(api, f"/api/v1/runs/{run['id']}/attempts")
    assert [(a["step"], a["outcome"]) for a in attempts if a["step"] != "outputs"] == [
        ("first", "succeeded"),
        ("second", "failed"),
    ]
    lines = every(api, f"/api/v1/runs/{run['id']}/logs", step="second", tail=5)
    assert [line["message"] for line in lines] == ["attempt 1 fails on purpose"]
    assert every(api, f"/api/v1/runs/{run['id']}/logs", attempt=9) == []


# ---- idempotency -------------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_first_run_back(api):
    headers = {"idempotency-key": str(uuid.uuid4())}
    body = {"workflow": "nap", "inputs": {"duration": "0s"}}

    def send(_):
        return api.post("/api/v1/runs", json=body, headers=headers).json()["id"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(16)))) == 1


def test_the_same_key_with_another_body_is_refused(api):
    headers = {"idempotency-key": str(uuid.uuid4())}
    first = api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"duration": "0s"}}, headers=headers)
    before = run_ids(api)
    again = api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"duration": "1ms"}}, headers=headers)
    is_problem(again, 422, "idempotency_key_reused")
    other = api.post("/api/v1/runs", json={"workflow": "second-try"}, headers=headers)
    is_problem(other, 422, "idempotency_key_reused")
    assert run_ids(api) == before
    assert ended(api, first.json()["id"])["state"] == "succeeded"


@pytest.mark.parametrize("key", ["", "x" * 201, "é".encode()])
def test_an_idempotency_key_that_cannot_be_one_is_refused(api, key):
    before = run_ids(api)
    headers = [(b"idempotency-key", key if isinstance(key, bytes) else key.encode())]
    is_problem(api.post("/api/v1/runs", json={"workflow": "nap"}, headers=headers), 400)
    assert run_ids(api) == before


# ---- lists -------------------------------------------------------------------------------------


def test_every_run_is_listed_exactly_once_while_others_are_submitted(api):
    tag = f"list-{uuid.uuid4()}"
    mine = [submit(api, "nap", inputs={"duration": "0s"}, tags=[tag])["id"] for _ in range(17)]
    found, cursor = [], None
    while True:
        params = {"tag": tag, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = api.get("/api/v1/runs", params=params).json()
        assert len(page["data"]) <= 3
        found += [run["id"] for run in page["data"]]
        submit(api, "nap", inputs={"duration": "0s"}, tags=[tag])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == mine[::-1]


def test_lists_are_filtered(api):
    tag = f"filter-{uuid.uuid4()}"
    good = submit(api, "nap", "30s", inputs={"duration": "0s", "text": f"needle{tag}"}, tags=[tag])["id"]
    bad = submit(api, "second-try", "30s", tags=[tag, "other"])["id"]

    def listed(**params):
        return {run["id"] for run in every(api, "/api/v1/runs", **params)}

    assert listed(tag=tag) == {good, bad}
    assert listed(tag=tag, state="failed") == {bad}
    assert listed(tag=tag, state="failed,succeeded") == {good, bad}
    assert listed(tag=tag, state="cancelled") == set()
    assert listed(tag=tag, workflow="nap") == {good}
    assert listed(q=f"needle{tag}") == {good}
    assert listed(q=bad) == {bad}
    at = api.get(f"/api/v1/runs/{bad}").json()["created_at"]
    assert listed(tag=tag, created_from=at) == {bad}
    assert listed(tag=tag, created_to=at) == {good}
    assert listed(tag=tag, created_from="2099-01-01") == set()
    assert listed(tag="%") == listed(q="%_%no such%") == set()


def test_steps_that_are_runs_are_listed_only_when_asked_for(api):
    tag = f"children-{uuid.uuid4()}"
    batch = {"workflow": "item", "items": [{"text": "x"}] * 3, "tags": [tag]}
    run = api.post("/api/v1/batches", json=batch).json()["id"]
    ended(api, run)
    everything = every(api, "/api/v1/runs", all="true", limit=500)
    children = {r["id"] for r in everything if r["parent"] == run}
    assert len(children) == 3
    assert not children & {r["id"] for r in every(api, "/api/v1/runs", limit=500)}


# ---- streams -----------------------------------------------------------------------------------


def fan_out(api, items=12):
    batch = {"workflow": "item", "items": [{"text": str(n)} for n in range(items)], "max_parallel": 3}
    answer = api.post("/api/v1/batches", json=batch)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def test_a_stream_that_breaks_again_and_again_loses_nothing_and_tells_nothing_twice(api):
    run = fan_out(api)
    seen, last, final = [], None, None
    while final is None:
        with stream(api, f"/api/v1/runs/{run}/stream", after=last) as heard:
            for count, message in enumerate(heard):
                if message.id is not None:
                    assert message.data["seq"] == int(message.id) and message.event == message.data["kind"]
                    seen.append(message.data)
                    last = message.id
                elif message.event == "end":
                    final = message.data
                if count >= 4:
                    break
    numbers = [event["seq"] for event in seen]
    assert numbers == list(range(1, len(numbers) + 1))
    assert final["id"] == run and final["state"] == "succeeded" and final["last_event"] == numbers[-1]
    assert seen == every_event(api, run)


def every_event(api, run):
    found, after = [], 0
    while True:
        page = api.get(f"/api/v1/runs/{run}/events", params={"after": after}).json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        after = int(page["next_cursor"])


def test_a_stream_of_an_ended_run_replays_it_and_ends(api):
    run = submit(api, "nap", "30s", inputs={"duration": "0s"})
    with stream(api, f"/api/v1/runs/{run['id']}/stream") as heard:
        told = list(heard)
    assert told[0].event == "run_submitted" and [m.event for m in told[-2:]] == ["run_succeeded", "end"]
    assert told[-1].data["outputs"] == run["outputs"]
    for after in (run["last_event"], run["last_event"] + 1000):
        with stream(api, f"/api/v1/runs/{run['id']}/stream", after=after) as heard:
            assert [m.event for m in heard] == ["end"]


def test_progress_is_streamed(api):
    run = submit(api, "nap", inputs={"duration": "500ms"})["id"]
    with stream(api, f"/api/v1/runs/{run}/stream") as heard:
        told = [m.data for m in heard if m.event == "progress"]
    assert told and all(p["step"] == "sleep" and p["run"] == run and 0 <= p["percent"] <= 100 for p in told)
    assert all(a["percent"] <= b["percent"] for a, b in pairwise(told))


def test_the_stream_of_everything_resumes_where_it_broke_off(api):
    with stream(api, "/api/v1/stream", after=0) as heard:
        start = next(m.id for m in heard if m.id)
    runs = [submit(api, "nap", "30s", inputs={"duration": "0s"})["id"] for _ in range(4)]
    seen: dict[str, list[int]] = {run: [] for run in runs}
    last, is_over = start, False
    while not is_over:
        with stream(api, "/api/v1/stream", after=last) as heard:
            for count, message in enumerate(heard):
                if message.data["run"] in seen:
                    seen[message.data["run"]].append((message.data["seq"], message.data["kind"]))
                last = message.id or last
                is_over = all(kinds and kinds[-1][1] == "run_succeeded" for kinds in seen.values())
                # Events of one commit have one number: it is safe to leave where one was given.
                if is_over or (count >= 30 and message.id):
                    break
    for run, told in seen.items():
        assert told == [(e["seq"], e["kind"]) for e in every_event(api, run)]


def test_the_stream_of_everything_tells_what_happens_from_now_on(api):
    with stream(api, "/api/v1/stream") as heard:
        run = submit(api, "nap", inputs={"duration": "0s"})["id"]
        kinds = []
        for message in heard:
            if message.data["run"] == run:
                kinds.append(message.event)
                if message.event == "run_succeeded":
                    break
    assert kinds[0] == "run_submitted" and "task_started" in kinds


# ---- batches -----------------------------------------------------------------------------------


def test_a_batch_as_json(api):
    items = [{"text": f"item {n}", "bad": n == 4} for n in range(10)]
    batch = {"workflow": "item", "items": items, "common": {"duration": "0s"}, "finalize": "collect"}
    answer = api.post("/api/v1/batches", json=batch)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/api/v1/batches/{told['id']}"
    assert told["items"] == {"total": 10, "open": 10, "failed": 0} and told["workflow"] == "item"
    ended(api, told["id"])
    done = api.get(f"/api/v1/batches/{told['id']}").json()
    assert done["state"] == "succeeded" and done["items"] == {"total": 10, "open": 0, "failed": 1}
    assert done["result"] == {"total": 10, "completed": 9, "failed": 1, "indices": list(range(10))}
    found = every(api, f"/api/v1/batches/{told['id']}/items", limit=3)
    assert [i["item"] for i in found] == list(range(10))
    assert [i["state"] for i in found] == ["failed" if n == 4 else "succeeded" for n in range(10)]
    assert found[7]["output"] == {"text": "item 7"} and found[4]["failure"]["message"]
    assert told["id"] in {b["id"] for b in every(api, "/api/v1/batches", limit=2)}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl", "application/ndjson; charset=utf-8"])
def test_a_batch_as_lines(api, kind):
    lines = "\n".join(json.dumps({"text": f"line {n}"}) for n in range(5)) + "\n\n"
    answer = api.post(
        "/api/v1/batches", params={"workflow": "item"}, content=lines.encode(), headers={"content-type": kind}
    )
    assert answer.status_code == 202, answer.text
    ended(api, answer.json()["id"])
    done = api.get(f"/api/v1/batches/{answer.json()['id']}").json()
    assert (done["result"]["completed"], done["result"]["failed"]) == (5, 0)


def test_a_batch_as_a_form_of_files(api):
    files = [("file", (f"{n}.png", png(10 + n, 10), "image/png")) for n in range(4)]
    files.append(("file", ("notes.txt", b"no picture", "text/plain")))
    form = {"workflow": "enlarge", "common": json.dumps({"factor": 3}), "max_parallel": "2"}
    answer = api.post("/api/v1/batches", data=form, files=files)
    assert answer.status_code == 202, answer.text
    batch = answer.json()["id"]
    ended(api, batch)
    done = api.get(f"/api/v1/batches/{batch}").json()
    assert done["items"] == {"total": 5, "open": 0, "failed": 1}
    items = every(api, f"/api/v1/batches/{batch}/items")
    assert [i["output"]["width"] for i in items[:4]] == [30, 33, 36, 39]
    assert items[4]["state"] == "failed"


def test_a_batch_submitted_twice_is_one(api):
    headers = {"idempotency-key": str(uuid.uuid4())}
    batch = {"workflow": "item", "items": [{"text": "once"}]}
    first, second = (api.post("/api/v1/batches", json=batch, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    batch["items"].append({"text": "twice"})
    is_problem(api.post("/api/v1/batches", json=batch, headers=headers), 422, "idempotency_key_reused")


def test_a_batch_with_mistakes_names_each_and_leaves_nothing(api):
    before = run_ids(api)
    items = [{"text": "good"}, {}, {"text": 7}, {"text": "good", "more": 1}]
    problem = is_problem(api.post("/api/v1/batches", json={"workflow": "item", "items": items}), 422)
    assert {m["pointer"].split("/")[2] for m in problem["errors"]} == {"1", "2", "3"}
    assert run_ids(api) == before


def test_a_run_is_no_batch(api):
    run = submit(api, "nap", "30s", inputs={"duration": "0s"})["id"]
    is_problem(api.get(f"/api/v1/batches/{run}"), 404)
    is_problem(api.get(f"/api/v1/batches/{run}/items"), 404)


def test_nobody_makes_a_batch_of_a_run_by_its_tags(api):
    before = run_ids(api)
    body = {"workflow": "nap", "inputs": {"duration": "0s"}, "tags": ["aquatint:batch"]}
    problem = is_refused(api.post("/api/v1/runs", json=body))
    assert problem["errors"][0]["pointer"].startswith("/tags")
    batch = {"workflow": "item", "items": [{"text": "x"}], "tags": ["aquatint:x"]}
    is_refused(api.post("/api/v1/batches", json=batch))
    assert run_ids(api) == before


# ---- files -------------------------------------------------------------------------------------


def upload(api, content, name="mine.png", kind="image/png"):
    answer = api.post("/api/v1/uploads", params={"name": name}, content=content, headers={"content-type": kind})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_upload_is_an_input(api):
    image = upload(api, png(30, 20))
    assert (image["media_type"], image["name"], image["size_bytes"]) == ("image/png", "mine.png", len(png(30, 20)))
    run = submit(api, "enlarge", "30s", inputs={"image": image, "factor": 2})
    assert (run["outputs"]["width"], run["outputs"]["height"]) == (60, 40)
    files = every(api, f"/api/v1/runs/{run['id']}/artifacts")
    assert [f["step"] for f in files] == ["inputs", "upscale"]
    given = api.get(files[0]["url"])
    assert given.content == png(30, 20)
    assert png_size(api.get(files[1]["url"]).content) == (60, 40)


def test_an_upload_by_form_is_the_same_file(api):
    content = png(31, 21)
    by_body = upload(api, content)
    by_form = api.post("/api/v1/uploads", files={"whatever": ("mine.png", content, "image/png")})
    assert by_form.status_code == 201 and by_form.json() == by_body


@pytest.fixture(scope="module")
def picture(server):
    """The address of a picture of some size, and its bytes."""
    with httpx.Client(base_url=server.url, timeout=30) as api:
        run = submit(api, "image-generation", "30s", inputs=SMALL | {"width": 256, "height": 128})
        url = f"/api/v1/runs/{run['id']}/artifacts/{run['outputs']['image']['artifact']}"
        return url, api.get(url).content


def test_a_picture_is_sent_safely(api, picture):
    url, content = picture
    answer = api.get(url)
    assert png_size(content) == (256, 128)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith("inline")
    # Cached by whoever asked, and nobody between.
    assert "private" in answer.headers["cache-control"]


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=100-", "bytes=-100", "bytes=0-0", "bytes=10-99999999"])
def test_a_part_of_a_picture(api, picture, asked):
    url, content = picture
    size = len(content)
    first, last = asked.removeprefix("bytes=").split("-")
    begin = size - int(last) if not first else int(first)
    end = size - 1 if not first or not last else min(int(last), size - 1)
    answer = api.get(url, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == content[begin : end + 1]
    assert answer.headers["content-range"] == f"bytes {begin}-{end}/{size}"


def test_parts_that_cannot_be(api, picture):
    url, content = picture
    answer = api.get(url, headers={"range": f"bytes={len(content)}-"})
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{len(content)}"
    for whole in ("bytes=5-2", "lines=1-2", "bytes=0-1,3-4", "bytes=x-y"):
        answer = api.get(url, headers={"range": whole})
        assert answer.status_code == 200 and answer.content == content, whole
    changed = api.get(url, headers={"range": "bytes=0-9", "if-range": '"another"'})
    assert changed.status_code == 200
    same = api.get(url, headers={"range": "bytes=0-9", "if-range": api.head(url).headers["etag"]})
    assert same.status_code == 206


def test_a_picture_that_is_known_is_not_sent_again(api, picture):
    url, _ = picture
    tag = api.get(url).headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = api.get(url, headers={"if-none-match": known})
        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == tag
    assert api.get(url, headers={"if-none-match": '"other"'}).status_code == 200


def test_head_is_get_without_the_bytes(api, picture):
    url, content = picture
    head, get = api.head(url), api.get(url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(content)
    for name in ("content-type", "etag", "accept-ranges", "cache-control", "content-disposition"):
        assert head.headers[name] == get.headers[name], name
    part = api.head(url, headers={"range": "bytes=0-9"})
    assert part.headers.get("content-length") in ("10", str(len(content)))


def test_a_download_has_its_name(api, picture):
    url, content = picture
    answer = api.get(url, params={"download": "true"})
    assert answer.content == content
    assert answer.headers["content-disposition"].startswith("attachment; filename=")


@pytest.mark.parametrize("side", [16, 100, 1024])
def test_a_thumbnail(api, picture, side):
    answer = api.get(picture[0], params={"thumbnail": side})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    width, height = png_size(answer.content)
    assert max(width, height) <= max(side, 256) and max(width, height) <= side and width == 2 * height
    assert api.head(picture[0], params={"thumbnail": side}).status_code == 200


def test_a_file_is_found_only_through_a_run_that_has_it(api, picture):
    other = submit(api, "nap", "30s", inputs={"duration": "0s"})["id"]
    digest = picture[0].rsplit("/", 1)[1]
    is_problem(api.get(f"/api/v1/runs/{other}/artifacts/{digest}"), 404)
    is_problem(api.get(f"/api/v1/runs/{NOBODY}/artifacts/{digest}"), 404)


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..\\..\\boot.ini", "/etc/shadow", "a\0b.png", "x" * 5000, 'q"\r\nX-Evil: 1', "ü.png"],
)
def test_the_name_of_an_upload_is_a_name_and_nothing_else(api, server, name):
    content = png(9, 9, shade=len(name) % 256)
    for answer in (
        api.post("/api/v1/uploads", params={"name": name}, content=content),
        api.post("/api/v1/uploads", files={"image": (name, content, "image/png")}),
    ):
        assert answer.status_code in (201, 400, 413, 422), answer.text
        if answer.status_code != 201:
            is_refused(answer)
            continue
        run = submit(api, "enlarge", "30s", inputs={"image": answer.json()})
        files = every(api, f"/api/v1/runs/{run['id']}/artifacts")
        sent = api.get(files[0]["url"], params={"download": "true"})
        assert sent.content == content
        assert "x-evil" not in sent.headers
        assert "/" not in files[0]["name"] and "\\" not in files[0]["name"] and "\0" not in files[0]["name"]
    assert not list(server.folder.rglob("*passwd*")) and not list(server.folder.rglob("*boot.ini*"))


def test_what_is_no_picture_is_not_sent_as_a_page(api):
    page = b"<html><script>alert(1)</script></html>"
    kept = upload(api, page, "page.png", "image/png")
    assert not kept["media_type"].startswith("image/")
    run = submit(api, "enlarge", "30s", inputs={"image": kept})
    assert run["state"] == "failed"
    files = every(api, f"/api/v1/runs/{run['id']}/artifacts")
    answer = api.get(files[0]["url"])
    assert "sandbox" in answer.headers["content-security-policy"]
    assert not answer.headers["content-type"].startswith(("text/html", "image/")) or answer.headers[
        "content-disposition"
    ].startswith("attachment")
    is_refused(api.get(files[0]["url"], params={"thumbnail": 64}))


# ---- steering ----------------------------------------------------------------------------------


def test_a_running_run_is_cancelled(api):
    run = submit(api, "nap")["id"]
    begun(api, run, "sleep")
    answer = api.post(f"/api/v1/runs/{run}/cancel")
    assert answer.status_code == 200 and answer.json()["state"] == "cancelled"
    # Its worker lets go of it.
    until("a free slot", lambda: run not in running(api) or None)
    is_problem(api.post(f"/api/v1/runs/{run}/pause"), 409)


def running(api):
    return {a["run"] for w in every(api, "/api/v1/workers") for a in w["attempts"]}


def test_a_paused_run_starts_nothing_until_it_is_resumed(api):
    run = submit(api, "nap", inputs={"duration": "300ms"})["id"]
    begun(api, run, "sleep")
    assert api.post(f"/api/v1/runs/{run}/pause").json()["paused"] is True
    with stream(api, f"/api/v1/runs/{run}/stream") as heard:
        for message in heard:
            if message.event == "task_succeeded":
                break
    detail = api.get(f"/api/v1/runs/{run}?wait=200ms").json()
    assert detail["finished_at"] is None and detail["paused"]
    say = next(step for step in detail["steps"] if step["step"] == "say")
    assert say["state"] == "ready" and "paused" in say["held_by"]
    assert api.post(f"/api/v1/runs/{run}/resume").json()["paused"] is False
    assert ended(api, run)["state"] == "succeeded"


def test_a_failed_run_is_tried_again(api):
    run = submit(api, "second-try", "30s")["id"]
    answer = api.post(f"/api/v1/runs/{run}/retry")
    assert answer.status_code == 200 and answer.json()["generation"] == 1
    again = ended(api, run)
    assert again["state"] in ("succeeded", "failed") and again["generation"] == 1
    first = [a for a in every(api, f"/api/v1/runs/{run}/attempts") if a["step"] == "first"]
    assert len(first) == 1, "what had succeeded is not done again"
    attempts = [a for a in every(api, f"/api/v1/runs/{run}/attempts") if a["step"] == "second"]
    assert len(attempts) == 2


def test_a_run_is_repeated_from_a_step_on_as_a_new_one(api):
    run = submit(api, "nap", "30s", inputs={"duration": "0s", "text": "again"}, tags=["repeated"])["id"]
    answer = api.post(f"/api/v1/runs/{run}/retry", params={"from": "say"})
    assert answer.status_code == 202, answer.text
    fresh = answer.json()["id"]
    assert fresh != run and answer.headers["location"] == f"/api/v1/runs/{fresh}"
    assert ended(api, fresh)["outputs"] == {"text": "again"}
    attempts = {a["step"] for a in every(api, f"/api/v1/runs/{fresh}/attempts")}
    assert "say" in attempts and "sleep" not in attempts
    is_problem(api.post(f"/api/v1/runs/{run}/retry", params={"from": "nowhere"}), 404)


def test_only_what_has_ended_is_forgotten(api):
    run = submit(api, "nap")["id"]
    is_problem(api.delete(f"/api/v1/runs/{run}"), 409)
    api.post(f"/api/v1/runs/{run}/cancel")
    assert api.delete(f"/api/v1/runs/{run}").status_code == 204
    is_problem(api.get(f"/api/v1/runs/{run}"), 404)
    is_problem(api.delete(f"/api/v1/runs/{run}"), 404)


def test_many_runs_are_cancelled_by_one_request(api):
    tag = f"bulk-{uuid.uuid4()}"
    runs = [submit(api, "nap", tags=[tag])["id"] for _ in range(12)]
    kept = submit(api, "nap")["id"]
    answer = api.post("/api/v1/runs/bulk", json={"action": "cancel", "filter": {"tag": tag}})
    assert answer.status_code == 202, answer.text
    address = answer.headers["location"]

    def finished():
        job = api.get(address).json()
        return job if job["state"] == "finished" else None

    job = until("the job", finished)
    assert (job["action"], job["done"], job["refused"]) == ("cancel", 12, 0)
    assert {api.get(f"/api/v1/runs/{run}").json()["state"] for run in runs} == {"cancelled"}
    assert api.get(f"/api/v1/runs/{kept}").json()["finished_at"] is None
    api.post(f"/api/v1/runs/{kept}/cancel")
    is_problem(api.post("/api/v1/runs/bulk", json={"action": "cancel", "filter": {}}), 422)


# ---- keys --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(new_server):
    """A server whose door is closed, and a client with the first key."""
    server = new_server()
    with httpx.Client(base_url=server.url, timeout=30) as anybody:
        assert anybody.get("/api/v1/runs").status_code == 200
        is_problem(anybody.post("/api/v1/keys", json={"name": "first", "scopes": ["read"]}), 422)
        made = anybody.post("/api/v1/keys", json={"name": "first", "scopes": ["admin"]})
        assert made.status_code == 201, made.text
    with httpx.Client(base_url=server.url, timeout=30, headers=bearer(made.json()["key"])) as admin:
        yield server, admin


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def key_of(admin, *scopes, **more):
    made = admin.post("/api/v1/keys", json={"name": "a key", "scopes": scopes, **more})
    assert made.status_code == 201, made.text
    return made.json()


@pytest.fixture
def holder(locked):
    """Makes keys, and clients that hold them."""
    server, admin = locked
    clients = []

    def make(*scopes, **more):
        key = key_of(admin, *scopes, **more)["key"]
        clients.append(httpx.Client(base_url=server.url, timeout=30, headers=bearer(key)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_the_first_key_closes_the_door(locked):
    server, _ = locked
    for method, path in [
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/keys"),
    ]:
        answer = httpx.request(method, server.url + path)
        is_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/livez", "/readyz"):
        assert httpx.get(server.url + path).status_code == 200
    for wrong in ("Bearer", "Bearer aq_x_y", "Basic abc", "Bearer aq__", "Bearer " + "x" * 5000):
        is_problem(httpx.get(server.url + "/api/v1/runs", headers={"authorization": wrong}), 401)


def test_a_secret_is_shown_once_and_right_or_wrong_as_a_whole(locked):
    server, admin = locked
    made = key_of(admin, "read")
    listed = admin.get("/api/v1/keys").text
    assert made["id"] in listed and made["key"].rsplit("_", 1)[1] not in listed
    for shown in ({"x-api-key": made["key"]}, bearer(made["key"])):
        assert httpx.get(server.url + "/api/v1/runs", headers=shown).status_code == 200
    for wrong in (made["key"][:-1], made["key"] + "0", made["key"].upper()):
        is_problem(httpx.get(server.url + "/api/v1/runs", headers=bearer(wrong)), 401)


def test_a_key_may_what_its_scopes_say(holder):
    read, submitter, operator = holder("read"), holder("submit"), holder("operate")
    nap = {"workflow": "nap", "inputs": {"duration": "0s"}}
    assert read.get("/api/v1/runs").status_code == 200
    is_problem(read.post("/api/v1/runs", json=nap), 403)
    is_problem(read.post("/api/v1/uploads", content=png()), 403)
    is_problem(read.post("/api/v1/batches", json={"workflow": "nap", "items": [{}]}), 403)
    assert submitter.post("/api/v1/runs", json=nap).status_code == 202
    is_problem(submitter.get("/api/v1/runs"), 403)
    is_problem(submitter.post("/api/v1/queues/cpu/pause"), 403)
    assert operator.post("/api/v1/queues/cpu/resume").status_code == 200
    is_problem(operator.post("/api/v1/runs", json=nap), 403)
    for who in (read, submitter, operator):
        is_problem(who.get("/api/v1/keys"), 403)
        is_problem(who.post("/api/v1/keys", json={"name": "more", "scopes": ["admin"]}), 403)
        is_problem(who.put("/api/v1/workflows/nap", content=b"name: nap"), 403)


def test_an_owner_sees_only_their_own(holder, locked):
    _, admin = locked
    one, other, auditor = holder("read", "submit"), holder("read", "submit"), holder("read", sees_all=True)
    image = upload(one, png(12, 12))
    run = submit(one, "enlarge", "30s", inputs={"image": image})
    batch = one.post("/api/v1/batches", json={"workflow": "item", "items": [{"text": "x"}]}).json()["id"]
    ended(one, batch)
    files = every(one, f"/api/v1/runs/{run['id']}/artifacts")
    for path in (
        f"/api/v1/runs/{run['id']}",
        f"/api/v1/runs/{run['id']}/events",
        f"/api/v1/runs/{run['id']}/stream",
        f"/api/v1/runs/{run['id']}/attempts",
        f"/api/v1/runs/{run['id']}/logs",
        f"/api/v1/runs/{run['id']}/artifacts",
        files[0]["url"],
        f"/api/v1/batches/{batch}",
        f"/api/v1/batches/{batch}/items",
    ):
        assert one.get(path).status_code == 200, path
        is_problem(other.get(path), 404)
        assert auditor.get(path).status_code == 200, path
    for action in ("cancel", "pause", "resume", "retry", "retry?from=upscale"):
        is_problem(other.post(f"/api/v1/runs/{run['id']}/{action}"), 404)
    is_problem(other.delete(f"/api/v1/runs/{run['id']}"), 404)
    assert run["id"] in {r["id"] for r in every(one, "/api/v1/runs")}
    assert every(other, "/api/v1/runs", all="true") == [] and every(other, "/api/v1/batches") == []
    assert every(other, "/api/v1/runs", q="lighthouse") == []
    assert other.get("/api/v1/events").json()["data"] == []
    assert run["id"] in {e["run"] for e in one.get("/api/v1/events").json()["data"]}
    with stream(other, "/api/v1/stream", after=0) as heard:
        mine = submit(other, "nap", inputs={"duration": "0s"})["id"]
        assert next(heard).data["run"] == mine
    job = other.post("/api/v1/runs/bulk", json={"action": "delete", "filter": {"everything": True}})
    is_problem(one.get(job.headers["location"]), 404)

    def finished():
        return other.get(job.headers["location"]).json()["state"] == "finished" or None

    until("the job", finished)
    assert one.get(f"/api/v1/runs/{run['id']}").status_code == 200
    assert admin.get(f"/api/v1/runs/{run['id']}").json()["owner"]


def test_idempotency_keys_of_two_owners_do_not_meet(holder):
    one, other = holder("read", "submit"), holder("read", "submit")
    headers = {"idempotency-key": "the same"}
    body = {"workflow": "nap", "inputs": {"duration": "0s"}}
    first, second = (who.post("/api/v1/runs", json=body, headers=headers).json()["id"] for who in (one, other))
    assert first != second


def test_a_revoked_key_is_refused(locked):
    server, admin = locked
    made = key_of(admin, "read")
    headers = bearer(made["key"])
    assert httpx.get(server.url + "/api/v1/runs", headers=headers).status_code == 200
    assert admin.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    is_problem(httpx.get(server.url + "/api/v1/runs", headers=headers), 401)
    is_problem(admin.delete(f"/api/v1/keys/{made['id']}"), 404)
    mine = admin.headers["authorization"].split("_")[1]
    is_problem(admin.delete(f"/api/v1/keys/{mine}"), 409)


def test_keys_are_made_and_revoked_from_the_command_line(locked):
    server, admin = locked
    added = server.command("keys", "add", "by hand", "--scopes", "read")
    assert added.returncode == 0, added.stderr
    key = next(word for word in (added.stdout + added.stderr).split() if word.startswith("aq_"))

    def answer():
        return httpx.get(server.url + "/api/v1/runs", headers=bearer(key)).status_code

    # The server believes for two seconds what it knows.
    until("it to be known", lambda: answer() == 200 or None, seconds=10)
    assert "by hand" in server.command("keys").stdout
    assert server.command("keys", "revoke", key.split("_")[1]).returncode == 0
    until("it to be refused", lambda: answer() == 401 or None, seconds=10)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"name": "x"},
        {"name": "", "scopes": ["read"]},
        {"name": "x" * 101, "scopes": ["read"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "scopes": ["read"], "more": 1},
        {"name": "x", "scopes": ["read"], "sees_all": "yes"},
    ],
)
def test_a_key_with_mistakes_is_not_made(locked, bad):
    _, admin = locked
    before = every(admin, "/api/v1/keys")
    is_problem(admin.post("/api/v1/keys", json=bad), 422)
    assert every(admin, "/api/v1/keys") == before


def test_a_refusal_leaves_the_connection_of_use_or_says_that_it_does_not(locked):
    """A client that still has to send its body when it is refused must know whether to go on."""
    server, _ = locked
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        answers = connection.makefile("rb")
        head = (
            f"POST /api/v1/runs HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n"
        )
        connection.sendall(head.encode())
        headers = read_answer(answers, 401)
        if headers.get("connection", "").lower() == "close":
            return
        connection.sendall(b"{}" + f"GET /livez HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        read_answer(answers, 200)


def read_answer(answers, status):
    line = answers.readline()
    assert line.startswith(f"HTTP/1.1 {status} ".encode()), line
    headers = http.client.parse_headers(answers)
    answers.read(int(headers["content-length"]))
    return headers


@pytest.mark.parametrize("size", [100, 100_000])
def test_the_request_after_a_refused_one_is_answered(locked, size):
    server, _ = locked
    with httpx.Client(base_url=server.url, timeout=30) as anybody:
        for _ in range(20):
            is_problem(anybody.post("/api/v1/uploads", content=bytes(size)), 401)


# ---- the door ----------------------------------------------------------------------------------


def test_pages_of_other_sites_do_nothing(api, server):
    before = run_ids(api)
    body = {"workflow": "nap"}
    for headers in ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, {"host": "evil.example"}):
        is_problem(api.post("/api/v1/runs", json=body, headers=headers), 403)
    # What a page may send without asking first: a form, or text that is JSON.
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        is_problem(api.post("/api/v1/runs", content=json.dumps(body), headers={"content-type": kind}), 415)
    assert run_ids(api) == before
    asked = api.options(
        "/api/v1/runs", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
    )
    assert "access-control-allow-origin" not in asked.headers


def test_pages_that_are_welcome_may_ask(new_server):
    server = new_server(settings={"AQUATINT_CORS_ORIGINS": "https://studio.example"})
    with httpx.Client(base_url=server.url, timeout=30) as api:
        asked = {"origin": "https://studio.example", "access-control-request-method": "POST"}
        told = api.options("/api/v1/runs", headers=asked).headers
        assert told["access-control-allow-origin"] == "https://studio.example"
        headers = {"origin": "https://studio.example", "sec-fetch-site": "cross-site"}
        answer = api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"duration": "0s"}}, headers=headers)
        assert answer.status_code == 202
        assert answer.headers["access-control-allow-origin"] == "https://studio.example"
        headers["origin"] = "https://evil.example"
        is_problem(api.post("/api/v1/runs", json={"workflow": "nap"}, headers=headers), 403)


def test_addresses_are_those_that_the_world_knows(new_server):
    server = new_server(settings={"AQUATINT_PUBLIC_URL": "https://media.example/"})
    order = {"task_type": "image_generation", "prompt": "x", "parameters": {"width": 64, "height": 64}}
    with httpx.Client(base_url=server.url, timeout=30, headers={"host": "media.example"}) as api:
        task = api.post("/api/v1/tasks/create/", json=order).json()["task_id"]
        ended(api, task)
        url = api.get(f"/api/v1/tasks/{task}/result/").json()["image_url"]
        assert url.startswith("https://media.example/media/")
        assert png_size(api.get(url.removeprefix("https://media.example")).content) == (64, 64)


def test_who_asks_too_often_is_told_when_to_come_back(new_server):
    server = new_server(settings={"AQUATINT_API_REQUESTS_PER_SECOND": "2"})
    with httpx.Client(base_url=server.url, timeout=30) as api:
        answers = [api.get("/api/v1/runs") for _ in range(30)]
        assert [a.status_code for a in answers[:4]] == [200] * 4
        refused = next(a for a in answers if a.status_code != 200)
        is_problem(refused, 429)
        assert int(refused.headers["retry-after"]) >= 1
        # Those who look whether it lives are not counted.
        assert {api.get("/livez").status_code for _ in range(30)} == {200}


def test_limits_are_those_that_were_set(new_server):
    settings = {"AQUATINT_API_MAX_BODY": "64kB", "AQUATINT_API_MAX_FILE": "1kB", "AQUATINT_API_MAX_PIXELS": "100"}
    with httpx.Client(base_url=new_server(settings=settings).url, timeout=30) as api:
        assert api.post("/api/v1/uploads", content=png(10, 10)).status_code == 201
        is_problem(api.post("/api/v1/uploads", content=png(10, 11)), 413)
        is_problem(api.post("/api/v1/uploads", content=bytes(1100)), 413)
        is_problem(api.post("/api/v1/uploads", content=bytes(70_000)), 413)
        is_problem(api.post("/api/v1/uploads", files={"file": ("x", bytes(70_000))}), 413)
        is_problem(api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"text": "x" * 70_000}}), 413)


def test_definitions_are_not_taken_unless_it_was_said_so(api, new_server):
    text = "name: fresh\nsteps:\n  say: { task: core.echo, with: { value: 1 } }\n"
    is_problem(api.put("/api/v1/workflows/fresh", content=text), 403)
    is_problem(api.get("/api/v1/workflows/fresh"), 404)
    is_problem(api.post("/api/v1/runs", json={"workflow": "fresh"}), 404)
    checked = api.post("/api/v1/workflows/validate", content=text)
    assert checked.status_code == 200 and checked.json()["name"] == "fresh"
    is_problem(api.get("/api/v1/workflows/fresh"), 404)

    willing = new_server(settings={"AQUATINT_API_ALLOW_DEFINITIONS": "true"})
    with httpx.Client(base_url=willing.url, timeout=30) as api:
        assert api.put("/api/v1/workflows/fresh", content=text).status_code == 200
        assert submit(api, "fresh", "30s")["state"] == "succeeded"
        assert [v["current"] for v in every(api, "/api/v1/workflows/fresh/versions")] == [True]
        is_problem(api.put("/api/v1/workflows/other", content=text), 422)
        for name in ("../fresh", "..%2ffresh", "fresh.yaml", "a/b"):
            is_refused(api.put(f"/api/v1/workflows/{name}", content=text))
        mistaken = is_problem(api.put("/api/v1/workflows/fresh", content="name: fresh\nsteps: 7\n"), 422)
        assert mistaken["code"] == "invalid_definition" and mistaken["errors"]
        assert submit(api, "fresh", "30s")["state"] == "succeeded"


def test_workflows_are_described(api):
    names = {w["name"]: w for w in every(api, "/api/v1/workflows")}
    assert {"image-generation", "nap", "enlarge"} <= set(names) and not any(w["mistakes"] for w in names.values())
    told = api.get("/api/v1/workflows/image-generation").json()
    assert told["inputs"]["width"]["maximum"] == 2048 and told["source"].startswith("#")
    assert {s["name"] for s in told["steps"]} == {"refine", "generate", "upscale"}
    assert "/" not in told["file"]


# ---- bad input of every kind -------------------------------------------------------------------

JSON = {"content-type": "application/json"}


def bad_runs():
    """Bodies of a run that cannot be, by what is wrong with them."""

    def body(**fields):
        return json.dumps({"workflow": "image-generation", "inputs": SMALL, **fields}).encode()

    def inputs(**fields):
        return body(inputs=SMALL | fields)

    file = {"artifact": "0" * 64, "name": "x.png", "media_type": "image/png", "size_bytes": 1}
    yield "no body", b"", JSON
    yield "cut off", body()[:-1], JSON
    yield "trailing", body() + b"x", JSON
    yield "two bodies", body() + body(), JSON
    yield "no utf-8", b'{"workflow": "\xff\xfe"}', JSON
    yield "nul", b"\0" * 100, JSON
    yield "a list", b"[]", JSON
    yield "a word", b'"nap"', JSON
    yield "null", b"null", JSON
    yield "deep", b"[" * 100_000, JSON
    yield "deep inputs", b'{"workflow": "nap", "inputs": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, JSON
    yield "a huge number", b'{"workflow": "nap", "priority": 1e999}', JSON
    yield "NaN", b'{"workflow": "nap", "priority": NaN}', JSON
    yield "a lone surrogate", b'{"workflow": "nap", "tags": ["\\ud800"]}', JSON
    yield "the same field twice", b'{"workflow": "nap", "workflow": "item"}', JSON
    yield "text", body(), {"content-type": "text/plain"}
    yield "a form that is JSON", body(), {"content-type": "application/x-www-form-urlencoded"}
    yield "xml", b"<run/>", {"content-type": "application/xml"}
    yield "a form without a boundary", body(), {"content-type": "multipart/form-data"}
    yield "a form that is none", body(), {"content-type": "multipart/form-data; boundary=x"}
    yield "an empty form", b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}
    yield "gzip", b"\x1f\x8b\x08\0", JSON | {"content-encoding": "gzip"}
    yield "no workflow", b"{}", JSON
    yield "no such workflow", body(workflow="nothing"), JSON
    yield "a workflow with a path", body(workflow="../../etc/passwd"), JSON
    yield "a number for a workflow", body(workflow=7), JSON
    yield "an endless workflow", body(workflow="x" * 100_000), JSON
    yield "an unknown field", body(surprise=1), JSON
    yield "inputs as a list", body(inputs=[]), JSON
    yield "an unknown input", inputs(surprise=1), JSON
    yield "no prompt", body(inputs={}), JSON
    yield "an empty prompt", inputs(prompt=""), JSON
    yield "an endless prompt", inputs(prompt="x" * 5001), JSON
    yield "a number for a prompt", inputs(prompt=7), JSON
    yield "a null prompt", inputs(prompt=None), JSON
    yield "a word for a width", inputs(width="64"), JSON
    yield "too narrow", inputs(width=63), JSON
    yield "too wide", inputs(width=10**30), JSON
    yield "half a pixel", inputs(width=64.5), JSON
    yield "an unknown style", inputs(style="baroque"), JSON
    yield "a seed below nothing", inputs(seed=-1), JSON
    yield "a seed too large", inputs(seed=2**53), JSON
    yield "a number for tags", body(tags=7), JSON
    yield "an empty tag", body(tags=[""]), JSON
    yield "a tag too long", body(tags=["x" * 101]), JSON
    yield "a tag with a control character", body(tags=["a\0b"]), JSON
    yield "too many tags", body(tags=[str(n) for n in range(33)]), JSON
    yield "a priority out of range", body(priority=2**31), JSON
    yield "a retention without a unit", body(retention="24"), JSON
    yield "a number for a retention", body(retention=24), JSON
    yield "a file that is not here", body(workflow="enlarge", inputs={"image": file}), JSON
    yield "half a file", body(workflow="enlarge", inputs={"image": {"artifact": "0" * 64}}), JSON
    yield "a file with a path", body(workflow="enlarge", inputs={"image": file | {"artifact": "../../x"}}), JSON
    yield "a file that is a number", body(workflow="enlarge", inputs={"image": {"artifact": 7}}), JSON


@pytest.mark.parametrize(("content", "headers"), [pytest.param(c, h, id=name) for name, c, h in bad_runs()])
def test_a_bad_run_is_refused_and_leaves_nothing(api, content, headers):
    before = run_ids(api)
    is_refused(api.post("/api/v1/runs", content=content, headers=headers))
    assert run_ids(api) == before


def test_a_retention_for_ever_is_refused(new_server):
    """A server of its own: what is stored of such a run could stand in the way of every list."""
    body = {"workflow": "nap", "inputs": {"duration": "0s"}}
    with httpx.Client(base_url=new_server().url, timeout=30) as api:
        for retention in ("580000000years", "300000years", "9999years", "11years"):
            answer = api.post("/api/v1/runs?wait=30s", json=body | {"retention": retention})
            is_problem(answer, 422)
            assert every(api, "/api/v1/runs") == []
        run = submit(api, "nap", "30s", inputs={"duration": "0s"}, retention="9years")
        assert every(api, "/api/v1/runs")[0]["expires_at"] > run["finished_at"]


def test_a_body_without_end_is_refused(api):
    before = run_ids(api)

    def endless():
        yield b'{"workflow": "'
        for _ in range(80):
            yield b"x" * 1024 * 1024

    try:
        is_problem(api.post("/api/v1/runs", content=endless(), headers=JSON), 413)
    except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
        # It answered and closed the door while we were still talking; that is its right.
        pass
    assert run_ids(api) == before
    assert api.get("/livez").text == "ok"


def bad_batches():
    def body(**fields):
        return json.dumps({"workflow": "item", "items": [{"text": "x"}], **fields}).encode()

    lines = {"content-type": "application/x-ndjson"}
    yield "no items", "", body(items=[]), JSON
    yield "items as an object", "", body(items={}), JSON
    yield "items as words", "", body(items=["x"]), JSON
    yield "too many items", "", body(items=[{"text": "x"}] * 10_001), JSON
    yield "no such workflow", "", body(workflow="nothing"), JSON
    yield "a workflow with a quote", "", body(workflow='item"'), JSON
    yield "a workflow that is an expression", "", body(workflow="${{ 1 }}"), JSON
    yield "no such finalize", "", body(finalize="nothing"), JSON
    yield "a finalize that takes no results", "", body(finalize="nap"), JSON
    yield "none at a time", "", body(max_parallel=0), JSON
    yield "fewer than none at a time", "", body(max_parallel=-1), JSON
    yield "common as a list", "", body(common=[]), JSON
    yield "an unknown common input", "", body(common={"surprise": 1}), JSON
    yield "a bad tag", "", body(tags=[""]), JSON
    yield "lines without a workflow", "", b'{"text": "x"}\n', lines
    yield "no lines", "?workflow=item", b"", lines
    yield "a bad line", "?workflow=item", b'{"text": "x"}\n{"text"\n', lines
    yield "a line that is a list", "?workflow=item", b"[]\n", lines
    yield "too many lines", "?workflow=item", b'{"text":"x"}\n' * 10_001, lines
    yield "an unknown parameter", "?surprise=1", body(), JSON
    yield "a limit that is a word", "?workflow=item&max_parallel=few", b'{"text": "x"}\n', lines


@pytest.mark.parametrize(
    ("query", "content", "headers"), [pytest.param(q, c, h, id=name) for name, q, c, h in bad_batches()]
)
def test_a_bad_batch_is_refused_and_leaves_nothing(api, query, content, headers):
    before = run_ids(api)
    is_refused(api.post(f"/api/v1/batches{query}", content=content, headers=headers))
    assert run_ids(api) == before


def test_a_form_with_a_bad_file_leaves_nothing(api):
    before = run_ids(api)
    for content in (bomb(), b"", png()[:20]):
        files = [("file", ("good.png", png(), "image/png")), ("file", ("bad.png", content, "image/png"))]
        is_refused(api.post("/api/v1/batches", data={"workflow": "enlarge"}, files=files))
        is_refused(api.post("/api/v1/runs", data={"workflow": "enlarge"}, files={"image": files[1][1]}))
    is_refused(api.post("/api/v1/batches", data={"workflow": "enlarge", "surprise": "1"}, files=files[:1]))
    is_refused(api.post("/api/v1/batches", data={"workflow": "enlarge", "common": "{"}, files=files[:1]))
    is_refused(api.post("/api/v1/batches", data={"workflow": "enlarge", "max_parallel": "x"}, files=files[:1]))
    is_refused(api.post("/api/v1/runs", data={"inputs": "{}"}, files={"image": files[0][1]}))
    is_refused(api.post("/api/v1/runs", data={"workflow": "enlarge", "inputs": "[]"}, files={"image": files[0][1]}))
    assert run_ids(api) == before


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(bomb(), "image/png", id="bomb"),
        pytest.param(b"", "image/png", id="empty"),
        pytest.param(png()[:16], "image/png", id="only a beginning"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png", id="no header"),
        pytest.param(bytes(33 * 1024 * 1024), "application/octet-stream", id="too large"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(8), "image/jpeg", id="half a JPEG"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", id="half a WebP"),
        pytest.param(b"GIF89a\0\0\0\0", "image/gif", id="a GIF of no size"),
    ],
)
def test_a_bad_upload_is_refused(api, content, kind):
    is_refused(api.post("/api/v1/uploads", content=content, headers={"content-type": kind}))
    is_refused(api.post("/api/v1/uploads", files={"image": ("x", io.BytesIO(content), kind)}))


def test_a_bomb_is_refused_for_its_pixels_before_it_is_opened(api):
    problem = is_problem(api.post("/api/v1/uploads", content=bomb()), 413, "too_large")
    assert "50000" in problem["detail"]


NO_IDS = [
    NOBODY,
    "0",
    "x" * 300,
    "%00",
    "%ff",
    "..%2f..%2fx",
    f"%7B{NOBODY}%7D",
    NOBODY.replace("-", ""),
    "@latest",
    "-1",
]


@pytest.mark.parametrize("bad", NO_IDS)
def test_unknown_ids_are_unknown(api, bad):
    for path in (
        "runs/{}",
        "runs/{}/events",
        "runs/{}/stream",
        "runs/{}/attempts",
        "runs/{}/logs",
        "runs/{}/artifacts",
        "runs/{}/artifacts/" + "0" * 64,
        "runs/{}/steps/x/items",
        "batches/{}",
        "batches/{}/items",
        "jobs/{}",
        "workflows/{}",
        "workflows/{}/versions",
    ):
        answer = api.get("/api/v1/" + path.format(bad))
        assert answer.status_code in (400, 404), f"{path}: {answer.status_code}"
        is_refused(answer)
    for action in ("cancel", "pause", "resume", "retry", "retry?from=x"):
        is_refused(api.post(f"/api/v1/runs/{bad}/{action}"))
    is_refused(api.delete(f"/api/v1/runs/{bad}"))
    is_refused(api.delete(f"/api/v1/keys/{bad}"))
    for action in ("drain", "undrain", "restart"):
        is_refused(api.post(f"/api/v1/workers/{bad}/{action}"))


@pytest.mark.parametrize("bad", ["zz", "0" * 63, "0" * 64, "%00", "%ff", "..%2f..%2f..%2fetc%2fpasswd", "A" * 64])
def test_unknown_files_and_steps_are_unknown(api, picture, bad):
    run = picture[0].split("/")[4]
    for path in (f"artifacts/{bad}", f"steps/{bad}/items"):
        answer = api.get(f"/api/v1/runs/{run}/{path}")
        assert answer.status_code in (400, 404), f"{path}: {answer.status_code}"
        is_refused(answer)


@pytest.mark.parametrize(
    "query",
    [
        "runs?limit=0",
        "runs?limit=501",
        "runs?limit=-1",
        "runs?limit=many",
        "runs?limit=99999999999999999999",
        "runs?state=done",
        "runs?state=failed,done",
        "runs?workflow=a%20b",
        "runs?created_from=yesterday",
        "runs?created_to=2026-13-01",
        "runs?created_from=2026-01-01T00:00:00%2B99:99",
        "runs?created_from=999999999-01-01",
        "runs?cursor=",
        "runs?cursor=x",
        "runs?cursor=%00",
        "runs?cursor=" + "9" * 5000,
        f"runs?cursor=%7B{NOBODY}%7D",
        "runs?q=" + "x" * 201,
        "runs?all=perhaps",
        "runs?surprise=1",
        "runs?limit=1&limit=2",
        "batches?limit=0",
        "batches?limit=501",
        "batches?cursor=x",
        f"batches?cursor=urn:uuid:{NOBODY}",
        "batches?surprise=1",
        "events?after=x",
        "events?after=99999999999999999999",
        "stream?after=x",
        "workers?all=perhaps",
    ],
)
def test_a_bad_query_is_refused(api, query):
    is_problem(api.get(f"/api/v1/{query}"), 422)


@pytest.mark.parametrize(
    "query",
    [
        "artifacts/{}?thumbnail=15",
        "artifacts/{}?thumbnail=1025",
        "artifacts/{}?thumbnail=x",
        "artifacts/{}?download=maybe",
        "logs?tail=0",
        "logs?tail=10001",
        "logs?attempt=x",
        "events?after=x",
        "steps/generate/items?limit=0",
        "steps/generate/items?limit=1001",
        "steps/generate/items?cursor=x",
    ],
)
def test_a_bad_query_of_a_run_is_refused(api, picture, query):
    run, digest = picture[0].split("/")[4], picture[0].split("/")[6]
    is_problem(api.get(f"/api/v1/runs/{run}/{query.format(digest)}"), 422)


@pytest.mark.parametrize("wait", ["soon", "-1", "1e3", "99999999999999999999999", "%00", ""])
def test_a_bad_wait_is_refused_before_anything_is_stored(api, wait):
    before = run_ids(api)
    answer = api.post(f"/api/v1/runs?wait={wait}", json={"workflow": "nap", "inputs": {"duration": "0s"}})
    is_problem(answer, 422)
    assert run_ids(api) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api"),
        ("GET", "/api/v2/runs"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/%00"),
        ("GET", "/%ff"),
        ("GET", "/" + "x" * 5000),
        ("POST", "/nowhere"),
        ("GET", "/../../etc/passwd"),
        ("GET", "/docs/../../etc/passwd"),
        ("GET", "/media/../../../etc/passwd"),
    ],
)
def test_an_address_that_is_none(api, method, path):
    answer = api.request(method, path)
    # A page for people may stand at `/`.
    if path == "/" and answer.status_code == 200:
        return
    assert answer.status_code in (400, 404, 414), answer.status_code
    is_refused(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/runs"),
        ("PATCH", f"/api/v1/runs/{NOBODY}"),
        ("DELETE", "/api/v1/runs"),
        ("GET", "/api/v1/uploads"),
        ("GET", f"/api/v1/runs/{NOBODY}/cancel"),
        ("POST", "/livez"),
        ("POST", "/api/v1/queues"),
        ("TRACE", "/api/v1/runs"),
    ],
)
def test_a_method_that_is_not_taken(api, method, path):
    is_problem(api.request(method, path), 405)


def bad_steering():
    yield "PUT", "queues/cpu/cap", {"cap": 0}
    yield "PUT", "queues/cpu/cap", {"cap": -1}
    yield "PUT", "queues/cpu/cap", {"cap": "many"}
    yield "PUT", "queues/cpu/cap", {"cap": 2**32}
    yield "PUT", "queues/cpu/cap", {"surprise": 1}
    yield "PUT", "queues/cpu/cap", []
    yield "PUT", "queues/a%20b/cap", {"cap": 1}
    yield "POST", "queues/a%20b/pause", None
    yield "POST", "queues/%00/resume", None
    yield "POST", f"queues/{'x' * 500}/purge", None
    yield "POST", "queues/control/pause", None
    yield "PUT", "workers/nobody/slots", {"gpu": 1}
    yield "PUT", "workers/all/slots", {"a b": 1}
    yield "PUT", "workers/all/slots", {"gpu": -1}
    yield "PUT", "workers/all/slots", {"gpu": "many"}
    yield "PUT", "workers/all/slots", {"gpu": 2**32}
    yield "PUT", "workers/all/slots", []
    yield "POST", "runs/bulk", {"action": "cancel"}
    yield "POST", "runs/bulk", {"action": "burn", "filter": {"tag": "x"}}
    yield "POST", "runs/bulk", {"action": "cancel", "filter": {"surprise": 1}}
    yield "POST", "runs/bulk", {"action": "cancel", "filter": {"state": "done"}}
    yield "POST", "runs/bulk", {"action": "cancel", "filter": {"created_from": "then"}}
    yield "POST", "runs/bulk", {"action": "cancel", "filter": {"q": "x" * 201}}
    yield "POST", "runs/bulk", {"action": "cancel", "filter": []}


@pytest.mark.parametrize(("method", "path", "body"), list(bad_steering()))
def test_bad_steering_is_refused(api, method, path, body):
    is_refused(api.request(method, f"/api/v1/{path}", json=body))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"\0",
        b"steps: [",
        b"name: x",
        b"[]",
        b"7",
        b"x" * 300_000,
        b"&a [*a]",
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nname: x\nsteps: *c\n",
        b"{" * 10_000,
        b"name: x\nsteps:\n  a: {task: nothing}\n",
    ],
)
def test_a_bad_definition_is_told_what_is_wrong(api, text):
    for params in ({}, {"format": "toml"}, {"format": "yaml"}):
        is_refused(api.post("/api/v1/workflows/validate", params=params, content=text))
    is_problem(api.post("/api/v1/workflows/validate", params={"format": "xml"}, content=text), 422)
