"""An image back end's client: submit, poll, fetch, cancel one task at /api/v1/tasks/."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime

import pytest
import requests

from client import bomb, is_problem, is_refused, png, png_pixels, png_size, until

SMALL = {"width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 7.5, "seed": 11}
STATES = {"PENDING", "PROCESSING", "SUCCESS", "FAILURE", "RETRY", "REVOKED"}
WITHOUT_A_HANDLER = ["face_swap", "background_removal", "object_removal", "style_transfer"]


class Backend:
    """The client, as it was written for the system that is replaced."""

    def __init__(self, url: str, slash: str = "/") -> None:
        self.url, self.slash = url, slash
        self.http = requests.Session()

    def address(self, path: str) -> str:
        return f"{self.url}/api/v1/tasks/{path}{self.slash}"

    def create(self, **fields):
        return self.http.post(self.address("create"), json=fields, timeout=30)

    def create_form(self, files=None, **fields):
        # Without a file, requests would send a form of another kind.
        parts = {name: (None, value) for name, value in fields.items()} | (files or {})
        return self.http.post(self.address("create"), files=parts, timeout=30)

    def created(self, **fields) -> str:
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["task_id"]

    def status(self, task: str) -> dict:
        answer = self.http.get(self.address(f"{task}/status"), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def result(self, task: str):
        return self.http.get(self.address(f"{task}/result"), timeout=30)

    def cancel(self, task: str):
        return self.http.post(self.address(f"{task}/cancel"), timeout=30)

    def reaches(self, task: str, *states: str) -> dict:
        def look():
            status = self.status(task)
            assert status["status"] in STATES
            return status if status["status"] in states else None

        return until(f"{task} {states}", look)


@pytest.fixture(params=["/", ""], ids=["slash", "no slash"])
def backend(server, request):
    return Backend(server.url, request.param)


@pytest.fixture
def slow(slow_server):
    backend = Backend(slow_server.url)
    begun = []
    create = backend.created

    def created(**fields):
        begun.append(create(**fields))
        return begun[-1]

    backend.created = created
    yield backend
    for task in begun:
        backend.cancel(task)


def moment(text) -> datetime:
    at = datetime.fromisoformat(text)
    assert at.tzinfo is not None, text
    return at


def check_accepted(answer) -> str:
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert set(told) == {"task_id", "status", "message", "created_at"}
    assert (told["status"], told["message"]) == ("PENDING", "Task queued successfully")
    assert str(uuid.UUID(told["task_id"])) == told["task_id"]
    moment(told["created_at"])
    return told["task_id"]


def check_bad_input(answer, *fields: str) -> dict:
    said = f"{answer.request.body[:300] if answer.request.body else ''} -> {answer.status_code}: {answer.text[:500]}"
    assert answer.status_code == 400, said
    told = answer.json()
    assert set(told) == {"error", "details"} and told["error"] == "Invalid input", said
    assert told["details"], said
    for messages in told["details"].values():
        assert messages and all(isinstance(m, str) and m for m in messages), said
    for field in fields:
        assert field in told["details"], said
    return told["details"]


def follow_to_the_end(backend: Backend, task: str) -> dict:
    """Polls as their client did, and checks every answer on the way; the last one."""
    seen = []

    def look():
        seen.append(backend.status(task))
        return seen[-1] if seen[-1]["status"] in ("SUCCESS", "FAILURE", "REVOKED") else None

    last = until(task, look)
    for status in seen:
        assert status["task_id"] == task and status["status"] in STATES
        assert isinstance(status["progress"], int | float) and 0 <= status["progress"] <= 100
        assert isinstance(status["message"], str)
        assert moment(status["created_at"]) <= moment(status["updated_at"])
        if status["status"] in ("PENDING", "PROCESSING"):
            assert not status.get("completed_at") and not status.get("result_available")
    progress = [status["progress"] for status in seen]
    assert progress == sorted(progress)
    return last


# ---- a picture, from the first request to the last ---------------------------------------------


@pytest.mark.parametrize("how", ["json", "form"])
def test_a_picture_is_ordered_followed_and_fetched(backend, how):
    if how == "json":
        answer = backend.create(task_type="image_generation", prompt="a lighthouse at dawn", parameters=SMALL)
    else:
        answer = backend.create_form(
            task_type="image_generation", prompt="a lighthouse at dawn", parameters=json.dumps(SMALL)
        )
    task = check_accepted(answer)
    status = follow_to_the_end(backend, task)
    assert status["status"] == "SUCCESS", status
    assert status["task_type"] == "image_generation"
    assert (status["progress"], status["result_available"]) == (100, True)
    assert not status.get("error") and not status.get("error_message") and not status.get("failed_at")
    assert moment(status["created_at"]) <= moment(status["started_at"]) <= moment(status["completed_at"])
    assert isinstance(status["processing_time"], int | float) and status["processing_time"] >= 0

    answer = backend.result(task)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["task_id"], result["task_type"], result["status"]) == (task, "image_generation", "SUCCESS")
    assert result["prompt"] == "a lighthouse at dawn"
    assert result["processing_time"] == status["processing_time"]
    assert moment(result["completed_at"]) == moment(status["completed_at"])
    inner = result["result"]
    assert inner["image_url"] == result["image_url"]
    assert inner["prompt_used"].startswith("a lighthouse at dawn") and inner["prompt_used"] != "a lighthouse at dawn"
    assert isinstance(inner["processing_time"], int | float)
    metadata = inner["metadata"]
    assert isinstance(metadata["model"], str) and metadata["model"]
    assert metadata["seed"] == 11
    assert metadata["steps"] == 4

    # By its absolute URL, by whoever has it: no session, no header.
    assert result["image_url"].startswith(backend.url + "/")
    picture = requests.get(result["image_url"], timeout=30)
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/png"
    width, height = png_size(picture.content)
    assert width == height and width % 64 == 0
    if url := status.get("result_url"):
        assert requests.get(requests.compat.urljoin(backend.url, url), timeout=30).status_code == 200


def test_a_picture_lies_under_a_dated_path(backend):
    task = backend.created(task_type="image_generation", prompt="a dated picture", parameters=SMALL)
    backend.reaches(task, "SUCCESS")
    url = backend.result(task).json()["image_url"]
    today = moment(backend.status(task)["created_at"])
    assert re.search(rf"/{today:%Y}/{today:%m}/{today:%d}/", url), url
    assert url.rsplit(".", 1)[1].lower() == "png"


def test_a_picture_keeps_how_it_was_made(backend):
    task = backend.created(task_type="image_generation", prompt="an old mill by a river", parameters=SMALL)
    backend.reaches(task, "SUCCESS")
    content = requests.get(backend.result(task).json()["image_url"], timeout=30).content
    assert b"an old mill by a river" in content, "the prompt is among the picture's texts"


def test_defaults_are_theirs(backend):
    task = backend.created(
        task_type="image_generation", prompt="with nothing said", parameters={"width": 64, "height": 64}
    )
    backend.reaches(task, "SUCCESS")
    assert backend.result(task).json()["result"]["metadata"]["steps"] == 30


def test_the_same_seed_gives_the_same_picture(backend):
    pictures = []
    for _ in range(2):
        task = backend.created(task_type="image_generation", prompt="twice the same", parameters=SMALL)
        backend.reaches(task, "SUCCESS")
        pictures.append(requests.get(backend.result(task).json()["image_url"], timeout=30).content)
    assert png_pixels(pictures[0]) == png_pixels(pictures[1])


def test_parameters_may_be_left_out_of_a_form(backend):
    task = check_accepted(backend.create_form(task_type="image_generation", prompt="only a prompt"))
    assert backend.reaches(task, "SUCCESS", "FAILURE")["status"] == "SUCCESS"


def test_a_prompt_may_have_5000_characters_of_any_script(backend):
    task = check_accepted(backend.create(task_type="image_generation", prompt="灯" * 5000, parameters=SMALL))
    assert backend.reaches(task, "SUCCESS", "FAILURE")["status"] == "SUCCESS"


@pytest.mark.parametrize("factor", [None, 2])
def test_a_picture_is_enhanced(backend, factor):
    parameters = {} if factor is None else {"factor": factor}
    answer = backend.create_form(
        files={"image": ("mine.png", png(40, 30), "image/png")},
        task_type="image_enhancement",
        parameters=json.dumps(parameters),
    )
    task = check_accepted(answer)
    status = follow_to_the_end(backend, task)
    assert (status["status"], status["task_type"]) == ("SUCCESS", "image_enhancement"), status
    result = backend.result(task).json()
    picture = requests.get(result["image_url"], timeout=30)
    width, height = png_size(picture.content)
    assert width > 40 and width * 30 == height * 40


@pytest.mark.parametrize("task_type", WITHOUT_A_HANDLER)
def test_a_type_without_a_handler_says_what_is_missing(backend, task_type):
    files = {name: ("x.png", png(), "image/png") for name in ("image", "target_image")}
    problem = is_problem(
        backend.create_form(files=files, task_type=task_type, prompt="something else"), 501, "not_implemented"
    )
    assert task_type in problem["detail"]


# ---- on the way --------------------------------------------------------------------------------


def test_a_result_that_is_not_there_yet_says_how_it_is_doing(slow):
    task = slow.created(task_type="image_generation", prompt="slow")
    slow.reaches(task, "PROCESSING")
    answer = slow.result(task)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task not completed. Status: PROCESSING"})
    waiting = slow.created(task_type="image_generation", prompt="slow too")
    answer = slow.result(waiting)
    assert answer.status_code == 400
    assert re.fullmatch(r"Task not completed\. Status: (PENDING|PROCESSING)", answer.json()["error"])


def test_a_running_task_is_cancelled_and_its_slot_is_free_again(slow):
    first = slow.created(task_type="image_generation", prompt="slow, and first")
    status = slow.reaches(first, "PROCESSING")
    assert status["started_at"] and not status.get("completed_at")
    second = slow.created(task_type="image_generation", prompt="quick, once there is a slot")
    answer = slow.cancel(first)
    assert (answer.status_code, answer.json()) == (200, {"message": "Task cancelled"})
    assert slow.status(first)["status"] == "REVOKED"
    # The one slot there is.
    assert slow.reaches(second, "SUCCESS", "FAILURE")["status"] == "SUCCESS"
    answer = slow.result(first)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task not completed. Status: REVOKED"})


def test_a_task_that_waits_is_cancelled(slow):
    first = slow.created(task_type="image_generation", prompt="slow")
    waiting = slow.created(task_type="image_generation", prompt="never begun")
    assert slow.cancel(waiting).json() == {"message": "Task cancelled"}
    assert slow.status(waiting)["status"] == "REVOKED"
    assert slow.cancel(first).status_code == 200


def test_what_has_ended_is_not_cancelled(backend, slow):
    done = backend.created(task_type="image_generation", prompt="done", parameters=SMALL)
    backend.reaches(done, "SUCCESS")
    answer = backend.cancel(done)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task already completed"})
    assert backend.status(done)["status"] == "SUCCESS"
    for prompt in ("broken", "slow"):
        task = slow.created(task_type="image_generation", prompt=prompt)
        if prompt == "slow":
            assert slow.cancel(task).status_code == 200
        slow.reaches(task, "FAILURE", "REVOKED")
        answer = slow.cancel(task)
        assert (answer.status_code, answer.json()) == (400, {"error": "Task already completed"})


def test_a_failure_says_why(slow):
    task = slow.created(task_type="image_generation", prompt="broken")
    status = follow_to_the_end(slow, task)
    assert status["status"] == "FAILURE"
    assert "the model refuses this prompt" in status["error_message"] and status["error"]
    assert moment(status["failed_at"]) >= moment(status["created_at"])
    assert not status.get("result_available") and not status.get("result_url")
    answer = slow.result(task)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task not completed. Status: FAILURE"})


def test_a_task_that_waits_for_another_try_says_so(slow):
    task = slow.created(task_type="image_generation", prompt="unlucky")
    status = slow.reaches(task, "RETRY")
    assert not status.get("completed_at") and not status.get("result_available")
    assert slow.cancel(task).json() == {"message": "Task cancelled"}
    assert slow.status(task)["status"] == "REVOKED"


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", [str(uuid.UUID(int=5, version=4)), "0", "x" * 300, "%00", "..%2f..", "1' or '1'='1"])
def test_an_unknown_task_is_not_found(backend, task):
    for answer in (
        backend.http.get(backend.address(f"{task}/status"), timeout=30),
        backend.http.get(backend.address(f"{task}/result"), timeout=30),
        backend.http.post(backend.address(f"{task}/cancel"), timeout=30),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"}), answer.request.url


def test_an_id_that_is_no_text_is_refused(backend):
    for path in ("status", "result"):
        is_refused(backend.http.get(backend.address(f"%ff/{path}"), timeout=30))


def test_a_run_that_was_not_ordered_here_is_no_task(backend, api):
    run = api.post("/api/v1/runs", json={"workflow": "nap", "inputs": {"duration": "0s"}}).json()["id"]
    answer = backend.http.get(backend.address(f"{run}/status"), timeout=30)
    assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})


def test_a_picture_that_is_none_has_no_url(backend):
    task = backend.created(task_type="image_generation", prompt="to be guessed", parameters=SMALL)
    backend.reaches(task, "SUCCESS")
    url = backend.result(task).json()["image_url"]
    digest = re.search(r"[0-9a-f]{64}", url)[0]
    for wrong in (
        url.replace(digest, "0" * 64),
        url.replace(digest, ".." + "%2f.." * 8 + "%2fetc%2fpasswd"),
        url.replace(task, str(uuid.UUID(int=5, version=4))),
        url.replace(task, "x"),
    ):
        assert wrong != url
        answer = requests.get(wrong, timeout=30)
        assert answer.status_code == 404, wrong


def bad_inputs():
    good = {"task_type": "image_generation", "prompt": "a lighthouse", "parameters": SMALL}

    def parameters(**fields):
        return good | {"parameters": SMALL | fields}

    yield "no type", {"prompt": "x"}, ["task_type"]
    yield "an unknown type", good | {"task_type": "video_generation"}, ["task_type"]
    yield "a number for a type", good | {"task_type": 7}, ["task_type"]
    yield "a null type", good | {"task_type": None}, ["task_type"]
    yield "no prompt", {"task_type": "image_generation"}, ["prompt"]
    yield "an empty prompt", good | {"prompt": ""}, ["prompt"]
    yield "a blank prompt", good | {"prompt": "   "}, ["prompt"]
    yield "a null prompt", good | {"prompt": None}, ["prompt"]
    yield "a prompt too long", good | {"prompt": "x" * 5001}, ["prompt"]
    yield "a list for a prompt", good | {"prompt": ["x"]}, ["prompt"]
    yield "nothing", {}, ["task_type"]
    yield "a list for parameters", good | {"parameters": []}, ["parameters"]
    yield "words for parameters", good | {"parameters": "{"}, ["parameters"]
    yield "a word for a width", parameters(width="wide"), []
    yield "too wide", parameters(width=100_000), []
    yield "no width at all", parameters(width=0), []
    yield "a negative height", parameters(height=-64), []
    yield "a seed that is none", parameters(seed="lucky"), []
    yield "steps below nothing", parameters(num_inference_steps=-1), []
    yield "a scale that is a word", parameters(guidance_scale="strong"), []
    yield "no picture to enhance", {"task_type": "image_enhancement"}, ["image"]


@pytest.mark.parametrize(("fields", "wrong"), [pytest.param(f, w, id=name) for name, f, w in bad_inputs()])
def test_bad_input_is_told_by_field(backend, api, fields, wrong):
    before = api.get("/api/v1/runs").json()["data"][:1]
    check_bad_input(backend.create(**fields), *wrong)
    assert api.get("/api/v1/runs").json()["data"][:1] == before


def test_bad_input_of_a_form_is_told_by_field(backend):
    check_bad_input(backend.create_form(task_type="image_generation"), "prompt")
    check_bad_input(backend.create_form(prompt="x"), "task_type")
    check_bad_input(backend.create_form(task_type="image_generation", prompt="x" * 5001), "prompt")
    for parameters in ("{", "[]", "7", '"x"', "{'a': 1}"):
        check_bad_input(
            backend.create_form(task_type="image_generation", prompt="x", parameters=parameters), "parameters"
        )
    check_bad_input(backend.create_form(task_type="image_enhancement"), "image")
    check_bad_input(backend.create_form(task_type="image_enhancement", image="words"), "image")
    for content in (b"no picture", b"", bomb(), png()[:20]):
        files = {"image": ("mine.png", content, "image/png")}
        check_bad_input(backend.create_form(files=files, task_type="image_enhancement"), "image")


def test_the_words_of_a_missing_prompt_are_theirs(backend):
    details = check_bad_input(backend.create(task_type="image_generation"))
    assert details == {"prompt": ["Prompt is required for image_generation"]}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
        (b'"x"', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"x", "multipart/form-data; boundary=y"),
        (b"x", "multipart/form-data"),
        (b"{}", "text/plain"),
        (b"<a/>", "application/xml"),
    ],
)
def test_what_cannot_be_read_is_refused(backend, content, kind):
    answer = requests.post(backend.address("create"), data=content, headers={"content-type": kind}, timeout=30)
    assert answer.status_code in (400, 415), answer.text
    assert answer.json(), "whatever is wrong is told as JSON"


def test_other_methods_are_not_taken(backend):
    assert requests.get(backend.address("create"), timeout=30).status_code == 405
    task = backend.created(task_type="image_generation", prompt="x", parameters=SMALL)
    assert requests.post(backend.address(f"{task}/status"), timeout=30).status_code == 405
    assert requests.get(backend.address(f"{task}/cancel"), timeout=30).status_code == 405
