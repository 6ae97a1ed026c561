"""Looks after the health of one cluster's hosts: runs active checks, and ends the intervals of
outlier detection. The only place here that knows the time; what results mean is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Set
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.config.model import (
    EndpointCheck,
    GrpcCheck,
    HealthCheck,
    HttpCheck,
    SocketAddress,
    TcpCheck,
)
from proxy.match import string
from proxy.tasks import spawn
from proxy.upstream.cluster import Cluster
from proxy.upstream.health_check import CheckStats, HealthEvent, HostChecker, Surroundings
from proxy.upstream.health_judge import LOST, Found
from proxy.upstream.health_probe import (
    HttpProbe,
    Probe,
    Target,
    TcpProbe,
    grpc_probe,
    http2_probe,
)
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls

TlsFor = Callable[[Host], object]
Log = Callable[[HealthEvent], None]


class ClusterHealth:
    """`watch` is told of every change of the hosts, before anybody picks one of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sessions: dict[Host, Session] = {}
        self._around: Surroundings | None = None
        self._tls_for: TlsFor = lambda _: None
        self._interval: asyncio.TimerHandle | None = None
        self._interval_s = 0.0

    # ------------------------------------------------------------------ configuration

    def configure(
        self, check: HealthCheck | None, tls_for: TlsFor, log: Log, renewed: bool
    ) -> None:
        """As the cluster is now. Checks begin anew when they are other ones. renewed: the TLS
        material is another."""
        self._tls_for = tls_for
        well: set[Host] = set()
        if check is None or self._around is None or check != self._around.config:
            well = {host for host in self._cluster.hosts if not host.failed}
            self._stop_checks()
            self._around = self._surroundings(check, log) if check is not None else None
        elif renewed:
            for host, session in self._sessions.items():
                session.use(self._probe(host, check), host.check_config)
        self._arm()
        self.watch(self._cluster.hosts, well)
        self._cluster.rebuild()

    def _surroundings(self, check: HealthCheck, log: Log) -> Surroundings:
        cluster = self._cluster
        return Surroundings(
            config=check,
            stats=CheckStats(cluster.all_stats, cluster.prefix),
            random=cluster.random,
            has_traffic=lambda: cluster.stats.upstream_cx_total.value > 0,
            on_change=self._on_change,
            on_success=self._on_success,
            log=log,
        )

    def stop(self) -> None:
        self._stop_checks()
        self._around = None
        if self._interval is not None:
            self._interval.cancel()
            self._interval = None

    def _stop_checks(self) -> None:
        for host in list(self._sessions):
            self._leave(host)
            host.failed = host.timed_out = host.unchecked = False
            host.degraded_by_check = host.failed_at_once = False

    # ------------------------------------------------------------------ active checks

    @property
    def waiting(self) -> bool:
        """Some host has not had its first check yet, and is waited for."""
        waits = self._cluster.config.wait_for_warm_on_init
        return waits and any(session.checker.first for session in self._sessions.values())

    def watch(self, hosts: Iterable[Host], well: Set[Host] = frozenset()) -> None:
        """These are the hosts now. New ones are ill until a check finds them well (Envoy); `well`
        are those that serve already, and do so until they are asked in the new way."""
        around = self._around
        if around is None:
            return
        listed = set(hosts)
        for host in [host for host in self._sessions if host not in listed]:
            self._leave(host)
        for host in listed:
            disabled = host.check_config is not None and host.check_config.disabled
            if host not in self._sessions and not disabled:
                host.failed = host not in well
                host.unchecked = (
                    host.failed and self._cluster.config.ignore_new_hosts_until_first_hc
                )
                checker = host.checker = HostChecker(host, around)
                probe = self._probe(host, around.config)
                self._sessions[host] = Session(host, checker, probe, around)
            elif host in self._sessions and self._sessions[host].config != host.check_config:
                self._sessions[host].use(self._probe(host, around.config), host.check_config)

    def _leave(self, host: Host) -> None:
        session = self._sessions.pop(host)
        session.stop()
        session.checker.leave()
        host.checker = None

    def _probe(self, host: Host, config: HealthCheck) -> Probe:
        tls = cast("ClientTls | None", self._tls_for(host))
        check = config.check
        target = Target(
            address=_address(host),
            tls=tls,
            alpn=config.alpn,
            authority=self._authority(host, check).encode(),
            reuse=config.reuse_connection,
            timeout_s=config.timeout_s,
        )
        if isinstance(check, TcpCheck):
            return TcpProbe(check, target)
        if isinstance(check, GrpcCheck):
            return grpc_probe(check, target)
        matches = string(check.service_name) if check.service_name is not None else None
        counted = partial(self._verify, matches) if matches is not None else None
        if check.http2:
            return http2_probe(check, target, counted)
        return HttpProbe(check, target, counted)

    def _verify(self, matches: Callable[[bytes], bool], name: bytes) -> bool:
        if self._around is not None:
            self._around.stats.verify_cluster.value += 1
        return matches(name)

    def _authority(self, host: Host, check: HttpCheck | TcpCheck | GrpcCheck) -> str:
        """The endpoint's word goes before the check's."""
        own = host.check_config.hostname if host.check_config is not None else ""
        wanted = ""
        if isinstance(check, HttpCheck):
            wanted = check.host
        elif isinstance(check, GrpcCheck):
            wanted = check.authority
        return own or wanted or self._cluster.name

    def _on_change(self, host: Host) -> None:
        self._cluster.on_health(host)

    def _on_success(self, host: Host) -> None:
        """`successful_active_health_check_uneject_host`"""
        outlier = self._cluster.outlier
        if outlier is None or not host.ejected:
            return
        if outlier.config.successful_active_health_check_uneject_host:
            outlier.take_back(host, monotonic())

    # ------------------------------------------------------------------ outlier detection

    def _arm(self) -> None:
        outlier = self._cluster.outlier
        wanted_s = outlier.config.interval_s if outlier is not None else 0.0
        if wanted_s == self._interval_s:
            return
        self._interval_s = wanted_s
        if self._interval is not None:
            self._interval.cancel()
            self._interval = None
        if wanted_s:
            loop = asyncio.get_running_loop()
            self._interval = loop.call_later(wanted_s, self._on_interval)

    def _on_interval(self) -> None:
        """Arms itself first: whatever goes wrong with one interval, the next one comes."""
        loop = asyncio.get_running_loop()
        self._interval = loop.call_later(self._interval_s, self._on_interval)
        if self._cluster.outlier is not None:
            self._cluster.outlier.on_interval(monotonic())


