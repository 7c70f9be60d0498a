"""The OpenAPI document, and a client that tries whatever it allows and much that it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from client import every, png, submit, until

EXAMPLES = 20
SEED = 1

# Of an operation's path and method: left out, since …
LEFT_OUT = {
    # … it never ends by itself; test_api.py and test_restart.py read it.
    "GET /api/v1/stream",
}

CONFIG = """
seed = {seed}
request-timeout = 20
continue-on-failure = true
warnings = false
# An endless stream is left out, one of a run ends with it.
max-stream-events = 50
headers = {{ Authorization = "Bearer {key}" }}

[generation]
max-examples = {examples}
# Byte sequences that are no text are sent by test_api.py.
allow-x00 = true

[phases]
stateful.enabled = false

[checks]
# 501 is what the document says of work that an installation has no handler for.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
# 400 and 422, with what is wrong and where: what a workflow takes is not in the document, nor is, of all
# that it calls a string, what is a duration or a name.
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 413, 415, 422, 501]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 501]

# Ids of things that there are, so that more is met than 404.
[dictionaries]
runs.values = {runs}
digests.values = {digests}
steps.values = ["generate", "items", "say", "nothing"]
workflows.values = ["nap", "item", "collect", "image-generation", "nothing"]
task_types.values = ["image_generation", "image_enhancement", "face_swap", "nothing"]
# Of the queues that work goes through, none may be paused: something waits for it.
queues.values = ["spare", "other"]
# Nobody waits for long, and nothing is trained for long.
waits.values = ["0s", "20ms", "soon"]
kinds.values = ["linear", "nothing"]
epochs.values = [1, 0]
# Nobody is called, least of all somebody whose name was made up.
urls.values = ["http://127.0.0.1:9/", "nowhere"]

[parameters]
"path.id" = {{ dictionary = "runs", probability = 0.8 }}
"path.task" = {{ dictionary = "runs", probability = 0.8 }}
"path.digest" = {{ dictionary = "digests", probability = 0.8 }}
"path.step" = {{ dictionary = "steps", probability = 0.8 }}
"path.name" = {{ dictionary = "workflows", probability = 0.8 }}
"path.queue" = {{ dictionary = "queues", probability = 0.8 }}
"path.model_type" = {{ dictionary = "kinds", probability = 0.8 }}
"query.wait" = {{ dictionary = "waits", probability = 1.0 }}
"body.workflow" = {{ dictionary = "workflows", probability = 0.8 }}
"body.task_type" = {{ dictionary = "task_types", probability = 0.8 }}
"body.url" = {{ dictionary = "urls", probability = 1.0 }}
"body.epochs" = {{ dictionary = "epochs", probability = 1.0 }}
"""


@pytest.fixture(scope="module")
def document(server):
    return httpx.get(server.url + "/openapi.json", timeout=30).json()


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_operation_says_what_it_is_for_and_how_it_refuses(document):
    names = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in ("get", "put", "post", "delete", "patch", "head", "options"):
                continue
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("tags"), where
            assert "default" in operation["responses"], where
            names.append(operation["operationId"])
    assert len(names) > 50
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"operationId is to be unique: {twice}"


def test_what_is_left_out_exists(document):
    for operation in LEFT_OUT:
        method, path = operation.split()
        assert method.lower() in document["paths"][path]


def test_no_answer_is_outside_the_document(new_server, tmp_path):
    server = new_server()
    made = httpx.post(server.url + "/api/v1/keys", json={"name": "tests", "scopes": ["admin"]}, timeout=30)
    key = made.json()["key"]
    with httpx.Client(base_url=server.url, timeout=30, headers={"x-api-key": key}) as api:
        runs, digests = things(api)
        config = CONFIG.format(
            seed=SEED, examples=EXAMPLES, key=key, runs=json.dumps(runs), digests=json.dumps(digests)
        )
        (tmp_path / "schemathesis.toml").write_text(config)
        told = schemathesis(server.url, tmp_path)
        assert told.returncode == 0, f"{told.stdout}\n{told.stderr}"
        # It lives, and can still read all that was stored.
        every(api, "/api/v1/runs", all="true", limit=500)
        every(api, "/api/v1/batches")
        assert api.get("/readyz").status_code == 200
        # What it began may take an hour, and a server that is to end waits for it.
        job = api.post("/api/v1/runs/bulk", json={"action": "cancel", "filter": {"everything": True}})
        until("the end of all", lambda: api.get(job.headers["location"]).json()["state"] == "finished" or None)
    assert server.stop() == 0
    checked = server.command("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def things(api) -> tuple[list[str], list[str]]:
    """Runs, tasks and batches of every kind, and what they made."""
    runs, digests = [], []
    for _ in range(4):
        run = submit(
            api, "image-generation", "30s", inputs={"prompt": "a mill", "width": 64, "height": 64, "factor": 1}
        )
        digests.append(run["outputs"]["image"]["artifact"])
        runs += [
            run["id"],
            submit(api, "second-try", "30s")["id"],
            submit(api, "nap", inputs={"duration": "500ms"})["id"],
        ]
        batch = {"workflow": "item", "items": [{"text": "x"}] * 3}
        runs.append(api.post("/api/v1/batches", json=batch).json()["id"])
        order = {"task_type": "image_generation", "prompt": "x", "parameters": {"width": 64, "height": 64}}
        for path in ("create", "submit"):
            runs.append(api.post(f"/api/v1/tasks/{path}/", json=order).json()["task_id"])
    digests.append(api.post("/api/v1/uploads", content=png()).json()["artifact"])
    return runs, digests


def schemathesis(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "st"), "run", url + "/openapi.json", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", "all"]
    for operation in sorted(LEFT_OUT):
        command += ["--exclude-name", operation]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
    )
