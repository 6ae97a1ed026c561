"""A workload's sidecar: writes its bootstrap and join token, and keeps its process running.

The sidecar is a program behind files and ports (`weft proxy -c BOOTSTRAP ...`); nothing of its
inside is known here.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from weft import loopback
from weft.bootstrap import LOOPBACK, Node, bootstrap
from weft.errors import UserError
from weft.grpc_bootstrap import GrpcNode, Place, grpc_bootstrap, relay
from weft.management import Unavailable
from weft.process import Command, Hooks, Process
from weft.report import Reporter
from weft.state import StateDir, write_private

LOOK_EVERY_S = 0.05
SHOWN = (" WARNING ", " ERROR ", " CRITICAL ", "weft: error: ", "Error: ")


@dataclass(frozen=True, slots=True)
class SidecarSetup:
    """What all sidecars of one machine share. join_token(namespace, service account)."""

    program: tuple[str, ...]
    state: StateDir
    reporter: Reporter
    ca_port: int
    xds_port: int
    join_token: Callable[[str, str], Awaitable[str]]
    restart: bool = True


@dataclass(frozen=True, slots=True)
class Agent:
    """What the proxy does for a program that has xDS of its own (gRPC's)."""

    place: Place
    node: GrpcNode


class Sidecar:
    """One proxy process, named `NAME-sidecar`."""

    def __init__(
        self,
        name: str,
        node: Node,
        admin_port: int,
        setup: SidecarSetup,
        agent: Agent | None = None,
    ) -> None:
        self.name = name
        self.node = node
        self.admin_port = admin_port
        self._setup = setup
        self._directory = setup.state.sidecar(name)
        self._has_token = False
        self._agent = agent
        if agent is not None:
            _tell(agent)
        hooks = Hooks(self._prepare, on_line=self._line, on_exit=self._exited)
        log = setup.state.logs / f"{name}-sidecar.log"
        self.process = Process(f"{name}-sidecar", hooks, log, setup.restart)

    async def _prepare(self) -> Command:
        node, setup, directory = self.node, self._setup, self._directory
        await self._write_token(directory / "token")
        root = str(setup.state.root_certificate)
        place = self._agent.place if self._agent is not None else None
        content = bootstrap(
            node,
            xds_port=setup.xds_port,
            admin_port=self.admin_port,
            root_file=root,
            listeners=[relay(place.socket)] if place is not None else (),
        )
        write_private(directory / "bootstrap.json", json.dumps(content, indent=2) + "\n")
        argv = (
            *setup.program,
            "proxy",
            *("-c", str(directory / "bootstrap.json"), "--state-dir", str(directory)),
            *("--ca-address", f"{LOOPBACK}:{setup.ca_port}", "--ca-root", root),
            *("--join-token-file", str(directory / "token")),
            *(("--output-certs", str(place.certificates)) if place is not None else ()),
        )
        return Command(argv, {**os.environ, **node.variables})

    async def _write_token(self, path: Path) -> None:
        """A token proves the identity once, so each start has its own. Without a control plane the
        last one stays: the identity that the proxy has kept is sealed with it."""
        node = self.node
        try:
            token = await self._setup.join_token(node.namespace, node.service_account)
        except Unavailable:
            if not self._has_token:
                raise
            self._setup.reporter.note(f"the sidecar of {self.name} starts with what it has kept")
        else:
            write_private(path, token + "\n")
            self._has_token = True

    def _line(self, text: str) -> None:
        if any(mark in text for mark in SHOWN):  # the rest (access log, notes) is in the log file
            self._setup.reporter.output(self.process.name, text)

    def _exited(self, how: str, again_s: float | None) -> None:
        after = "" if again_s is None else f"; starting again in {again_s:.0f} s"
        self._setup.reporter.warn(f"the sidecar of {self.name} {how}{after}")

    async def ready(self) -> bool:
        """Whether it has its configuration (Envoy's /ready)."""
        return (await loopback.get(self.admin_port, "/ready", timeout_s=2.0)).status == 200

    async def until_provided(self, timeout_s: float) -> None:
        """Until a program that asks the agent finds it, and certificates; after the time it has to
        try for itself."""
        if self._agent is None:
            return
        place = self._agent.place
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not place.provided():  # noqa: ASYNC110  another process sets no Event
                    await asyncio.sleep(LOOK_EVERY_S)

    async def until_ready(self, timeout_s: float) -> None:
        """UserError when it is not ready in time; its last words are in the message."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.ready():  # noqa: ASYNC110  another process sets no Event
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            tail = self.process.tail
            last = f": {tail[-1]}" if tail else ""
            raise UserError(
                f"the sidecar of {self.name} is not ready after {timeout_s:.0f} s{last}"
                f" (see {self.process.log_file})"
            ) from None


def _tell(agent: Agent) -> None:
    """Writes what GRPC_XDS_BOOTSTRAP names."""
    place = agent.place
    content = grpc_bootstrap(agent.node, f"unix:{place.socket}", place.certificates)
    write_private(place.file, json.dumps(content, indent=2) + "\n")