class Session:
    """The checks of one host, from now until `stop`."""

    def __init__(
        self, host: Host, checker: HostChecker, probe: Probe, around: Surroundings
    ) -> None:
        self.checker = checker
        self.config = host.check_config
        self._probe = probe
        self._around = around
        self._task = spawn(self._run(), f"health check {host.text}")

    def use(self, probe: Probe, config: EndpointCheck | None) -> None:
        """The host is to be asked in another way from now on."""
        self._probe.close()
        self._probe, self.config = probe, config

    def stop(self) -> None:
        self._task.cancel()
        self._probe.close()

    async def _run(self) -> None:
        await asyncio.sleep(self.checker.first_wait_s())
        while True:
            self._around.stats.attempt.value += 1
            await asyncio.sleep(self._conclude(await self._ask()))

    async def _ask(self) -> Found | None:
        """None: it took too long."""
        try:
            async with asyncio.timeout(self._around.config.timeout_s):
                return await self._probe.check()
        except TimeoutError:
            self._probe.close()
            return None
        except OSError:
            self._probe.close()
            return LOST

    def _conclude(self, found: Found | None) -> float:
        """Seconds until the next check."""
        checker = self.checker
        if found is None:
            return checker.on_bad("NETWORK_TIMEOUT")
        if found.at_once:
            checker.host.failed_at_once = True
        finding = found.finding
        if finding == "network":
            return checker.on_bad("NETWORK")
        if finding in ("wrong", "retriable"):
            return checker.on_bad("ACTIVE", finding == "retriable", found.status)
        return checker.on_good(degraded=finding == "degraded")


def _address(host: Host) -> SocketAddress:
    """Of the check: the endpoint's own for it, or its port, or where requests go, too."""
    config = host.check_config
    if config is None:
        return host.address
    if config.address is not None:
        return config.address
    if config.port and not host.address.path:
        return SocketAddress(host.address.host, config.port)
    return host.address
