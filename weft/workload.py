"""One process of the application with its sidecar, and its place in the mesh.

Whether it takes part is `readiness`' business.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from weft.bootstrap import LOOPBACK, Node
from weft.deployment import GRPC_AGENT, SIDECAR, Deployment, environment, expand
from weft.errors import UserError
from weft.grpc_bootstrap import LONGEST_SOCKET, VARIABLE, GrpcNode, Place
from weft.locality import written
from weft.ports import PortBook
from weft.process import Command, Hooks, Process
from weft.proxy_configs import ProxyConfigs
from weft.readiness import Readiness
from weft.registry import Registry, WorkloadEntry
from weft.report import Reporter
from weft.services import Service, entry_port, numbered_ports
from weft.sidecar import Agent, Sidecar, SidecarSetup
from weft.state import StateDir


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run for one replica. app_ports and listen_ports: port name -> port here. grpc: where
    its own xDS finds its agent, None for a program that leaves all to the sidecar."""

    name: str
    deployment: Deployment
    app_ports: Mapping[str, int]
    listen_ports: Mapping[str, int]
    outbound_port: int
    admin_port: int
    grpc: Place | None = None

    @property
    def proxyless(self) -> bool:
        """Nothing stands between the program and the mesh."""
        return SIDECAR not in self.deployment.injected

    def grpc_node(self) -> GrpcNode:
        one = self.deployment
        who = (self.name, one.namespace, one.service_account)
        return GrpcNode(*who, one.labels, one.locality)

    @property
    def label(self) -> str:
        """What it is called here: the name, with the namespace unless that is `default`."""
        namespace = self.deployment.namespace
        return self.name if namespace == "default" else f"{self.name}.{namespace}"

    def started_by(self, configs: ProxyConfigs) -> Plan:
        """With what they say of its sidecar."""
        one = self.deployment
        config = configs.of(one.namespace, one.labels, one.annotation)
        return replace(self, deployment=replace(one, proxy=config))

    def node(self) -> Node:
        deployment = self.deployment
        return Node(
            workload=self.name,
            namespace=deployment.namespace,
            service_account=deployment.service_account,
            labels=deployment.labels,
            app=deployment.labels.get("app", deployment.name),
            http_proxy_port=None if self.proxyless else self.outbound_port,
            agent=self.proxyless,
            locality=deployment.locality,
            said=deployment.proxy.metadata,
            runtime=deployment.proxy.runtime,
            variables=deployment.proxy.variables,
        )

    def entry(self) -> WorkloadEntry:
        deployment = self.deployment
        return WorkloadEntry(
            name=self.name,
            namespace=deployment.namespace,
            service_account=deployment.service_account,
            labels=deployment.labels,
            listen_ports=self.listen_ports,
            app_ports=self.app_ports,
            locality=written(deployment.locality),
        )

    def variables(self) -> dict[str, str]:
        """PORT is the first port, PORT_NAME each of them; the proxy in both spellings, because
        programs differ in which they read."""
        own: dict[str, str] = {}
        if not self.proxyless:
            proxy = f"http://{LOOPBACK}:{self.outbound_port}"
            own |= {"http_proxy": proxy, "HTTP_PROXY": proxy}
            own |= dict.fromkeys(("no_proxy", "NO_PROXY"), f"localhost,{LOOPBACK}")
        if self.grpc is not None:
            own[VARIABLE] = str(self.grpc.file)
        for name, port in self.app_ports.items():
            own.setdefault("PORT", str(port))
            own["PORT_" + name.upper().replace("-", "_")] = str(port)
        return environment(self.deployment, own)


def names(deployment: Deployment) -> list[str]:
    """One name for each replica. The first keeps the Deployment's, so that it lives on when a
    second one is added."""
    more = range(2, deployment.replicas + 1)
    return [deployment.name, *(f"{deployment.name}-{number}" for number in more)][
        : deployment.replicas
    ]


def in_mesh(deployment: Deployment, services: Iterable[Service]) -> Deployment:
    """With its ports named as the services find them. UserError where it can't run so often."""
    if deployment.fixed_port is not None and deployment.replicas > 1:
        raise UserError(
            f"{deployment.position}: {deployment.name} has weft.dev/app-port, so only one "
            "process of it can run here: set replicas to 1"
        )
    selecting = [one for one in services if one.selects(deployment.namespace, deployment.labels)]
    declared = deployment.ports or numbered_ports(selecting)
    ports = {entry_port(name, number, selecting): number for name, number in declared.items()}
    return replace(deployment, ports=ports)


def make_plan(name: str, deployment: Deployment, ports: PortBook, state: StateDir) -> Plan:
    """`deployment` is one of `in_mesh`."""
    app_ports = {port: ports.take() for port in deployment.ports}
    if deployment.fixed_port is not None and app_ports:
        app_ports[next(iter(app_ports))] = deployment.fixed_port
    listen_ports = {port: ports.take() for port in deployment.ports}
    return placed(
        Plan(name, deployment, app_ports, listen_ports, ports.take(), ports.take()), state
    )


