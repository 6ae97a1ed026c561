"""A snapshot into the running proxy: the only room that turns configuration into runtime objects.

What did not change survives, by equality: clusters keep hosts and connections, managers their
statistics, tables are shared. What is new is swapped in by reference; streams keep what they
began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic, time
from typing import TYPE_CHECKING, Any, cast

from protos.types import CDS, LDS, VHDS
from proxy.compile.chains import Chains
from proxy.compile.clusters import Clusters, OpenConnection
from proxy.compile.guards import guards
from proxy.compile.health import Watches
from proxy.compile.listeners import CompiledListener, CompiledListeners, Manager
from proxy.compile.local_replies import local_replies
from proxy.compile.routes.place import RouteContext
from proxy.compile.routes.tables import CompiledTable
from proxy.compile.tunnels import tunnels_of
from proxy.config.model import (
    AccessLog,
    Explanations,
    FilterChain,
    HttpConnectionManager,
    Listener,
    Node,
    RouteConfiguration,
    TcpProxy,
)
from proxy.config.snapshot import Snapshot
from proxy.demand import Demand, Key, host_name
from proxy.denials import Denials
from proxy.filters.api import FilterContext, Hooks
from proxy.l4.guard import Guards
from proxy.l4.manager import TcpConnections, TcpManager
from proxy.l7.attempts import router
from proxy.l7.entry import RouteEntry
from proxy.l7.format import compile_header_value
from proxy.l7.logged import Logged
from proxy.l7.manager import HttpManager, Upgrade
from proxy.l7.strict import strict_check
from proxy.l7.worker import Worker
from proxy.route.matching import route_matches
from proxy.route.table import Table
from proxy.stats import Stats
from proxy.upstream.asking import Asker
from proxy.upstream.tcp import OpenTcp, open_tcp

if TYPE_CHECKING:
    from proxy.compile.access_logs import GrpcLogs
    from proxy.compile.tracing import Tracers
    from proxy.l7.tracing import Tracing

Logger = Callable[[Logged], None]
NOBODY = Node()
TableKey = tuple[str, bool, bool, tuple[str, ...]]
"""The name of the routes, and what the router filter says of them."""


class Runtime:
    """make_logger: an access log's configuration to what is called with each stream at its end;
    raises OSError when its file can't be opened."""

    def __init__(
        self,
        worker: Worker,
        stats: Stats,
        open_connection: OpenConnection,
        make_logger: Callable[[AccessLog], Logger],
        open_tcp: OpenTcp = open_tcp,
        node: Node = NOBODY,
        watches: Watches | None = None,
        demand: Demand | None = None,
    ) -> None:
        """demand: where requests wait for what is not here."""
        self._worker = worker
        self._stats = stats
        self._make_logger = make_logger
        self._open_tcp = open_tcp
        self._node = node
        self._tcp_connections = TcpConnections()
        self._demand = demand
        self._last_requests: dict[str, int] = {}
        self._tracers: Tracers | None = None
        self._grpc_logs: GrpcLogs | None = None
        self.denials = Denials()
        self.clusters = Clusters(stats, worker.random, open_connection, watches)
        self._asker = Asker(self.clusters.running, worker.call_later)
        self._listeners = CompiledListeners(self._manager, self._guards, stats)
        self._tables: dict[TableKey, CompiledTable] = {}
        self._routed: dict[HttpManager, RouteConfiguration] = {}
        worker.swept += [self.clusters, self._tcp_connections]

    @property
    def listeners(self) -> dict[str, CompiledListener]:
        return self._listeners.running

    def apply(self, snapshot: Snapshot) -> dict[str, str]:
        """Clusters before the routes that name them, routes before listeners are connected to.

        Answers a line for each 'cluster NAME' or 'listener NAME' that could not be put in force: it
        stays as it was, and takes none of its neighbours down."""
        problems: dict[str, str] = {}
        for _ in self.steps(snapshot, problems):
            pass
        return problems

    def steps(self, snapshot: Snapshot, problems: dict[str, str]) -> Iterator[None]:
        """`apply` in steps, so that requests can be served in between."""
        yield from self.clusters.steps(snapshot, problems)
        problems.update(self._listeners.apply(snapshot))
        yield
        current = dict.fromkeys(self._listeners.http_managers())
        for manager in current:
            self._route(manager, snapshot)
            yield
        for manager in [manager for manager in self._routed if manager not in current]:
            del self._routed[manager]
        used = {key for manager in current if (key := _table_key(manager)) is not None}
        for key in [key for key in self._tables if key not in used]:
            del self._tables[key]

    def _route(self, manager: HttpManager, snapshot: Snapshot) -> None:
        config = manager.config
        routes = config.route_config
        if routes is None:
            routes = snapshot.routes.get(config.rds_name)
        if routes is None or self._routed.get(manager) is routes:
            return
        table = self._table(manager, routes)
        if table is not manager.table:
            manager.route_by(table)
        self._routed[manager] = routes

    def _table(self, manager: HttpManager, routes: RouteConfiguration) -> Table[RouteEntry]:
        """Shared by all managers with the same routes; they differ by the router filter only."""
        key = _table_key(manager)
        if key is None:
            return CompiledTable(routes, self._route_context(manager)).table
        known = self._tables.get(key)
        if known is None or not known.follow(routes):
            known = CompiledTable(routes, self._route_context(manager), known)
            self._tables[key] = known
        return known.table

    def used(self) -> Iterator[Key]:
        """Of what can be asked for by name, what requests have used since the last question."""
        for (name, *_), compiled in self._tables.items():
            routes = compiled.routes
            if routes.fetches_hosts:
                for host in compiled.table.lately():
                    asked = host.lower().decode("latin-1")
                    yield VHDS, host_name(name, asked, routes.ignore_port_in_host_matching)
        for name in self._listeners.running:
            yield LDS, name
        last, self._last_requests = self._last_requests, {}
        for name, cluster in self.clusters.running.items():
            count = self._last_requests[name] = cluster.stats.upstream_rq_total.value
            if count != last.get(name, 0):
                yield CDS, name

    def _route_context(self, manager: HttpManager) -> RouteContext:
        worker = self._worker
        return RouteContext(
            clusters=self.clusters.running,
            random=worker.random,
            runtime=worker.runtime,
            stats=self._stats,
            envoy_headers=not manager.config.suppress_envoy_headers,
            strict_check=strict_check(manager.config.strict_check_headers),
            respects_expected=manager.config.respect_expected_rq_timeout,
        )

    def _guards(self, chain: FilterChain, own_uri: bytes) -> Guards | None:
        formats = cast(Any, compile_header_value)
        ask = self._asker.ask
        return guards(chain.guards, self._stats, ask, self.denials, formats, own_uri)

    def _manager(
        self, chain: FilterChain, listener: Listener, own_uri: bytes, guards: Guards | None
    ) -> Manager:
        if chain.tcp is not None:
            made = self._tcp_manager(chain.tcp, listener, own_uri, guards)
            if chain.counted is not None:
                from proxy.l4.meter import Meter  # few chains count their connections

                inbound = listener.traffic_direction == "INBOUND"
                made.meter = Meter(chain.counted, self._stats, self._node, own_uri, inbound)
            return made
        assert chain.http is not None, "the decoder sets one of the two"
        return self._http_manager(chain.http, listener, own_uri, chain.explanations)

    def _tcp_manager(
        self, config: TcpProxy, listener: Listener, own_uri: bytes, guards: Guards | None
    ) -> TcpManager:
        loggers = tuple(self.logger(log) for log in config.access_log)
        return TcpManager(
            config,
            self._tcp_connections,
            self._stats,
            self.clusters.running,
            self._worker.random,
            self._open_tcp,
            loggers,
            own_uri,
            listener.per_connection_buffer_limit_bytes,
            guards,
            self._worker.call_later,
            tunnels_of(config.tunneling) if config.tunneling is not None else None,
            self._demand,
        )

    def logger(self, config: AccessLog) -> Logger:
        """Raises OSError when its file can't be opened."""
        if config.grpc is None:
            return self._make_logger(config)
        if self._grpc_logs is None:
            from proxy.compile.access_logs import GrpcLogs  # few proxies tell a service

            to = self.clusters.running, self._asker.ask
            self._grpc_logs = GrpcLogs(*to, self._worker, self._stats, self._node)
        return self._grpc_logs.logger(config)

    def _http_manager(
        self,
        config: HttpConnectionManager,
        listener: Listener,
        own_uri: bytes,
        explanations: Explanations,
    ) -> HttpManager:
        loggers = tuple(self.logger(log) for log in config.access_log)
        worker = self._worker
        context = self._context(config, listener, own_uri, explanations)
        tracing = self._tracing(config, listener)
        first = None
        if tracing is not None:
            first, loggers = tracing.hooks, (tracing.log, *loggers)
        chains = Chains(config.filters, context, router, first)
        manager = HttpManager(
            config,
            worker,
            self._stats,
            chains,
            _upgrades(config, context, first),
            self._open_tcp,
            loggers,
            own_uri,
            listener.per_connection_buffer_limit_bytes,
        )
        manager.lost_chain = chains.lost()
        if config.local_reply is not None:
            manager.local_replies = local_replies(config.local_reply, worker.random, worker.runtime)
        return manager

    def _tracing(self, config: HttpConnectionManager, listener: Listener) -> Tracing | None:
        if config.tracing is None:
            return None
        if self._tracers is None:
            from proxy.compile.tracing import Tracers  # few proxies make spans
            from proxy.l7.tracing import Local

            node = self._node
            local = Local(node.id, node.locality[1], node.cluster)
            self._tracers = Tracers(self._asker.ask, self._worker, self._stats, local)
        egress = listener.traffic_direction == "OUTBOUND"
        return self._tracers.tracing(config, egress)

    def _context(
        self,
        config: HttpConnectionManager,
        listener: Listener,
        own_uri: bytes,
        explanations: Explanations,
    ) -> FilterContext:
        worker = self._worker
        return FilterContext(
            stats=self._stats,
            stat_prefix=f"http.{config.stat_prefix}.",
            random=worker.random,
            runtime=worker.runtime,
            clusters=self.clusters.running,
            call_later=worker.call_later,
            now=monotonic,
            unix_now=time,
            format=cast(Any, compile_header_value),  # of a Logged, which a FilterStream is too
            failing=lambda: worker.failing,
            ask=self._asker.ask,
            route_match=lambda config: route_matches(config, worker.random, worker.runtime),
            denials=self.denials,
            node_cluster=self._node.cluster,
            own_uri=own_uri.decode(),
            explanations=explanations,
            demand=self._demand,
            table_name=config.rds_name,
            node_id=self._node.id,
            node_metadata=self._node.metadata,
            inbound=listener.traffic_direction == "INBOUND",
        )

    def close(self) -> None:
        """Before the loop ends: nothing is asked or checked any more."""
        self.clusters.close()


def _upgrades(
    config: HttpConnectionManager, context: FilterContext, first: Hooks | None
) -> dict[bytes, Upgrade]:
    return {
        one.upgrade_type.encode(): Upgrade(
            one.enabled, Chains(one.filters, context, router, first) if one.filters else None
        )
        for one in config.upgrades
    }


def _table_key(manager: HttpManager) -> TableKey | None:
    config = manager.config
    name, router = config.rds_name, config.suppress_envoy_headers
    expected, strict = config.respect_expected_rq_timeout, config.strict_check_headers
    return (name, router, expected, strict) if name else None
