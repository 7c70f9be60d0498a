"""What a careful client needs: waiting for something, streams of events, pictures."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
PROBLEM = "application/problem+json"


def until(what: str, ask: Callable[[], T | None], seconds: float = 30) -> T:
    """Asks again and again, as a client that polls does, until there is an answer; gives up in the end."""
    deadline = time.monotonic() + seconds
    while True:
        if (answer := ask()) is not None:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def is_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """Checks that a request was refused as RFC 9457 says; the problem. Takes answers of httpx and requests."""
    said = f"{answer.request.method} {answer.request.url} -> {answer.status_code}: {answer.text[:500]}"
    assert answer.status_code == status, said
    assert answer.headers["content-type"].split(";")[0] == PROBLEM, said
    problem = answer.json()
    assert problem["status"] == status, said
    for field in ("type", "title", "code", "detail"):
        assert isinstance(problem[field], str) and problem[field], said
    if code:
        assert problem["code"] == code, said
    return problem


def is_refused(answer: Any) -> dict[str, Any]:
    """Checks that it is the client's fault, told as a problem; the problem."""
    assert 400 <= answer.status_code < 500, (
        f"{answer.request.method} {answer.request.url} -> {answer.status_code}: {answer.text[:500]}"
    )
    return is_problem(answer, answer.status_code)


# ---- pictures ----------------------------------------------------------------------------------


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int = 64, height: int = 48, shade: int = 128) -> bytes:
    """A grey picture with a slope in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes((shade + x + y) % 256 for x in range(width)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def bomb() -> bytes:
    """A few bytes that claim to be 50,000 × 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + _chunk(b"IEND", b"")
    )


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height of a PNG, all of whose chunks are whole."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n", content[:64]
    at, kinds = 8, []
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", content, at + 8 + length)
        assert crc == zlib.crc32(kind + body), kind
        kinds.append(kind)
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and b"IDAT" in kinds
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def png_pixels(content: bytes) -> bytes:
    """What a PNG shows, without what is written beside it."""
    at, packed = 8, b""
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] == b"IDAT":
            packed += content[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(packed)


# ---- streams -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """One message of a stream (Server-Sent Events)."""

    event: str
    id: str | None
    data: Any


@contextmanager
def stream(api: httpx.Client, path: str, after: str | int | None = None) -> Iterator[Iterator[Message]]:
    """Opens a stream, as a browser's EventSource would; it is closed on leaving."""
    headers = {"accept": "text/event-stream"}
    if after is not None:
        headers["last-event-id"] = str(after)
    # A stream that says nothing for 20 s, not even that it lives, is broken.
    with api.stream("GET", path, headers=headers, timeout=20) as answer:
        if answer.status_code != 200:
            answer.read()
            raise AssertionError(f"{path} -> {answer.status_code}: {answer.text}")
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield messages(answer.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[Message]:
    event, number, data = "message", None, []
    for line in lines:
        if not line:
            if data:
                yield Message(event, number, json.loads("\n".join(data)))
            event, number, data = "message", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "id":
            number = value
        elif field == "data":
            data.append(value)


# ---- runs --------------------------------------------------------------------------------------


def submit(api: httpx.Client, workflow: str, wait: str | None = None, **more: Any) -> dict[str, Any]:
    """Submits a run; with `wait`, as it ended."""
    answer = api.post("/api/v1/runs", params={"wait": wait} if wait else {}, json={"workflow": workflow, **more})
    assert answer.status_code == (200 if wait else 202), answer.text
    return answer.json()


def ended(api: httpx.Client, run: str) -> dict[str, Any]:
    """A run once it has ended."""
    answer = api.get(f"/api/v1/runs/{run}", params={"wait": "60s"}, timeout=70)
    assert answer.status_code == 200, answer.text
    assert answer.json()["finished_at"], answer.text
    return answer.json()


def begun(api: httpx.Client, run: str, step: str) -> None:
    """Returns when a worker has begun with a step."""
    with stream(api, f"/api/v1/runs/{run}/stream") as heard:
        for message in heard:
            assert message.event != "end", f"{run} ended before `{step}` began"
            if message.event == "task_started" and message.data["step"] == step:
                return
    raise AssertionError(f"the stream of {run} ended before `{step}` began")


def every(api: httpx.Client, path: str, **params: Any) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursors: set[str] = set()
    while True:
        answer = api.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            return found
        assert cursor not in cursors, "a cursor that leads back"
        cursors.add(cursor)
        params["cursor"] = cursor


def run_ids(api: httpx.Client) -> list[str]:
    """Every run there is, newest first: to see that a refused request left nothing."""
    return [run["id"] for run in every(api, "/api/v1/runs", all="true", limit=500)]
