"""A proxy as a child process: started with a bootstrap, ready by its admin port, always stopped.

The same for Envoy and Weft, so that a test can run over both. Knows neither's inside.
"""

from __future__ import annotations

import http.client
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.wait import eventually

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 60.0
SPAWN_AGAIN_S = 0.5


class ProcessFailed(AssertionError):
    """It ended before it was ready; the text is the end of what it wrote."""


@dataclass(slots=True)
class AdminReply:
    status: int
    body: str


class ProxyProcess:
    """`with ProxyProcess(...) as proxy:` runs `command` until the block ends.

    Everything it writes goes to `log_path`. `admin_port` is where `/ready` answers 200.
    """

    def __init__(self, command: Sequence[str], admin_port: int, log_path: Path) -> None:
        self.command = list(command)
        self.admin_port = admin_port
        self.log_path = log_path
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def start(self) -> Self:
        """Starts it and waits until `/ready` says 200. ProcessFailed if it ends before."""
        try:
            self._child = self._spawned()
        except OSError as failure:  # of the machine, not of the program: seen once in 10,000 starts
            time.sleep(SPAWN_AGAIN_S)
            self._child = self._spawned()
            with self.log_path.open("a") as log:
                log.write(f"started at the second try: {failure}\n")
        try:
            eventually(self._is_ready, START_DEADLINE_S, f"{self.command[0]} ready; {self.log}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit code; killed if it does not end in time."""
        assert self._child is not None, "not started"
        if self._child.poll() is None:
            self._child.send_signal(sig)
        try:
            return self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait(STOP_DEADLINE_S)

    def admin(self, path: str, method: str = "GET") -> AdminReply:
        """One request to the admin port. OSError when nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return AdminReply(response.status, response.read().decode("utf-8", "replace"))
        finally:
            connection.close()

    def stats(self) -> dict[str, int]:
        """Counters and gauges by Envoy's names."""
        pairs = (line.partition(": ") for line in self.admin("/stats").body.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def _spawned(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log)

    def _is_ready(self) -> bool:
        assert self._child is not None
        if (code := self._child.poll()) is not None:
            raise ProcessFailed(f"{self.command[0]} exited with {code}: {self.log[-4000:]}")
        try:
            return self.admin("/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def with_admin(bootstrap: dict[str, Any], port: int) -> dict[str, Any]:
    """The bootstrap with its admin listener on 127.0.0.1:`port`."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {**bootstrap, "admin": {"address": address}}
