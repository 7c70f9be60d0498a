"""The client of a back end without an SQL server: pictures go in and out as base64 in JSON."""

from __future__ import annotations

import base64
import json
import uuid

import pytest
import requests

from client import bomb, is_problem, png, png_pixels, png_size, until
from test_contract_images import SMALL, WITHOUT_A_HANDLER, Backend, check_bad_input


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Inline(Backend):
    def submit(self, **fields):
        return self.http.post(self.address("submit"), json=fields, timeout=30)

    def submitted(self, **fields) -> str:
        answer = self.submit(**fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["task_id"]


@pytest.fixture(params=["/", ""], ids=["slash", "no slash"])
def backend(server, request):
    return Inline(server.url, request.param)


def test_a_picture_comes_back_in_the_answer(backend):
    answer = backend.submit(task_type="image_generation", prompt="a lighthouse at dusk", parameters=SMALL)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    task = told.pop("task_id")
    assert str(uuid.UUID(task)) == task
    assert told == {"status": "PENDING", "message": "image_generation task submitted successfully"}

    status = backend.reaches(task, "SUCCESS", "FAILURE")
    assert (status["status"], status["task_id"], status["result_available"]) == ("SUCCESS", task, True)
    answer = backend.result(task)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["task_id"], told["status"]) == (task, "SUCCESS")
    result = told["result"]
    picture = base64.b64decode(result["image_data"], validate=True)
    width, height = png_size(picture)
    assert width == height and width % 64 == 0
    assert result["prompt_used"].startswith("a lighthouse at dusk")
    metadata = result["metadata"]
    assert metadata["original_prompt"] == "a lighthouse at dusk"
    assert metadata["refined_prompt"] == result["prompt_used"] != metadata["original_prompt"]
    assert metadata["parameters"]["seed"] == 11 and metadata["parameters"]["width"] == 64


def test_before_the_end_there_is_no_result(slow_server):
    backend = Inline(slow_server.url)
    task = backend.submitted(task_type="image_generation", prompt="slow")
    status = backend.reaches(task, "PROCESSING")
    assert status["result_available"] is False
    answer = backend.result(task)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task not completed. Status: PROCESSING"})
    answer = backend.cancel(task)
    assert (answer.status_code, answer.json()) == (200, {"message": "Task cancelled"})
    assert backend.status(task)["status"] == "REVOKED"
    answer = backend.cancel(task)
    assert (answer.status_code, answer.json()) == (400, {"error": "Task already completed"})


def test_a_failure_says_why(slow_server):
    backend = Inline(slow_server.url)
    task = backend.submitted(task_type="image_generation", prompt="broken")
    status = backend.reaches(task, "FAILURE")
    assert status["result_available"] is False
    assert "the model refuses this prompt" in json.dumps(status)


@pytest.mark.parametrize("as_data_url", [False, True], ids=["base64", "data URL"])
def test_a_picture_is_enhanced(backend, as_data_url):
    image = base64_of(png(24, 16))
    if as_data_url:
        image = f"data:image/png;base64,{image}"
    task = backend.submitted(task_type="image_enhancement", image=image)
    assert backend.reaches(task, "SUCCESS", "FAILURE")["status"] == "SUCCESS"
    width, height = png_size(base64.b64decode(backend.result(task).json()["result"]["image_data"]))
    assert width > 24 and width * 16 == height * 24


@pytest.mark.parametrize("task_type", WITHOUT_A_HANDLER)
def test_a_type_without_a_handler_says_what_is_missing(backend, task_type):
    image = base64_of(png())
    answer = backend.submit(task_type=task_type, prompt="x", image=image, target_image=image)
    problem = is_problem(answer, 501, "not_implemented")
    assert task_type in problem["detail"]


def test_a_task_remembers_how_it_was_submitted(backend):
    inline = backend.submitted(task_type="image_generation", prompt="one", parameters=SMALL)
    linked = backend.created(task_type="image_generation", prompt="one", parameters=SMALL)
    for task in (inline, linked):
        assert backend.reaches(task, "SUCCESS", "FAILURE")["status"] == "SUCCESS"
    by_value, by_link = backend.result(inline).json(), backend.result(linked).json()
    assert "image_data" in by_value["result"] and "image_data" not in by_link["result"]
    picture = requests.get(by_link["image_url"], timeout=30).content
    assert png_pixels(base64.b64decode(by_value["result"]["image_data"])) == png_pixels(picture)


def test_results_go_by_themselves_after_their_time(new_server):
    backend = Inline(new_server(settings={"AQUATINT_API_RESULT_RETENTION": "1s"}).url)
    task = backend.submitted(task_type="image_generation", prompt="for a moment", parameters=SMALL)
    kept = backend.created(task_type="image_generation", prompt="for long", parameters=SMALL)

    def look():
        answer = backend.http.get(backend.address(f"{task}/status"), timeout=30)
        return answer if answer.status_code == 404 else None

    assert until("the result to go", look, seconds=60).json() == {"error": "Task not found"}
    assert backend.result(task).status_code == 404
    assert backend.reaches(kept, "SUCCESS")["result_available"] is True


IMAGE = base64_of(png())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, ["task_type"]),
        ({"task_type": "nothing", "prompt": "x"}, ["task_type"]),
        ({"task_type": "image_generation"}, ["prompt"]),
        ({"task_type": "image_generation", "prompt": ""}, ["prompt"]),
        ({"task_type": "image_generation", "prompt": "x" * 5001}, ["prompt"]),
        ({"task_type": "image_generation", "prompt": 7}, ["prompt"]),
        ({"task_type": "image_generation", "prompt": "x", "parameters": []}, ["parameters"]),
        ({"task_type": "image_generation", "prompt": "x", "parameters": "words"}, ["parameters"]),
        ({"task_type": "image_generation", "prompt": "x", "parameters": {"width": "wide"}}, []),
        ({"task_type": "image_enhancement"}, ["image"]),
        ({"task_type": "image_enhancement", "image": ""}, ["image"]),
        ({"task_type": "image_enhancement", "image": "not base64!"}, ["image"]),
        ({"task_type": "image_enhancement", "image": base64_of(b"no picture")}, ["image"]),
        ({"task_type": "image_enhancement", "image": base64_of(bomb())}, ["image"]),
        ({"task_type": "image_enhancement", "image": 7}, ["image"]),
        ({"task_type": "background_removal"}, ["image"]),
        ({"task_type": "object_removal", "prompt": "the car"}, ["image"]),
        ({"task_type": "style_transfer", "prompt": "oil"}, ["image"]),
        ({"task_type": "face_swap"}, ["image", "target_image"]),
        ({"task_type": "face_swap", "image": IMAGE}, ["target_image"]),
        ({"task_type": "face_swap", "target_image": IMAGE}, ["image"]),
    ],
)
def test_fields_are_checked_against_each_other(backend, fields, wrong):
    check_bad_input(backend.submit(**fields), *wrong)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"7", b"[" * 100_000])
def test_what_cannot_be_read_is_refused(backend, content):
    headers = {"content-type": "application/json"}
    answer = requests.post(backend.address("submit"), data=content, headers=headers, timeout=30)
    assert answer.status_code == 400, answer.text
    assert answer.json()


def test_results_outlive_a_restart(new_server):
    server = new_server()
    backend = Inline(server.url)
    task = backend.submitted(task_type="image_generation", prompt="still there", parameters=SMALL)
    backend.reaches(task, "SUCCESS")
    before = backend.result(task).json()
    server.kill()
    server.start()
    again = Inline(server.url)
    assert again.status(task)["status"] == "SUCCESS"
    assert again.result(task).json()["result"] == before["result"]
