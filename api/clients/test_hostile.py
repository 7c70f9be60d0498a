"""Clients that mean harm: bodies, pictures and connections by the dozen, and somebody who only wants to work.

The server must not need a gigabyte, and whoever asks decently is answered meanwhile. (What it maps says little: the
allocator and the stacks of its threads reserve 1.8 GB before the first request, of which it touches 60 MB.)
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import multiprocessing
import os
import resource
import socket
import statistics
import struct
import time
import zlib
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

import httpx
import pytest

from client import _chunk, bomb
from server import Server

MB = 1_000_000
ADDRESS_SPACE = 3_500 * MB
"""What the server may map: where it grows beyond all bounds, it dies, and not the machine."""
MOST_RESIDENT = 1_000 * MB
HOSTILE = 24
SECONDS = 20
PATIENCE_MS = 100

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def victim(new_server: Callable[..., Server]) -> Server:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    return new_server(before=limit)


def resident(server: Server) -> int:
    """The most that the server ever occupied, bytes."""
    assert server.process, server.said()
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def deep(side: int) -> bytes:
    """A picture of 16-bit colours and transparency: eight bytes a pixel, and next to none as a file."""
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    packed = zlib.compressobj(1)
    row = bytes(1 + side * 8)
    rows = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def run_of(value: bytes) -> bytes:
    return b'{"workflow":"take","inputs":{"n":' + value + b"}}"


def post(path: str, content: bytes, kind: str = "application/json") -> Callable[[Server], int]:
    def attack(server: Server) -> int:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            return client.post(path, content=content, headers={"content-type": kind}).status_code

    return attack


def form(parts: int, size: int) -> bytes:
    part = b'--x\r\ncontent-disposition: form-data; name="inputs"\r\n\r\n' + b"1" * size + b"\r\n"
    return part * parts + b"--x--\r\n"


def endless(server: Server) -> int:
    """A body without a length that goes on beyond what is taken."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        pieces = (b" " * MB for _ in range(80))
        return client.post("/api/v1/runs", content=pieces, headers=JSON).status_code


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def raw(*said: bytes, many: int = 1, wait: float = 0.5) -> Callable[[Server], int]:
    """Says this on so many connections at once, and stays for a moment."""

    def attack(server: Server) -> int:
        open_ones = []
        try:
            for _ in range(many):
                one = socket.create_connection(address(server), timeout=10)
                open_ones.append(one)
                for piece in said:
                    one.sendall(piece)
            time.sleep(wait)
        except OSError:
            pass  # It hung up: that is its right.
        finally:
            for one in open_ones:
                one.close()
        return 0

    return attack


def methods(server: Server) -> int:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(200):
            status = client.request(f"M{number}X{time.monotonic_ns()}", "/api/v1/runs").status_code
    return status


