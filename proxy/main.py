"""`weft proxy`: one process, one loop, all rooms put together. It alone knows every room.

Start order: bootstrap, static resources and the last good configuration, the admin port, then the
control plane. Every mistake that a user can make ends as one line on stderr and exit code 1.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING

import uvloop
import yaml

from protos.types import LDS
from proxy.admin.view import AdminView, DumpedResource, ServerState
from proxy.compile.clusters import Placement
from proxy.compile.health import Watches
from proxy.compile.runtime import Runtime
from proxy.config import bootstrap as bootstraps
from proxy.config.model import AccessLog, Bootstrap, Secret, SocketAddress, ValidationContext
from proxy.config.positions import BadConfig
from proxy.config.rejected import Rejected
from proxy.config.snapshot import Snapshot
from proxy.demand import Demand
from proxy.l7.access_log import AccessLogger
from proxy.l7.log_writer import LogWriters
from proxy.l7.worker import Worker
from proxy.listen.chain_match import ChainMatchError
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tasks import spawn
from proxy.tls.start import send_one_ticket
from proxy.upstream.connect import open_connection
from proxy.xds.as_json import as_json, static_resources
from proxy.xds.client import XdsClient
from proxy.xds.needs import inline_secrets

if TYPE_CHECKING:
    from proxy.identity import Identity

log = logging.getLogger("weft")

_CRL = b"-----BEGIN X509 CRL-----"
Told = tuple[frozenset[bytes], frozenset[bytes], frozenset[str]]
"""Texts with CRLs for whole chains, with CRLs for leaves alone, revoked identities."""

# How long a change of the configuration may keep requests waiting.
SLICE_S = 0.002
# Looking at 1,000 objects takes the collector up to 0.4 ms of CPU: a young collection looks at some
# 3,000, the next one at 9,000. The oldest looks at all that came since the start, and is due
# after 3 million objects that have stayed, if these are a quarter of all (CPython's own rule).
GC_THRESHOLDS = (3_000, 2, 500)


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """What the command line says. ca_address: where certificates are asked for, None for none.
    output_certs: a folder for them and the key, for programs that speak TLS by themselves."""

    bootstrap: Path
    state_dir: Path | None = None
    ca_address: str | None = None
    ca_server_name: str = ""
    ca_root: Path | None = None
    join_token_file: Path | None = None
    output_certs: Path | None = None
    log_level: str = "info"


class StartError(Exception):
    """The proxy can't start; the text is one line for the user."""


