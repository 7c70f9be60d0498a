"""Celery workers over databases of their own, for the time of one configuration."""

import contextlib
import importlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

HERE = Path(__file__).resolve().parent
READY_WITHIN_S = 60
STOP_WITHIN_S = 10


class Trouble(Exception):
    """A measurement that did not come to its end."""


class Rig:
    """The client's side: the app, direct views of both databases, and the workers to end."""

    @classmethod
    @contextlib.contextmanager
    def started(cls, configuration, postgres_url, redis_url):
        rig = cls(configuration, postgres_url, redis_url)
        try:
            rig.start()
            yield rig
        finally:
            rig.close()

    def __init__(self, configuration, postgres_url, redis_url):
        self.configuration = configuration
        self.workers = []
        self.log = tempfile.TemporaryFile()
        self.redis = None
        self.server = psycopg.connect(postgres_url, autocommit=True)
        self.database = f"celery_bench_{secrets.token_hex(4)}"
        self.server.execute(f"create database {self.database}")
        postgres = with_path(postgres_url, self.database)
        self.rows = psycopg.connect(postgres, autocommit=True)
        broker, self.redis = empty_redis(redis_url)
        sqlalchemy = "db+postgresql+psycopg" + postgres.removeprefix("postgresql").removeprefix("postgres")
        self.options = {
            "broker": broker,
            "backend": sqlalchemy if configuration.database_results else broker,
            "settings": configuration.settings,
            "rows": postgres if configuration.rows else None,
        }

    def start(self):
        os.environ["WORKLOAD_OPTIONS"] = json.dumps(self.options)
        # Loaded only now, for it reads its configuration then: one configuration a process.
        self.workload = importlib.import_module("workload")
        self.app = self.workload.app
        self.sender = self.quiet_sender() if self.configuration.quiet_sender else self.app
        if self.configuration.rows:
            self.rows.execute(self.workload.TABLE)
        self.start_workers()

    def quiet_sender(self):
        from celery import Celery

        sender = Celery("sender", broker=self.options["broker"], set_as_current=False)
        sender.conf.update(self.app.conf.changes, result_backend="disabled://")
        return sender

    def start_workers(self):
        for number in range(self.configuration.workers):
            command = [sys.executable, "-O", "-W", "ignore", "-m", "celery", "--quiet", "--app=workload", "worker"]
            command += ["--loglevel=ERROR", "--queues=bench", f"--hostname=bench{number}@%h"]
            command += self.configuration.arguments
            # A session of its own, so that its children can be ended together with it.
            process = subprocess.Popen(
                command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
            )
            self.workers.append(process)
        # Connections made, code loaded: the steady state is what counts.
        warm = [self.workload.noop.delay() for _ in range(50)]
        deadline = time.monotonic() + READY_WITHIN_S
        for result in warm:
            self.get(result, deadline)
        # Several workers are ready only when each of them answers.
        while len(self.app.control.ping(timeout=1, limit=len(self.workers)) or []) < len(self.workers):
            if time.monotonic() > deadline:
                raise Trouble(f"workers not ready within {READY_WITHIN_S} s: {self.last_words()}")

    def get(self, result, deadline):
        """A result in the client's hand, as quickly as the backend can tell."""
        from celery.exceptions import TimeoutError as Late

        interval = {"interval": 0.002} if self.configuration.database_results else {}
        try:
            return result.get(timeout=max(0.001, deadline - time.monotonic()), **interval)
        except Late:
            raise Trouble(f"no result in time; workers said: {self.last_words()}") from None

    def last_words(self):
        self.log.seek(0)
        return self.log.read()[-2_000:].decode(errors="replace").strip() or "nothing"

    def stop_workers(self):
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            # Its children are in its group, and may have outlived it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.workers.clear()

    def restart(self):
        """Begins afresh: no messages, no results, new workers."""
        self.stop_workers()
        self.redis.flushdb()
        self.start_workers()

    def close(self):
        self.stop_workers()
        if self.redis is not None:
            self.redis.flushdb()
            self.redis.close()
        if hasattr(self, "app"):
            self.app.close()
        self.rows.close()
        self.server.execute(f"drop database {self.database} with (force)")
        self.server.close()
        self.log.close()


def with_path(url, path):
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def empty_redis(url):
    """The first of Redis's numbered databases that nobody uses."""
    for number in range(1, 16):
        numbered = with_path(url, str(number))
        client = redis.Redis.from_url(numbered)
        if client.dbsize() == 0:
            return numbered, client
        client.close()
    raise Trouble("every database of Redis from 1 to 15 holds something; give this an empty server")
