"""Servers that tests share, and a bound on the time of each test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from server import HERE, Server

TEST_S = 180


@pytest.fixture(scope="session")
def program() -> str:
    program = os.environ.get("AQUATINT_PROGRAM")
    assert program, "AQUATINT_PROGRAM: expected the program to test; api/clients/check sets it"
    return program


@pytest.fixture(scope="session")
def new_server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the tests."""
    servers: list[Server] = []

    def start(**how: object) -> Server:
        how.setdefault("definitions", HERE / "definitions")
        server = Server(program, tmp_path_factory.mktemp("server"), **how)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(new_server: Callable[..., Server]) -> Iterator[Server]:
    """A server without keys, that all may share who leave it as they found it."""
    server = new_server()
    yield server
    # Nothing that any test did may have been our mistake.
    mistakes = [line for line in (server.folder / "log").read_text().splitlines() if " ERROR " in line]
    assert not mistakes, "\n".join(mistakes)


@pytest.fixture(scope="session")
def slow_server(new_server: Callable[..., Server]) -> Server:
    """A server where a picture takes an hour if its prompt says `slow`; one slot for them."""
    return new_server(definitions=HERE / "slow", queues="gpu:1,cpu:2,default:1")


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as api:
        yield api


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """No test hangs: whatever it waits for, it is told that its time is over."""

    def over(*_: object) -> None:
        raise TimeoutError(f"the test took more than {TEST_S} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(TEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
