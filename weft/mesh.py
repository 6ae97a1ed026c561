"""The laptop mesh: a control plane, an app and a sidecar for each process, and a gateway.

`LaptopMesh` starts them in order, answers what state they are in, and stops them in the opposite
order. It shows nothing itself: `up` decides how, through the reporter.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from weft.bootstrap import LOOPBACK, Node
from weft.control import ControlPlane
from weft.directory import Contents, Stamp, read, stamp
from weft.errors import UserError
from weft.fleet import Fleet
from weft.management import Management
from weft.ports import PortBook
from weft.process import Process
from weft.registry import Registry
from weft.report import Reporter
from weft.services import Service, host_name
from weft.sidecar import Sidecar, SidecarSetup
from weft.state import Running, StateDir
from weft.tasks import spawn
from weft.view import MeshFacts
from weft.workload import Workload

PROGRAM = (sys.executable, "-m", "weft")
GATEWAY_PORT = 8080
GATEWAY_NAMESPACE = "weft-system"
LOOK_EVERY_S = 0.1
FOREVER = float("inf")
RESTARTS_TOLERATED = 3


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """gateway_port None: 8080 or the next free one. program: how to run `weft`. passphrase: where
    that of the authority's keys is, a file or env:NAME; '' for none."""

    directory: Path
    state_dir: Path
    restart: bool = True
    gateway_port: int | None = None
    program: tuple[str, ...] = PROGRAM
    passphrase: str = ""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A service as a browser reaches it."""

    service: str
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"


class LaptopMesh:
    """`start()`, `until_ready()`, then `stop()` whatever happened."""

    def __init__(self, options: MeshOptions, reporter: Reporter) -> None:
        self.options = options
        self.reporter = reporter
        self.state = StateDir(options.state_dir)
        self.fleet: Fleet | None = None
        self.gateway: Sidecar | None = None
        self.gateway_port = 0
        self.started = False
        self.management: Management | None = None
        self.services: tuple[Service, ...] = ()
        self._stamp: Stamp = ()
        self._registry = Registry(reporter.warn)
        self._control: ControlPlane | None = None
        self._registry_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Everything is started when this returns, not yet ready. UserError: nothing can run."""
        directory = self.options.directory
        self._stamp = stamp(directory)
        contents = read(directory)
        for notice in contents.notices:
            self.reporter.warn(notice)
        self.services = contents.services
        ports = PortBook(Random())
        self.state.lock()
        self.gateway_port = self._choose_gateway_port(ports)
        self._build(contents, ports)
        self.started = True
        await self._start_control_plane()
        self._start_workloads()

    def _build(self, contents: Contents, ports: PortBook) -> None:
        """Makes all parts before any starts: what cannot run is said at once."""
        options = self.options
        self._control = ControlPlane(
            options.program,
            options.directory,
            self.state,
            ports,
            self.reporter,
            self._control_plane_serves,
            restart=options.restart,
            passphrase=options.passphrase,
        )
        setup = SidecarSetup(
            program=options.program,
            state=self.state,
            reporter=self.reporter,
            ca_port=self._control.port,
            xds_port=self._control.mtls_port,
            join_token=self._join_token,
            restart=options.restart,
        )
        self.fleet = Fleet(options.directory.absolute(), setup, self._registry, ports)
        self.fleet.build(contents)
        self.reporter.width = max(len(process.name) for process in self._apps())
        self.gateway = Sidecar("gateway", self._gateway_node(), ports.take(), setup)

    async def follow_directory(self) -> None:
        """One look: when a manifest has changed, the processes follow. What cannot run is said,
        and everything stays as it is until the next change."""
        now = stamp(self.options.directory)
        if now == self._stamp or self.fleet is None:
            return
        self._stamp = now
        try:
            contents = read(self.options.directory)
            await self.fleet.change(contents)
            self.services = contents.services
        except UserError as error:
            self.reporter.warn(f"{error} (the processes stay as they are)")

    async def _start_control_plane(self) -> None:
        assert self._control is not None
        began = time.monotonic()
        self.reporter.note("control plane is starting")
        self._registry_task = spawn(self._registry.run(), "registry")
        await self._control.start()
        took = f"{time.monotonic() - began:.1f} s"
        self.reporter.note(f"control plane serves on {LOOPBACK}:{self._control.port} ({took})")

    async def _control_plane_serves(self) -> None:
        before, self.management = self.management, Management.of(self.state)
        self._registry.connect(self.management)
        if before is not None:
            self.reporter.note("control plane serves again")
            await before.close()

    def _start_workloads(self) -> None:
        if self.fleet is not None:
            self.fleet.start()
        if self.gateway is not None:
            self.gateway.process.start()
        directory = str(self.options.directory.absolute())
        gateway = f"{LOOPBACK}:{self.gateway_port}"
        self.state.write_running(Running(os.getpid(), directory, gateway))

    async def _join_token(self, namespace: str, service_account: str) -> str:
        if self.management is None:
            raise UserError("the control plane is not there yet")
        return await self.management.join_token(namespace, service_account)

    def _gateway_node(self) -> Node:
        return Node(
            workload="gateway",
            namespace=GATEWAY_NAMESPACE,
            service_account="weft-gateway",
            labels={"app": "gateway"},
            app="gateway",
            gateway=f"{LOOPBACK}:{self.gateway_port}",
        )

    def _choose_gateway_port(self, ports: PortBook) -> int:
        wanted = self.options.gateway_port
        if wanted is not None:
            if ports.first_free([wanted]) is None:
                raise UserError(f"port {wanted} (--port) is in use; free it or give another one")
            return wanted
        port = ports.first_free(range(GATEWAY_PORT, GATEWAY_PORT + 100))
        if port is None:
            raise UserError(f"no free port from {GATEWAY_PORT} on for the gateway; give --port")
        if port != GATEWAY_PORT:
            self.reporter.note(f"port {GATEWAY_PORT} is in use: the gateway takes {port}")
        return port

    @property
    def workloads(self) -> list[Workload]:
        """The processes of the application, in the directory's order."""
        return [] if self.fleet is None else self.fleet.workloads

    def entry_points(self) -> list[EntryPoint]:
        """The HTTP services that are listed, in order of name."""
        found = [
            EntryPoint(service.name, host_name(service, self.services), self.gateway_port)
            for service in self.services
            if service.http is not None and service.exposed
        ]
        return sorted(found, key=lambda entry: entry.host)

    def sidecars(self) -> list[Sidecar]:
        """All of them, the gateway first."""
        own = [workload.sidecar for workload in self.workloads]
        return [self.gateway, *own] if self.gateway is not None else own

    async def facts(self) -> MeshFacts:
        """What the control plane says now. Unavailable when it is away."""
        if self.management is None:
            raise UserError("the control plane is not there yet")
        return await self.management.status()

    async def waiting_for(self) -> list[str]:
        """What is not ready yet, in words; empty when all is."""
        missing = [
            f"{workload.name} ({workload.lacks()})"
            for workload in self.workloads
            if not workload.ready()
        ]
        sidecars = self.sidecars()
        ready = await asyncio.gather(*(sidecar.ready() for sidecar in sidecars))
        missing += [
            f"the sidecar of {sidecar.name}"
            for sidecar, is_ready in zip(sidecars, ready, strict=True)
            if not is_ready
        ]
        if missing:
            return missing
        try:
            found = (await self.facts()).proxies
        except UserError as error:
            return [str(error)]
        synced = {(proxy.namespace, proxy.workload) for proxy in found if proxy.synced}
        return [
            f"the configuration of {sidecar.name}"
            for sidecar in sidecars
            if (sidecar.node.namespace, sidecar.node.workload) not in synced
        ]

    async def until_ready(self, timeout_s: float) -> None:
        """UserError names what is missing after `timeout_s`, or what dies again and again."""
        deadline = time.monotonic() + timeout_s
        while missing := await self.waiting_for():
            if timeout_s != FOREVER and (dying := self._dying()):
                raise UserError(dying)
            if time.monotonic() > deadline:
                what = ", ".join(missing)
                raise UserError(
                    f"not ready after {timeout_s:.0f} s: {what} (see {self.state.logs})"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    def _dying(self) -> str:
        """The first process that was started anew too often, with its last words; '' if none."""
        for process in self._processes():
            if process.restarts >= RESTARTS_TOLERATED:
                last = process.tail[-1] if process.tail else "it says nothing"
                return f"{process.name} dies again and again: {last} (see {process.log_file})"
        return ""

    def kill(self) -> None:
        """SIGKILL to everything, for who can't wait for `stop`."""
        for process in self._processes():
            process.kill()

    def _processes(self) -> list[Process]:
        sidecars = [sidecar.process for sidecar in self.sidecars()]
        own = [*self._apps(), *sidecars]
        return own if self._control is None else [*own, self._control.process]

    def _apps(self) -> list[Process]:
        return [workload.process for workload in self.workloads]

    async def stop(self) -> None:
        """No more requests from outside, then the apps, their sidecars, the control plane.

        Nothing is unregistered one by one: there is nobody left to tell."""
        if self.gateway is not None:
            await self.gateway.process.stop()
        if self.fleet is not None:
            await self.fleet.stop()
        if self._registry_task is not None:
            self._registry_task.cancel()
        if self.management is not None:
            await self.management.close()
        if self._control is not None:
            await self._control.process.stop()
        self.state.unlock()
