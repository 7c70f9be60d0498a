"""The client of a model-training service: train in the background, watch, compare, predict."""

from __future__ import annotations

import math
import time
import uuid

import pytest
import requests

from client import until

STATES = {"PENDING", "STARTED", "PROGRESS", "SUCCESS", "FAILURE"}
EPOCHS = 3
NOBODY = str(uuid.UUID(int=5, version=4))


class Trainer:
    """The client, as it was written for the system that is replaced."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()

    def get(self, path: str):
        return self.http.get(self.url + path, timeout=60)

    def post(self, path: str, body=None):
        return self.http.post(self.url + path, json=body, timeout=80)

    def kinds(self) -> list[str]:
        return sorted(self.get("/models/status").json()["models"])

    def follow(self, task: str) -> dict:
        seen = []

        def look():
            answer = self.get(f"/task/{task}/status")
            assert answer.status_code == 200, answer.text
            seen.append(answer.json())
            return seen[-1] if seen[-1]["status"] in ("SUCCESS", "FAILURE") else None

        last = until(task, look, seconds=75)
        for status in seen:
            assert status["task_id"] == task and status["status"] in STATES
            assert 0 <= status["progress"] <= 100 and isinstance(status["message"], str)
        progress = [s["progress"] for s in seen if s["status"] != "FAILURE"]
        assert progress == sorted(progress)
        return last

    def trained(self, kind: str, **body) -> dict:
        answer = self.post(f"/train/{kind}/async", {"epochs": EPOCHS} | body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert set(told) >= {"task_id", "status", "message"} and told["status"] == "PENDING" and told["message"]
        return self.follow(told["task_id"])


@pytest.fixture(scope="module")
def trainer(new_server):
    """A server where nothing was ever trained, at first."""
    return Trainer(new_server().url)


# ---- before anything is trained ----------------------------------------------------------------


def test_nothing_is_trained_at_first(trainer):
    models = trainer.get("/models/status").json()["models"]
    assert len(models) > 1 and not any(m["trained"] or m["trained_at"] for m in models.values())
    kind = next(iter(models))
    for path, body in (
        ("/predict", {"model_type": kind, "features": {"x": 1}}),
        ("/predict/compare", {"features": {"x": 1}}),
    ):
        answer = trainer.post(path, body)
        assert answer.status_code == 404 and answer.json()["detail"], answer.text


def test_the_service_tells_its_health(trainer):
    health = trainer.get("/health")
    assert health.status_code == 200 and health.json()["status"] == "healthy"
    workers = trainer.get("/celery/health")
    assert workers.status_code == 200, workers.text
    assert workers.json()["status"] == "healthy" and workers.json()["workers"] == 1


def test_there_is_interactive_documentation(trainer):
    page = trainer.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert b"swagger" in page.content.lower()


# ---- training ----------------------------------------------------------------------------------


def test_every_kind_is_trained_watched_and_tells_its_metrics(trainer):
    for kind in trainer.kinds():
        status = trainer.trained(kind)
        assert status["status"] == "SUCCESS" and status["progress"] == 100, status
        result = trainer.get(f"/task/{status['task_id']}/result")
        assert result.status_code == 200, result.text
        told = result.json()
        assert (told["task_id"], told["status"]) == (status["task_id"], "SUCCESS")
        assert has_numbers(told["metrics"][kind]), told["metrics"]
        model = trainer.get("/models/status").json()["models"][kind]
        assert model["trained"] is True and model["trained_at"]


def has_numbers(metrics) -> bool:
    if isinstance(metrics, dict):
        return any(has_numbers(value) for value in metrics.values())
    return isinstance(metrics, int | float) and not isinstance(metrics, bool) and math.isfinite(metrics)


def test_all_kinds_at_once_are_compared(trainer):
    status = trainer.trained("all")
    assert status["status"] == "SUCCESS", status
    told = trainer.get(f"/task/{status['task_id']}/result").json()
    assert sorted(told["metrics"]) == trainer.kinds()
    assert all(has_numbers(metrics) for metrics in told["metrics"].values())


def test_a_request_may_wait_for_its_training(trainer):
    kind = trainer.kinds()[0]
    answer = trainer.post(f"/train/{kind}", {"epochs": EPOCHS})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "SUCCESS" and has_numbers(answer.json()["metrics"])
    assert trainer.get(f"/task/{answer.json()['task_id']}/status").json()["status"] == "SUCCESS"


def test_models_predict_one_by_one_and_all_together(trainer):
    rows = [{"x": x, "y": 2 * x + 1} for x in range(40)]
    assert trainer.trained("all", rows=rows, target="y")["status"] == "SUCCESS"
    for kind in trainer.kinds():
        answer = trainer.post("/predict", {"model_type": kind, "features": {"x": 4}})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_type"] == kind
        assert has_numbers({"it": answer.json()["prediction"]})
    answer = trainer.post("/predict/compare", {"features": {"x": 4}})
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()["predictions"]) == trainer.kinds()
    # A column that the models have never heard of is the client's mistake.
    assert 400 <= trainer.post("/predict", {"features": {"z": 4}}).status_code < 500


def test_a_failure_carries_its_trace(trainer):
    status = trainer.trained(trainer.kinds()[0], rows=[{"x": 1}, {"x": 2}], target="no such column")
    assert status["status"] == "FAILURE" and status["message"]
    told = trainer.get(f"/task/{status['task_id']}/result").json()
    assert told["status"] == "FAILURE" and told["error"]
    assert "no such column" in told["traceback"] and "train" in told["traceback"]


def test_a_result_that_is_not_there_yet_says_how_it_is_doing(trainer):
    task = trainer.post("/train/all/async", {"epochs": 10_000}).json()["task_id"]
    told = trainer.get(f"/task/{task}/result")
    assert told.status_code == 200 and told.json()["status"] in STATES - {"SUCCESS", "FAILURE"}, told.text
    assert trainer.get("/celery/health").json()["status"] == "healthy"
    assert requests.post(f"{trainer.url}/api/v1/runs/{task}/cancel", timeout=30).status_code == 200
    assert trainer.follow(task)["status"] == "FAILURE"


def test_submission_and_status_are_quick(trainer):
    """Less than 100 ms and 50 ms were promised; the best of a few tells what the service takes, not this machine."""
    kind = trainer.kinds()[0]
    tasks, submitting, asking = [], [], []
    for _ in range(8):
        began = time.monotonic()
        tasks.append(trainer.post(f"/train/{kind}/async", {"epochs": 1}).json()["task_id"])
        submitting.append(time.monotonic() - began)
    for task in tasks:
        began = time.monotonic()
        assert trainer.get(f"/task/{task}/status").status_code == 200
        asking.append(time.monotonic() - began)
        trainer.follow(task)
    assert min(submitting) < 0.1 and min(asking) < 0.05, (submitting, asking)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", [NOBODY, "0", "x" * 300, "%00", "..%2f.."])
def test_an_unknown_task_is_not_found(trainer, task):
    for path in ("status", "result"):
        answer = trainer.get(f"/task/{task}/{path}")
        assert answer.status_code == 404 and answer.json()["detail"], answer.text


def test_a_run_that_trains_nothing_is_no_task(trainer):
    run = trainer.post("/api/v1/runs", {"workflow": "nap", "inputs": {"duration": "0s"}}).json()["id"]
    assert trainer.get(f"/task/{run}/status").status_code == 404


@pytest.mark.parametrize("kind", ["nothing", "LINEAR", "%00", "x" * 300, "..%2ftrain"])
def test_an_unknown_kind_is_refused(trainer, kind):
    for path in (f"/train/{kind}/async", f"/train/{kind}"):
        answer = trainer.post(path, {"epochs": 1})
        assert answer.status_code in (400, 404, 422) and answer.json()["detail"], answer.text
    answer = trainer.post("/predict", {"model_type": kind, "features": {"x": 1}})
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "body",
    [{"epochs": 0}, {"epochs": -1}, {"epochs": "many"}, {"epochs": 1e9}, {"epochs": 1.5}, [], "x", 7, {"rows": "x"}],
)
def test_a_training_that_cannot_be_is_refused(trainer, body):
    for path in ("/train/all/async", f"/train/{trainer.kinds()[0]}"):
        answer = trainer.post(path, body)
        assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("body", [None, {}, [], {"features": []}, {"features": 7}, {"rows": [7]}, {"model_type": 7}])
def test_a_question_that_cannot_be_asked_is_refused(trainer, body):
    for path in ("/predict", "/predict/compare"):
        answer = trainer.post(path, body)
        assert answer.status_code in (400, 422), answer.text
