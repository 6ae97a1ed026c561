"""The control plane of a laptop mesh: a supervised child process and when it serves.

Its ports are chosen once, so that sidecars find it again after a restart.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from weft.errors import UserError
from weft.ports import PortBook
from weft.process import Command, Hooks, Process
from weft.report import Reporter
from weft.state import StateDir
from weft.tasks import spawn

NAME = "controlplane"
START_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.02
FROM_ENVIRONMENT = "env:"


class ControlPlane:
    """`start()` returns when it serves; `on_serving` is called then and after every restart."""

    def __init__(
        self,
        program: tuple[str, ...],
        directory: Path,
        state: StateDir,
        ports: PortBook,
        reporter: Reporter,
        on_serving: Callable[[], Awaitable[None]],
        *,
        restart: bool,
        passphrase: str = "",
    ) -> None:
        """passphrase: where that of the authority's keys is, a file or env:NAME; '' for none."""
        self.port, self.mtls_port, self.admin_port = ports.take(), ports.take(), ports.take()
        self._argv = (*program, "controlplane", "--config", str(directory))
        if passphrase:
            self._argv += ("--state-passphrase-file", passphrase)
        self._environment = dict(os.environ)
        if passphrase.startswith(FROM_ENVIRONMENT):  # nobody else whom we start inherits it
            os.environ.pop(passphrase.removeprefix(FROM_ENVIRONMENT), None)
        self._state = state
        self._reporter = reporter
        self._on_serving = on_serving
        self._serving = asyncio.Event()
        hooks = Hooks(self._prepare, self._started, self._line, self._exited)
        self.process = Process(NAME, hooks, state.logs / f"{NAME}.log", restart)

    async def _prepare(self) -> Command:
        (self._state.path / "controlplane.json").unlink(missing_ok=True)
        ports = {
            "--port": self.port,
            "--mtls-port": self.mtls_port,
            "--admin-port": self.admin_port,
        }
        options = [word for name, port in ports.items() for word in (name, str(port))]
        places = ("--state-dir", str(self._state.path), "--store", f"sqlite:{self._state.store}")
        argv = (*self._argv, *places, *options)
        return Command(argv, self._environment)

    def _started(self, pid: int) -> None:
        spawn(self._wait_until_serving(pid), "control plane start")

    async def _wait_until_serving(self, pid: int) -> None:
        while self.process.pid == pid:
            if self._state.control_plane() is not None:
                await self._on_serving()
                self._serving.set()
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _line(self, text: str) -> None:
        """What it says of the configuration is for the user as if we said it."""
        words = text.removeprefix("weft: ")
        if words.startswith("control plane serves"):  # we say that ourselves
            return
        if words.startswith(("error:", "warning:")):
            self._reporter.warn(words)
        elif words != text:
            self._reporter.note(words)
        else:
            self._reporter.output(NAME, text)

    def _exited(self, how: str, again_s: float | None) -> None:
        after = "" if again_s is None else f"; starting again in {again_s:.0f} s"
        self._reporter.warn(f"the control plane {how}{after} (the mesh keeps what it has)")

    async def start(self) -> None:
        """UserError when it does not serve in time or dies before."""
        self.process.start()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not self._serving.is_set():
                    if self.process.state in ("waiting", "exited"):
                        raise UserError(self._failure("ended while starting"))
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            why = self._failure(f"did not serve within {START_TIMEOUT_S:.0f} s")
            raise UserError(why) from None

    def _failure(self, what: str) -> str:
        last = self.process.tail[-1] if self.process.tail else "it said nothing"
        last = last.removeprefix("weft: error: ")
        return f"the control plane {what}: {last} (see {self.process.log_file})"
