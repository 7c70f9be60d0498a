"""A server of one's own: started on a free port, killed, started again over the same data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
LISTENING = re.compile(r"listening on (http://[^\s;]+)")
START_S = 30
STOP_S = 30


class Server:
    """`aquatint serve` over a folder. What it says is kept in `FOLDER/log`."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        definitions: Path | None = None,
        queues: str = "gpu:2,cpu:4,default:4",
        settings: dict[str, str] | None = None,
        schedules: bool = False,
        before: Callable[[], None] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.folder = folder
        self.data = folder / "data"
        self.arguments = ["--data-dir", str(self.data), "--queues", queues]
        if definitions:
            self.arguments += ["--definitions", str(definitions)]
        # Nothing of whoever runs the tests: neither their settings nor their configuration files.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AQUATINT_")}
        self.environment |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)} | (settings or {})
        # What begins by itself would be in the way of whoever counts runs.
        self.serve = ["serve", "--grace", "5s", *([] if schedules else ["--no-scheduler"])]
        # In the process that becomes the server: limits, for one.
        self.before = before
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> Server:
        """Begins, and returns once it listens."""
        self.process = subprocess.Popen(
            [self.program, *self.arguments, *self.serve, "--listen", "127.0.0.1:0"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=self.before,
        )
        # For whoever cleans up where these tests are killed themselves.
        (self.folder / "pid").write_text(str(self.process.pid))
        listening = threading.Event()
        threading.Thread(target=self._read, args=(self.process, listening), daemon=True).start()
        if not listening.wait(START_S) or not self.url:
            self.kill()
            raise AssertionError(f"the server does not listen: {self.said()}")
        return self

    def _read(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        assert process.stderr
        with open(self.folder / "log", "a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                if found := LISTENING.search(line):
                    self.url = found[1]
                    listening.set()
        # It ended without having listened: no reason to wait longer.
        listening.set()

    def said(self) -> str:
        log = self.folder / "log"
        return log.read_text()[-4000:] if log.exists() else "nothing"

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process, self.process = self.process, None
        self.url = ""
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
            raise AssertionError(f"the server did not end within {STOP_S} s: {self.said()}") from None
        finally:
            (self.folder / "pid").unlink(missing_ok=True)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same program over the same data."""
        return subprocess.run(
            [self.program, *self.arguments, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