def thumbnails(server: Server) -> int:
    """The same large picture, made small by six at once."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        file = client.post("/api/v1/uploads", content=DEEP, headers={"content-type": "image/png"}).json()
        run = client.post("/api/v1/runs", json={"workflow": "hold", "inputs": {"image": file}})
        assert run.status_code == 202, run.text
        path = f"/api/v1/runs/{run.json()['id']}/artifacts/{file['artifact']}?thumbnail=64"
        with concurrent.futures.ThreadPoolExecutor(6) as crowd:
            answers = list(crowd.map(lambda _: client.get(path).status_code, range(6)))
    return max(answers)


def unread(server: Server) -> int:
    """Asks for much and takes none of it."""
    return raw(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 50, many=20)(server)


DEEP = deep(5_000)
HEAD = b"POST /api/v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"

ATTACKS: dict[str, Callable[[Server], int]] = {
    "hollow lists": post("/api/v1/runs", run_of(b"[" + b"[]," * 20_000_000 + b"[]]")),
    "hollow objects": post("/api/v1/runs", run_of(b"[" + b"{}," * 20_000_000 + b"{}]")),
    "numbers": post("/api/v1/runs", run_of(b"[" + b"1," * 30_000_000 + b"1]")),
    "depth": post("/api/v1/runs", run_of(b"[" * 20_000_000)),
    "one long text": post("/api/v1/runs", run_of(b'"' + b"x" * 60 * MB + b'"')),
    "escapes": post("/api/v1/runs", run_of(b'"' + b"\\u00e9" * 10_000_000 + b'"')),
    "many keys": post("/api/v1/runs", run_of(b"{" + b",".join(b'"k%d":1' % n for n in range(2_000_000)) + b"}")),
    "a hollow batch": post("/api/v1/batches", b'{"workflow":"take","items":[' + b"{}," * 15_000_000 + b"{}]}"),
    "much in common": post(
        "/api/v1/batches",
        json.dumps({"workflow": "take", "items": [{"n": 1}] * 10_000, "common": {"n": "x" * MB}}).encode(),
    ),
    "lines": post("/api/v1/batches?workflow=take", b"{}\n" * 20_000_000, "application/x-ndjson"),
    "a form of texts": post("/api/v1/runs", form(60, MB), "multipart/form-data; boundary=x"),
    "a form of crumbs": post("/api/v1/runs", form(500_000, 1), "multipart/form-data; boundary=x"),
    "a hollow order": post("/api/v1/tasks/submit/", b'{"parameters":{"x":[' + b"[]," * 15_000_000 + b"[]]}}"),
    "a large order": post("/api/v1/tasks/submit/", b'{"task_type":"face_swap","image":"' + b"A" * 60 * MB + b'"}'),
    "rows": post("/predict", b'{"rows":[' + b'{"a":1},' * 7_000_000 + b'{"a":1}]}'),
    "more than a body": post("/api/v1/runs", b" " * 70 * MB),
    "no end": endless,
    "a bomb": post("/api/v1/uploads", bomb(), "image/png"),
    "half a picture": post("/api/v1/uploads", DEEP[: len(DEEP) // 2], "image/png"),
    "thumbnails": thumbnails,
    "idle ones": raw(many=600),
    "half a head": raw(b"GET / HTTP/1.1\r\nx: ", many=200),
    "half a body": raw(HEAD + b"content-length: 60000000\r\n\r\n" + b" " * 2 * MB, many=20),
    "a long address": raw(b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", many=20),
    "a long head": raw(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 500_000, many=20),
    "many headers": raw(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000, many=20),
    "all at once": raw(b"GET /api/v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 500, many=5),
    "nothing taken": unread,
    "words for methods": methods,
}


def hostile(server: Server, numbers: range, over: Event, said: Queue) -> None:
    """Some of the hostile clients, in a process of their own: they are to cost the server, not each other."""
    os.nice(10)
    names = list(ATTACKS)

    def one(number: int) -> None:
        turn = number
        while not over.is_set():
            name = names[turn % len(names)]
            turn += 1
            try:
                said.put((name, ATTACKS[name](server)))
            except httpx.TransportError as error:
                # It may hang up in the middle of a body that it refuses.
                said.put((name, type(error).__name__))

    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as crowd:
        for done in [crowd.submit(one, number) for number in numbers]:
            done.result()


def test_hostile_clients_take_neither_the_memory_nor_the_time_of_others(victim):
    assert len(ATTACKS) >= 20
    fork = multiprocessing.get_context("fork")
    over, said = fork.Event(), fork.Queue()
    shares = [range(first, first + HOSTILE // 4) for first in range(0, HOSTILE, HOSTILE // 4)]
    crowd = [fork.Process(target=hostile, args=(victim, share, over, said), daemon=True) for share in shares]
    answers: dict[str, list[int | str]] = {name: [] for name in ATTACKS}
    took: list[float] = []
    for other in crowd:
        other.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or not all(answers.values()):
        assert time.monotonic() < end + 100, f"not even one of each: {answers}"
        for path in ("/livez", "/api/v1/workers"):
            began = time.monotonic()
            # A connection of its own each time: whoever comes new is the first to be left outside.
            one = http.client.HTTPConnection(*address(victim), timeout=30)
            one.request("GET", path)
            assert one.getresponse().status == 200
            took.append(1_000 * (time.monotonic() - began))
            one.close()
        time.sleep(0.05)
        while not said.empty():
            name, answer = said.get()
            answers[name].append(answer)
    over.set()
    for other in crowd:
        other.kill()
        other.join(30)

    assert victim.process and victim.process.poll() is None, victim.said()
    took.sort()
    seen = {name: sorted(set(map(str, each))) for name, each in answers.items()}
    p95 = took[len(took) * 95 // 100]
    figures = f"{len(took)} requests: median {statistics.median(took):.0f} ms, p95 {p95:.0f} ms, "
    figures += f"worst {took[-1]:.0f} ms; {resident(victim) / MB:.0f} MB at most; {seen}"
    print(figures)
    assert resident(victim) < MOST_RESIDENT, figures
    assert p95 < PATIENCE_MS, figures
    assert not [name for name, each in answers.items() if 500 in each], f"{figures}; {victim.said()}"
    # And it works as before.
    with httpx.Client(base_url=victim.url, timeout=30) as decent:
        run = decent.post("/api/v1/runs?wait=30", json={"workflow": "take", "inputs": {"n": 3}})
        assert run.status_code == 200 and run.json()["state"] == "succeeded", run.text
        series = [line for line in decent.get("/metrics").text.splitlines() if "aquatint_http_requests_total{" in line]
    assert {line.split('method="')[1].split('"')[0] for line in series} <= {
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "_OTHER",
    }


def test_a_connection_that_says_nothing_is_not_kept(victim):
    def stay(began: bytes) -> None:
        with socket.create_connection(address(victim), timeout=60) as one:
            one.sendall(began)
            while one.recv(4096):
                pass

    beginnings = [b"", b"GET /livez HTTP/1.1\r\nhost: 127", b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"]
    with concurrent.futures.ThreadPoolExecutor(len(beginnings)) as crowd:
        list(crowd.map(stay, beginnings))


def test_a_body_that_stalls_is_broken_off(victim):
    with socket.create_connection(address(victim), timeout=60) as one:
        one.sendall(HEAD + b'content-length: 100\r\n\r\n{"workflow":')
        assert one.recv(4096).startswith(b"HTTP/1.1 408 ")


FIFTY = "[" + ",".join(["1"] * 50) + "]"

EXPRESSIONS = [
    "size(['" + "x" * 64 + "']" + ".map(a, a + a)" * 40 + ") > 0",
    f"{FIFTY}.map(a, {FIFTY}.map(b, {FIFTY}.map(c, [a, b, c]))).size() > 0",
    "['x']" + ".map(a, a + a + a + a + a + a + a + a)" * 20 + ".size() > 0",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_takes_no_more_than_its_share(victim, expression):
    step = {"task": "core.echo", "when": expression, "with": {"value": 1}}
    written = {"name": "greedy", "steps": {"a": step}}
    schedule = {"cron": "@daily", "inputs": {"x": "${{ " + expression + " }}"}}
    timed = written | {"schedule": schedule, "inputs": {"x": {}}}
    with httpx.Client(base_url=victim.url, timeout=60) as client:
        for definition in (written, timed):
            answer = client.post("/api/v1/workflows/validate", content=json.dumps(definition))
            assert answer.status_code in (200, 422), answer.text
            client.get("/livez").raise_for_status()
    assert resident(victim) < MOST_RESIDENT
