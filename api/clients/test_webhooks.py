"""Whoever wants to know when runs end is told: signed, once, and after a crash too."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading

import httpx
import pytest

from client import ended, every, is_problem, is_refused, submit


class Receiver(http.server.ThreadingHTTPServer):
    """Takes messages as Standard Webhooks describes them; the first `refusals` are refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages: queue.Queue = queue.Queue()
        self.refusals = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def next(self, secret: str) -> dict:
        headers, body = self.messages.get(timeout=30)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert expected in headers["webhook-signature"].split(" ")
        return json.loads(body) | {"id": headers["webhook-id"]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_refused = self.server.refusals > 0
        if is_refused:
            self.server.refusals -= 1
        else:
            self.server.messages.put((self.headers, body))
        self.send_response(503 if is_refused else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver():
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture
def caller(new_server):
    """A server that may call this machine."""
    return new_server(
        settings={
            "AQUATINT_API_ALLOW_PRIVATE_WEBHOOKS": "true",
            "AQUATINT_LEASE": "1s",
        }
    )


def connect(server):
    return httpx.Client(base_url=server.url, timeout=30)


def made(api, receiver, **more):
    answer = api.post("/api/v1/webhooks", json={"url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


NAP = {"duration": "0s"}


def test_the_end_of_runs_and_batches_is_told_signed_and_once(caller, receiver):
    with connect(caller) as api:
        hook = made(api, receiver)
        run = submit(api, "nap", "30s", inputs=NAP, tags=["told"])
        message = receiver.next(hook["secret"])
        assert (message["type"], message["data"]["run"]["id"]) == ("run.succeeded", run["id"])
        assert message["data"]["run"]["outputs"] == run["outputs"]
        assert "inputs" not in message["data"]["run"]
        failed = submit(api, "second-try", "30s")
        assert receiver.next(hook["secret"])["type"] == "run.failed"
        batch = api.post("/api/v1/batches", json={"workflow": "nap", "items": [NAP] * 3}).json()["id"]
        ended(api, batch)
        message = receiver.next(hook["secret"])
        assert (message["type"], message["data"]["run"]["id"]) == ("batch.succeeded", batch)
        api.post(f"/api/v1/runs/{failed['id']}/retry")
        assert receiver.next(hook["secret"])["data"]["run"]["generation"] == 1
        deliveries = every(api, "/api/v1/runs", workflow="webhook-delivery")
        assert len(deliveries) == 4, "neither the items of a batch nor deliveries themselves are told of"
        assert receiver.messages.empty()


def test_only_what_was_asked_for_is_told(caller, receiver):
    with connect(caller) as api:
        hook = made(api, receiver, events=["run.failed"], workflow="second-try", tag="mine")
        submit(api, "nap", "30s", inputs=NAP, tags=["mine"])
        submit(api, "second-try", "30s", tags=["other"])
        run = submit(api, "second-try", "30s", tags=["mine"])
        assert receiver.next(hook["secret"])["data"]["run"]["id"] == run["id"]
        assert receiver.messages.empty()


def test_what_ends_while_the_server_is_away_is_told_when_it_is_back(caller, receiver):
    with connect(caller) as api:
        hook = made(api, receiver)
        run = submit(api, "nap", inputs={"duration": "300ms"})["id"]
    caller.kill()
    caller.start()
    message = receiver.next(hook["secret"])
    assert message["data"]["run"]["id"] == run


def test_a_receiver_that_is_away_is_told_later(caller, receiver):
    receiver.refusals = 1
    with connect(caller) as api:
        hook = made(api, receiver)
        answer = api.post(f"/api/v1/webhooks/{hook['id']}/test")
        assert answer.status_code == 202, answer.text
        assert receiver.next(hook["secret"])["type"] == "webhook.test"
        assert ended(api, answer.json()["id"])["state"] == "succeeded"


def test_a_removed_webhook_is_told_nothing(caller, receiver):
    with connect(caller) as api:
        removed, kept = made(api, receiver, tag="x"), made(api, receiver)
        assert [h["id"] for h in every(api, "/api/v1/webhooks")] and "secret" not in api.get("/api/v1/webhooks").text
        assert api.delete(f"/api/v1/webhooks/{removed['id']}").status_code == 204
        is_problem(api.delete(f"/api/v1/webhooks/{removed['id']}"), 404)
        is_problem(api.post(f"/api/v1/webhooks/{removed['id']}/test"), 404)
        submit(api, "nap", "30s", inputs=NAP, tags=["x"])
        receiver.next(kept["secret"])
        assert receiver.messages.empty()


def test_a_private_address_is_not_called_unless_it_was_said_so(new_server, receiver):
    with connect(new_server()) as api:
        answer = api.post("/api/v1/webhooks", json={"url": receiver.url})
        if answer.status_code == 201:
            run = api.post(f"/api/v1/webhooks/{answer.json()['id']}/test").json()["id"]
            assert ended(api, run)["state"] == "failed"
        else:
            is_refused(answer)
    assert receiver.messages.empty()


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"url": ""},
        {"url": "example.org"},
        {"url": "ftp://example.org"},
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": "http://user:word@example.org/"},
        {"url": "http://example.org/" + "x" * 2000},
        {"url": "http://example.org/\r\nx: y"},
        {"url": 7},
        {"url": "http://example.org", "events": ["everything"]},
        {"url": "http://example.org", "events": "run.failed"},
        {"url": "http://example.org", "secret": "short"},
        {"url": "http://example.org", "secret": "whsec_c2hvcnQ="},
        {"url": "http://example.org", "surprise": 1},
    ],
)
def test_a_webhook_with_mistakes_is_not_made(api, bad):
    is_problem(api.post("/api/v1/webhooks", json=bad), 422)
    assert every(api, "/api/v1/webhooks") == []


def test_an_owner_sees_only_their_own(new_server, receiver):
    server = new_server()
    admin = httpx.post(server.url + "/api/v1/keys", json={"name": "a", "scopes": ["admin"]}).json()["key"]

    def holder():
        made = httpx.post(
            server.url + "/api/v1/keys", json={"name": "b", "scopes": ["submit"]}, headers={"x-api-key": admin}
        )
        return httpx.Client(base_url=server.url, headers={"x-api-key": made.json()["key"]}, timeout=30)

    with holder() as one, holder() as other:
        hook = made(one, receiver)
        assert [h["id"] for h in every(one, "/api/v1/webhooks")] == [hook["id"]]
        assert every(other, "/api/v1/webhooks") == []
        is_problem(other.delete(f"/api/v1/webhooks/{hook['id']}"), 404)
        is_problem(other.post(f"/api/v1/webhooks/{hook['id']}/test"), 404)