def placed(plan: Plan, state: StateDir) -> Plan:
    """With the place of its agent, if it is to have one. UserError: there can be none."""
    if GRPC_AGENT not in plan.deployment.injected:
        return plan
    place = Place(state.sidecar(plan.label))
    if len(os.fsencode(place.socket)) > LONGEST_SOCKET:
        raise UserError(
            f"{place.socket} is too long for a Unix socket ({LONGEST_SOCKET} bytes), by which "
            f"{plan.name} asks its gRPC agent: give a shorter --state-dir"
        )
    listening = plan.app_ports if plan.proxyless else plan.listen_ports
    return replace(plan, listen_ports=listening, grpc=place)


def command(plan: Plan, directory: Path) -> Command:
    """The process of a plan. UserError when its program or working directory is not there."""
    deployment = plan.deployment
    variables = plan.variables()
    argv = [expand(word, variables) for word in deployment.command]
    env = {**os.environ, **variables}
    cwd = directory / deployment.working_dir  # an absolute one replaces the directory
    if not cwd.is_dir():
        raise UserError(f"{deployment.position}: workingDir {cwd} is not a directory")
    return Command((find_program(argv[0], env, cwd, deployment.position), *argv[1:]), env, cwd)


def find_program(program: str, env: Mapping[str, str], cwd: Path, position: str) -> str:
    """The program's path. `python` is this Python where PATH has none (as in `make demo`)."""
    if "/" in program:
        if os.access(cwd / program, os.X_OK):
            return program
        raise UserError(f"{position}: {program} is not a program (looked in {cwd})")
    found = shutil.which(program, path=env.get("PATH"))
    if found is None and program in ("python", "python3"):
        found = sys.executable
    if found is None:
        raise UserError(f"{position}: {program} is not on PATH")
    return found


PROVIDED_TIMEOUT_S = 30.0


def sidecar_of(plan: Plan, setup: SidecarSetup) -> Sidecar:
    agent = Agent(plan.grpc, plan.grpc_node()) if plan.grpc is not None else None
    return Sidecar(plan.label, plan.node(), plan.admin_port, setup, agent)


def readiness_of(plan: Plan, registry: Registry, reporter: Reporter) -> Readiness:
    return Readiness(plan.entry(), registry, reporter, early=plan.proxyless)


class Workload:
    """App and sidecar of one plan, both kept running."""

    def __init__(
        self, plan: Plan, directory: Path, setup: SidecarSetup, registry: Registry
    ) -> None:
        self.plan = plan
        self.readiness = readiness_of(plan, registry, setup.reporter)
        self._reporter: Reporter = setup.reporter
        self.sidecar = sidecar_of(plan, setup)
        self._command = command(plan, directory)
        self.process = self._process(plan.label, setup.state, setup.restart)

    def _process(self, name: str, state: StateDir, restart: bool) -> Process:
        async def prepare() -> Command:
            await self.sidecar.until_provided(PROVIDED_TIMEOUT_S)
            if self.plan.deployment.proxy.holds:
                await self.sidecar.until_ready(PROVIDED_TIMEOUT_S)
            return self._command

        def line(text: str) -> None:
            self._reporter.output(name, text)

        hooks = Hooks(prepare, self._started, line, self._exited)
        return Process(name, hooks, state.logs / f"{name}.log", restart)

    @property
    def name(self) -> str:
        return self.plan.label

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.plan.deployment.namespace, self.plan.name

    def start(self) -> None:
        self.sidecar.process.start()
        self.process.start()

    def _started(self, pid: int) -> None:
        self.readiness.begin(lambda: self.process.pid == pid and not self.process.stopping)

    def _exited(self, how: str, again_s: float | None) -> None:
        self.readiness.end()
        after = "" if again_s is None else f"; starting again in {again_s:.0f} s"
        self._reporter.warn(f"{self.name} {how}{after}")

    def ready(self) -> bool:
        """The app accepts and the control plane knows; one without a port needs only to run."""
        if not self.plan.app_ports:
            return self.process.state == "running"
        return self.readiness.registered

    def lacks(self) -> str:
        """Why it is not ready, in a few words."""
        if self.process.state != "running" or not self.plan.app_ports:
            return "restarting" if self.process.state == "waiting" else self.process.state
        if self.readiness.accepting:
            return "running, not registered yet"
        port = next(iter(self.plan.app_ports.values()))
        return f"running, but nothing listens on 127.0.0.1:{port}, its PORT"

    async def leave(self) -> None:
        """Out of the mesh first, then the processes: no request finds it gone."""
        await self.readiness.leave()
        await self.stop()

    async def stop(self) -> None:
        """The app first: its last requests still go through the sidecar."""
        await self.process.stop()
        await self.sidecar.process.stop()
