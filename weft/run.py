"""`weft run`: joins one more process to a running mesh, and leaves with it.

The process is the user's own: it keeps the terminal, its output is not touched, signals go to it,
and its exit code is ours.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from weft.deployment import SIDECAR, Deployment
from weft.errors import UserError
from weft.locality import NOWHERE, Locality
from weft.management import Management
from weft.manifest import read_directory
from weft.mesh import PROGRAM
from weft.ports import PortBook
from weft.process import LEASH, describe_exit
from weft.proxy_configs import ProxyConfigs
from weft.readiness import Readiness
from weft.registry import Registry
from weft.report import PlainReporter, Reporter
from weft.services import Service, services
from weft.sidecar import SidecarSetup
from weft.state import StateDir
from weft.tasks import spawn
from weft.workload import Plan, find_program, placed, readiness_of, sidecar_of

SIDECAR_TIMEOUT_S = 30.0
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """version: label `version` of the process. port: where it listens; None: it obeys PORT.
    injected: what stands beside it (see Deployment). locality: where it stands."""

    service: str
    command: tuple[str, ...]
    namespace: str = "default"
    service_account: str | None = None
    version: str | None = None
    port: int | None = None
    injected: tuple[str, ...] = (SIDECAR,)
    locality: Locality = NOWHERE
    state_dir: Path = Path(".weft")
    program: tuple[str, ...] = PROGRAM


def run(options: RunOptions) -> int:
    """Runs the command as one more workload of the service; its exit code."""
    return asyncio.run(_run(options, PlainReporter(sys.stderr)))


async def _run(options: RunOptions, reporter: Reporter) -> int:
    state = StateDir(options.state_dir)
    running = state.running()
    documents = read_directory(Path(running.directory))
    service = find_service(options, services(documents))
    plan = placed(make_plan(options, service, PortBook(Random()), Random()), state)
    plan = plan.started_by(ProxyConfigs(documents))
    program = find_program(options.command[0], os.environ, Path.cwd(), "weft run")
    management = Management.of(state)
    await management.status()  # says at once when the control plane is away
    registry = Registry(reporter.warn)
    registry.connect(management)
    spawn(registry.run(), "registry")
    sidecar = sidecar_of(plan, _setup(options, state, management))
    try:
        sidecar.process.start()
        await sidecar.until_ready(SIDECAR_TIMEOUT_S)
        await sidecar.until_provided(SIDECAR_TIMEOUT_S)
        listening = f" with PORT={first(plan.app_ports)}" if plan.app_ports else ""
        reporter.note(f"{plan.name} joins {service.name}{listening}")
        readiness = readiness_of(plan, registry, reporter)
        code = await Child(plan, (program, *options.command[1:]), readiness).run()
        readiness.end()
        await _forget(registry)
        return code
    finally:
        await sidecar.process.stop()
        await management.close()
        shutil.rmtree(state.sidecar(plan.label), ignore_errors=True)  # nobody has this name again


async def _forget(registry: Registry) -> None:
    """The control plane hears that we have gone, if it is there to hear."""
    try:
        async with asyncio.timeout(2.0):
            await registry.settled()
    except TimeoutError:
        pass


def _setup(options: RunOptions, state: StateDir, management: Management) -> SidecarSetup:
    addresses = state.control_plane()
    if addresses is None:
        raise UserError(f"no control plane has served from {state.path} yet")
    return SidecarSetup(
        program=options.program,
        state=state,
        reporter=PlainReporter(sys.stderr),
        ca_port=port_of(addresses.address),
        xds_port=port_of(addresses.mtls_address),
        join_token=management.join_token,
    )


def find_service(options: RunOptions, known: list[Service]) -> Service:
    """The Service to join. UserError names those that there are."""
    for service in known:
        if (service.name, service.namespace) == (options.service, options.namespace):
            return service
    names = ", ".join(sorted(f"{one.name}.{one.namespace}" for one in known)) or "none"
    raise UserError(
        f"the mesh has no Service {options.service} in namespace {options.namespace}; "
        f"it has: {names}. Add one to its directory"
    )


def make_plan(options: RunOptions, service: Service, ports: PortBook, random: Random) -> Plan:
    """A workload that the service selects, with a name of its own."""
    if not service.selector:
        raise UserError(f"{service.position}: Service {service.name} selects nothing: no selector")
    labels = dict(service.selector)
    if options.version is not None:
        labels["version"] = options.version
    names = {target if not target.isdigit() else name for name, _, target in service.ports}
    name = f"{options.service}-run-{random.randrange(16**5):05x}"
    deployment = Deployment(
        name=name,
        namespace=options.namespace,
        service_account=options.service_account or options.service,
        labels=labels,
        replicas=1,
        command=options.command,
        env=(),
        ports=dict.fromkeys(sorted(names), 0),
        working_dir="",
        position="weft run",
        injected=options.injected,
        locality=options.locality,
    )
    app_port = options.port or ports.take()
    return Plan(
        name=name,
        deployment=deployment,
        app_ports=dict.fromkeys(deployment.ports, app_port),
        listen_ports={port: ports.take() for port in deployment.ports},
        outbound_port=ports.take(),
        admin_port=ports.take(),
    )


class Child:
    """The user's command, in our own process group: the terminal stays its terminal."""

    def __init__(self, plan: Plan, argv: tuple[str, ...], readiness: Readiness) -> None:
        self._plan = plan
        self._argv = argv
        self._readiness = readiness
        self._process: asyncio.subprocess.Process | None = None
        self._leaving = False

    async def run(self) -> int:
        """Until it ends; its exit code, or 128 and the signal that killed it, as a shell says."""
        self._catch_signals()  # before it starts: what we ignored it would ignore too
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", LEASH, str(os.getpid()), *self._argv),
            env={**os.environ, **self._plan.variables()},
        )
        self._readiness.begin(lambda: self._alive)
        code = await self._process.wait()
        if code < 0:
            print(f"weft: {self._plan.name} was {describe_exit(code)}", file=sys.stderr)
        return code if code >= 0 else 128 - code

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.add_signal_handler(number, self._on_signal, number)
        # A terminal sends Ctrl-C to the whole group, so to the child as well: once is enough.
        if sys.stdin.isatty():
            loop.add_signal_handler(signal.SIGINT, lambda: None)

    def _on_signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT) and not self._leaving:
            self._leaving = True
            spawn(self._leave(number), "leave")
        else:
            self._send(number)

    async def _leave(self, number: signal.Signals) -> None:
        """Out of the mesh first, so that no request is on its way to a process that ends."""
        await self._readiness.leave()
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._alive:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:  # it has just ended
                pass


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def first(ports: Mapping[str, int]) -> int:
    return next(iter(ports.values()))
