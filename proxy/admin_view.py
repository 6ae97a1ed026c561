"""Fills in what the admin pages may know: the running proxy seen through `AdminView`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import yaml

from proxy.admin.view import AdminView, DumpedResource, ServerState
from proxy.xds.as_json import as_json

if TYPE_CHECKING:
    from proxy.main import Proxy


def admin_view(proxy: Proxy) -> AdminView:
    static = {cluster.name for cluster in proxy.config.clusters}
    return AdminView(
        stats=proxy.stats,
        state=lambda: _state(proxy),
        uptime_s=lambda: monotonic() - proxy.started_at,
        now_s=time,
        clusters=lambda: proxy.runtime.clusters.running.values(),
        listeners=lambda: proxy.listeners.addresses,
        quit=proxy.stopped.set,
        drain_listeners=lambda inbound_only, graceful: _drain(proxy, inbound_only, graceful),
        fail_health_check=lambda failing: setattr(proxy, "draining", failing),
        node=proxy.config.node,
        dynamic_clusters=lambda: frozenset(proxy.runtime.clusters.running) - static,
        secrets=lambda: proxy.snapshot.secrets.values(),
        bootstrap=lambda: _bootstrap(proxy),
        resources=lambda: _resources(proxy),
        options={"config_path": str(proxy.options.bootstrap)},
    )


def _bootstrap(proxy: Proxy) -> Mapping[str, Any]:
    text = proxy.options.bootstrap.read_text()
    plain: Mapping[str, Any] = yaml.safe_load(text)
    return plain


def _state(proxy: Proxy) -> ServerState:
    """LIVE once the first clusters and listeners are in force, or have been waited for."""
    if proxy.draining or proxy.stopped.is_set():
        return "DRAINING"
    status = proxy.xds.status()
    if not status.configured:
        return "LIVE"
    ready = (status.initial_fetch_done or status.from_last_good) and not status.warming_listeners
    return "LIVE" if ready else "INITIALIZING"


def _drain(proxy: Proxy, inbound_only: bool, graceful: bool) -> None:
    """`/drain_listeners`: answers end their connections; not graceful: and nobody gets in."""
    for listener in proxy.runtime.listeners.values():
        if not inbound_only or listener.config.traffic_direction == "INBOUND":
            for chain in listener.all_chains():
                chain.manager.drain(monotonic())
    if not graceful:
        proxy.listeners.close()


def _resources(proxy: Proxy) -> Iterable[DumpedResource]:
    status = proxy.xds.status()
    errors = {(one.type_url, one.name): one.why for one in status.rejected}
    for raw in status.resources:
        yield DumpedResource(
            raw.type_url,
            raw.name,
            lambda raw=raw: as_json(raw.type_url, raw.body),  # type: ignore[misc]
            raw.version,
            updated_at_s=raw.updated_at_s,
            error=errors.get((raw.type_url, raw.name), ""),
        )