def run(options: ProxyOptions) -> int:
    """Serves until SIGTERM or SIGINT. Exit code 0, or 1 after one line on stderr."""
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    send_one_ticket()
    try:
        config = bootstraps.load(options.bootstrap)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Proxy(config, options).serve())
    except (StartError, BadConfig, Rejected, OSError) as error:
        print(f"weft: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        log.debug("internal error", exc_info=True)
        print(
            f"weft: error: internal error: {type(error).__name__}: {error} "
            "(this is a bug of Weft; --log-level debug shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


class Proxy:
    """The running whole. Made inside the loop's runner, used by `serve` once."""

    def __init__(self, config: Bootstrap, options: ProxyOptions) -> None:
        self.config = config
        self.options = options
        self.stats = Stats()
        self.started_at = monotonic()
        self.draining = False
        self.was_live = False  # what came first has been put in force
        self.serving = False  # before that, problems are reasons not to start
        self.snapshot = Snapshot()
        self.problems: dict[str, str] = {}
        self._revocations: Told = (frozenset(), frozenset(), frozenset())
        self.logs = LogWriters(self.stats)
        self.worker = Worker(Random(), self.stats, RuntimeValues(config.runtime))
        self.demand = Demand(self.worker.call_later, monotonic)
        self.watches = self._watches()
        self._next: Snapshot | None = None
        self._applying: asyncio.Task[None] | None = None
        self.checked = False  # hosts that are to be checked before anybody is let in were
        self.held_back = False  # the listeners, until then
        self.runtime = Runtime(
            self.worker,
            self.stats,
            open_connection,
            self._make_logger,
            node=config.node,
            watches=self.watches,
            demand=self.demand,
        )
        self.demand.used = self.runtime.used
        self.runtime.clusters.placement = Placement(
            config.node.locality if any(config.node.locality) else None,
            config.local_cluster_name,
            config.sockets,
        )
        self.identity = _identity(config, options)
        if self.identity is not None:
            self._count_identity(self.identity)

    def _count_identity(self, identity: Identity) -> None:
        """Long before a certificate ends there is something to see."""
        self.stats.derive("identity.renewals", lambda: identity.renewals)
        self.stats.derive("identity.renewal_failures", lambda: identity.failures)
        self.stats.derive_gauge("identity.expires_in_s", lambda: int(identity.left_s()))
        self.stats.derive_gauge("identity.renewal_overdue", lambda: int(identity.overdue))

    async def serve(self) -> None:
        try:
            await self._serve()
        finally:
            self.runtime.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self.logs.reopen)
        self.worker.start()
        self.listeners = Listeners(loop, self.stats, self.worker.runtime, self.demand)
        self.xds = XdsClient(
            self.config,
            self._apply,
            identity=self.identity,
            state_dir=self.options.state_dir,
            version=_version() if self.config.ads else "",
            warming=self._unsettled,
            applying=self._is_applying,
            demand=self.demand,
        )
        await self._serve_admin()
        following = spawn(self.xds.run(), "xds")
        if self.identity is not None:
            self.identity.on_revoked = self._follow_revocations
            self.identity.ride = self.xds.beside
            self._output_certs(self.identity)
            spawn(self.identity.run(), "identity")
            self._report(self.identity)
        published = spawn(self.xds.published.wait(), "first configuration")
        await asyncio.wait({following, published}, return_when=asyncio.FIRST_COMPLETED)
        published.cancel()
        if following.done():
            following.result()
        await self._first_checks()
        self._check_static()
        self.serving = True
        self._tell_where()
        loop.call_later(2.0, _settle_collector)
        await self.stopped.wait()
        self.listeners.close()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await self._finish_streams()
        self.logs.close()

    def _output_certs(self, identity: Identity) -> None:
        if self.options.output_certs is not None:
            from proxy.output_certs import OutputCerts  # few have programs that read them

            spawn(OutputCerts(self.options.output_certs, identity).run(), "output certificates")

    def _report(self, identity: Identity) -> None:
        """The control plane hears what certificates are here, if it is Weft's."""
        address = identity.mtls_address
        if not address or not identity.standing:
            return
        from proxy.reporting.report import Reporter, Target  # not needed without an identity

        reporter = Reporter(
            Target(self.config.node.id, address, identity.server_name),
            identity,
            lambda: self.snapshot,
            lambda: self.xds.connected,
        )
        self.stats.derive_gauge(
            "identity.clock_ahead_ms", lambda: round(reporter.clock_ahead_s * 1000)
        )
        spawn(reporter.run(), "reports of certificates")

    async def _first_checks(self) -> None:
        """Listeners open when each host has had its first health check, and each name was asked for
        once (Envoy's warming)."""
        clusters = self.runtime.clusters
        while clusters.warming() and not self.stopped.is_set():  # noqa: ASYNC110 — several ends
            await asyncio.sleep(0.005)
        self.checked = True
        if self.held_back:
            self._apply(self.snapshot)
        self.xds.warmed()

    def _unsettled(self) -> bool:
        """What was published is not in force yet, or has yet to become warm."""
        return self._is_applying() or self.runtime.clusters.warming()

    def _is_applying(self) -> bool:
        return self._next is not None or self._applying is not None

    async def _tell_when_settled(self) -> None:
        while self._unsettled():  # noqa: ASYNC110 — several ends
            await asyncio.sleep(0.005)
        self.xds.warmed()

    def _check_static(self) -> None:
        """What the bootstrap itself asks for must work, or there is nothing to run for."""
        static = [f"listener {one.name}" for one in self.config.listeners]
        static += [f"cluster {one.name}" for one in self.config.clusters]
        for name in static:
            if name in self.problems:
                raise StartError(self.problems[name])

    async def _serve_admin(self) -> None:
        if self.config.admin is None:
            return
        from proxy.admin.server import serve_admin  # not needed by who has no admin port

        self.admin = await serve_admin(self.config.admin, self._admin_view())
        log.info("admin on %s", self.admin.address)

    def _admin_view(self) -> AdminView:
        """The running proxy as the admin pages may see it."""
        static = {cluster.name for cluster in self.config.clusters}
        return AdminView(
            stats=self.stats,
            runtime=self.worker.runtime,
            denials=self.runtime.denials,
            state=self._state,
            uptime_s=lambda: monotonic() - self.started_at,
            now_s=time,
            clusters=lambda: self.runtime.clusters.running.values(),
            listeners=lambda: self.listeners.all_addresses,
            quit=self.stopped.set,
            drain_listeners=self._drain,
            fail_health_check=self._fail_health_check,
            node=self.config.node,
            dynamic_clusters=lambda: frozenset(self.runtime.clusters.running) - static,
            secrets=self._secrets,
            bootstrap=lambda: yaml.safe_load(self.options.bootstrap.read_text()),
            resources=self._resources,
            options={"config_path": str(self.options.bootstrap)},
        )

    def _state(self) -> ServerState:
        """LIVE once the first clusters and listeners are in force, or have been waited for."""
        if self.draining or self.stopped.is_set():
            return "DRAINING"
        if not self.checked:
            return "INITIALIZING"
        status = self.xds.status()
        if not status.configured:
            return "LIVE"
        ready = (
            status.initial_fetch_done or status.from_last_good
        ) and not status.warming_listeners
        in_force = not (status.in_flight or self._is_applying())
        if not ready or not (in_force or self.was_live):
            return "INITIALIZING"
        self.was_live = True
        return "LIVE"

    def _tell_where(self) -> None:
        """For whoever has just started it. What a control plane says is at /listeners."""
        if self.config.ads:
            log.info("serving; following a control plane")
            return
        bound = self.listeners.all_addresses.items()
        named = ((name, at) for name, found in bound for at in found)
        places = (f"{name} on {SocketAddress(*at) if at[1] else at[0]}" for name, at in named)
        log.info("serving; static: %s", ", ".join(places) or "no listener")

    def _drain(self, inbound_only: bool, graceful: bool) -> None:
        """`/drain_listeners`: answers end their connections; not graceful: and nobody gets in."""
        for listener in self.runtime.listeners.values():
            if not inbound_only or listener.config.traffic_direction == "INBOUND":
                for chain in listener.all_chains():
                    chain.manager.drain(monotonic())
        if not graceful:
            self.listeners.close()

    def _secrets(self) -> Iterable[Secret]:
        """Those that have a name, then those inside of listeners and clusters."""
        yield from self.snapshot.secrets.values()
        for listener in self.snapshot.listeners.values():
            yield from inline_secrets(listener)
        for cluster in self.snapshot.clusters.values():
            yield from inline_secrets(cluster)

    def _resources(self) -> Iterable[DumpedResource]:
        started_at_s = time() - (monotonic() - self.started_at)
        for type_url, name, body in static_resources(self.options.bootstrap):
            show = partial(as_json, type_url, body)
            yield DumpedResource(type_url, name, show, "", True, started_at_s)
        status = self.xds.status()
        errors = {(one.type_url, one.name): one.why for one in status.rejected}
        for raw in status.resources:
            yield DumpedResource(
                raw.type_url,
                raw.name,
                partial(as_json, raw.type_url, raw.body),
                raw.version,
                updated_at_s=raw.updated_at_s,
                error=errors.get((raw.type_url, raw.name), ""),
            )

    def _watches(self) -> Watches:
        try:
            return Watches(self.logs.open, self.config.outlier_event_log_path)
        except OSError as error:
            raise StartError(f"cluster_manager.outlier_detection: {error}") from None

    def _make_logger(self, config: AccessLog) -> AccessLogger:
        writer = self.logs.open(config.path)
        return AccessLogger(config, writer, self.worker.random, self.worker.runtime)

    def _apply(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force. What can't be is logged and named in `problems`; everything
        else works, and what was there before stays."""
        if self.serving:
            self._next = snapshot
            if self._applying is None:
                self._applying = spawn(self._apply_in_slices(), "apply configuration")
                spawn(self._tell_when_settled(), "warm clusters")
            return
        self._finish(snapshot, self.runtime.apply(snapshot))

    async def _apply_in_slices(self) -> None:
        """The newest snapshot, and whichever comes meanwhile: requests are served in between."""
        try:
            while self._next is not None:
                snapshot, self._next = self._next, None
                problems: dict[str, str] = {}
                slice_began = monotonic()
                for _ in self.runtime.steps(snapshot, problems):
                    if monotonic() - slice_began > SLICE_S:
                        await asyncio.sleep(0)
                        slice_began = monotonic()
                self._finish(snapshot, problems)
        finally:
            self._applying = None
            self.xds.applied()

    def _finish(self, snapshot: Snapshot, problems: dict[str, str]) -> None:
        """Opens and closes listeners, and says what could not be put in force."""
        runtimes: dict[str, ListenerRuntime] = {}
        for name, one in self.runtime.listeners.items():
            try:
                loggers = [self.runtime.logger(log) for log in one.config.access_log]
                runtimes[name] = ListenerRuntime(one.config, one.chains, one.default, loggers)
            except (ChainMatchError, OSError) as error:
                problems[f"listener {name}"] = f"listener {name}: {error}"
        self.held_back = not self.checked and self.runtime.clusters.warming()
        if not self.held_back:
            for name, problem in self.listeners.apply(runtimes).items():
                problems[f"listener {name}"] = problem
        self.snapshot = snapshot
        routes = snapshot.routes.items()
        fetching = {
            name: one.ignore_port_in_host_matching for name, one in routes if one.fetches_hosts
        }
        self.demand.settle(fetching, snapshot.answers, _unusable(snapshot, runtimes, problems))
        self._follow_revocations()
        for name, problem in problems.items():
            if self.serving and self.problems.get(name) != problem:
                log.error("%s", problem)
        self.problems = problems

    def _follow_revocations(self) -> None:
        """Connections of whoever is revoked since end, too."""
        told = self._revocations_told()
        if told == self._revocations:
            return
        self._revocations = told
        # Not needed while nothing is revoked.
        from proxy.tls.revoked import Revoked, end_revoked, put_in_force

        whole, of_leaves, identities = told
        revoked = Revoked(whole, self._certificates_told(), identities, of_leaves)
        put_in_force(revoked)
        spawn(self._count_revoked(end_revoked(revoked)), "end revoked connections")

    def _revocations_told(self) -> Told:
        """Texts with CRLs of all contexts (of those for whole chains, of those for leaves), and the
        identities that the mesh has revoked."""
        whole, of_leaves = set[bytes](), set[bytes]()
        for one in self._secrets():
            if (context := one.validation) is not None:
                texts = of_leaves if context.only_verify_leaf_crl else whole
                if context.crl is not None:
                    texts.add(context.crl.data)
                if context.trusted_ca is not None and _CRL in context.trusted_ca.data:
                    texts.add(context.trusted_ca.data)
                whole.update(_bundles(context))  # Envoy's SPIFFE validator knows no other way
        names = self.identity.revoked if self.identity is not None else frozenset()
        return frozenset(whole), frozenset(of_leaves), names

    def _certificates_told(self) -> set[bytes]:
        """Texts with the certificates of whoever may have signed a CRL."""
        found: set[bytes] = set()
        for one in self._secrets():
            if one.validation is not None:
                found.update(_trusted(one.validation))
            if one.certificate is not None:
                found.add(one.certificate.chain.data)
        return found

    async def _count_revoked(self, ended: Awaitable[int]) -> None:
        count = await ended
        self.stats.counter("server.revoked_connections_ended").value += count

    def _fail_health_check(self, failing: bool) -> None:
        self.draining = self.worker.failing = failing

    async def _finish_streams(self, within_s: float = 5.0) -> None:
        """Lets the requests in flight end, and slow clients take their answers; new ones on open
        connections are told to go away."""
        self._drain(inbound_only=False, graceful=True)
        end = monotonic() + within_s
        await self._until_quiet(end)
        for connection in list(self.worker.connections):
            if connection.info.tls and connection.idle:
                connection.close_gently()  # what TLS has yet to write shows in its end only
        await self._until_quiet(end)

    async def _until_quiet(self, end: float) -> None:
        while self.worker.busy and monotonic() < end:  # noqa: ASYNC110 — an end is not an event
            await asyncio.sleep(0.02)


def _unusable(
    snapshot: Snapshot, in_force: Container[str], problems: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Listeners that are there and not in force in any version, and why."""
    why = dict(snapshot.refused)
    for name in snapshot.listeners:
        if name not in in_force:
            why[(LDS, name)] = problems.get(f"listener {name}", "is not in force")
    return why


def _identity(config: Bootstrap, options: ProxyOptions) -> Identity | None:
    if not options.ca_address:
        if options.output_certs is not None:
            raise StartError("--output-certs needs --ca-address: who signs the certificate")
        return None
    if options.ca_root is None or options.join_token_file is None:
        raise StartError("--ca-address needs --ca-root and --join-token-file too")
    from proxy.identity import SERVER_NAME, Identity, IdentityOptions

    # Another CA than the control plane that our ADS goes to, e.g. istiod: what the control plane
    # says of its own issuer and roots does not concern it.
    foreign = bool(options.ca_server_name) and options.ca_server_name != SERVER_NAME
    return Identity(
        IdentityOptions(
            ca_address=options.ca_address,
            ca_root=options.ca_root,
            join_token_file=options.join_token_file,
            state_dir=options.state_dir,
            ca_mtls_address="" if foreign else _mtls_address(config),
            follow_mesh=not foreign and _has_agent(config),
            server_name=options.ca_server_name or SERVER_NAME,
        )
    )


def _has_agent(config: Bootstrap) -> bool:
    return str(config.node.metadata.get("WEFT_AGENT", "")).lower() == "true"


def _mtls_address(config: Bootstrap) -> str:
    """Where the control plane takes client certificates: our ADS goes there, so do renewals."""
    for cluster in config.clusters:
        mutual = cluster.tls is not None and cluster.tls.common.certificate_sds is not None
        if config.ads and cluster.name == config.ads.cluster and mutual and cluster.load_assignment:
            for locality in cluster.load_assignment.localities:
                for endpoint in locality.endpoints:
                    return str(endpoint.address)
    return ""


def _version() -> str:
    """What we tell the control plane that we are; looking it up is slow, so only then."""
    from importlib.metadata import version

    return version("weft")


def _trusted(context: ValidationContext) -> Iterator[bytes]:
    """The texts of its roots, in which CRLs may stand, too."""
    if context.trusted_ca is not None:
        yield context.trusted_ca.data
    for domain in context.trust_domains:
        yield domain.bundle.data


def _bundles(context: ValidationContext) -> Iterator[bytes]:
    """Those of trust domains in which CRLs stand."""
    return (one.bundle.data for one in context.trust_domains if _CRL in one.bundle.data)


def _settle_collector() -> None:
    """What is alive now stays: the collector need not look at it again, nor run often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
