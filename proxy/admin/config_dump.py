"""`/config_dump`: the configuration in force, laid out as `envoy.admin.v3.ConfigDump`, without its
secrets. One entry per type: bootstrap, clusters, endpoints (?include_eds), listeners, routes,
secrets; a resource that was refused shows why in `error_state`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.admin.redact import redact
from proxy.admin.reply import Query, Reply, bad_request, json_reply
from proxy.admin.view import AdminView, DumpedResource

_ADMIN = "type.googleapis.com/envoy.admin.v3."


@dataclass(frozen=True, slots=True)
class _Section:
    """How one resource type is laid out. key: the field of an entry that holds the resource."""

    dump: str
    static: str
    dynamic: str
    key: str


_SECTIONS = {
    CDS: _Section("ClustersConfigDump", "static_clusters", "dynamic_active_clusters", "cluster"),
    EDS: _Section(
        "EndpointsConfigDump",
        "static_endpoint_configs",
        "dynamic_endpoint_configs",
        "endpoint_config",
    ),
    LDS: _Section("ListenersConfigDump", "static_listeners", "dynamic_listeners", "listener"),
    RDS: _Section(
        "RoutesConfigDump", "static_route_configs", "dynamic_route_configs", "route_config"
    ),
    SDS: _Section("SecretsConfigDump", "static_secrets", "dynamic_active_secrets", "secret"),
}


def config_dump(view: AdminView, query: Query) -> Reply:
    """?include_eds, ?resource=dynamic_listeners ..., ?name_regex="""
    if "mask" in query:
        return bad_request("mask: not supported")
    try:
        pattern = re.compile(query.get("name_regex", ""))
    except re.error as error:
        return bad_request(f"Invalid regex: {error}")
    every = _with_hosts(view.resources())
    resources = [each for each in every if pattern.search(each.name)]
    wanted = query.get("resource")
    if wanted is not None:
        return _one_field(wanted, resources)
    shown = [each for each in _SECTIONS if each != EDS or "include_eds" in query]
    configs = [_bootstrap(view)]
    configs += [_dump(kind, [r for r in resources if r.type_url == kind]) for kind in shown]
    return json_reply({"configs": [config for config in configs if len(config) > 1]})


def _with_hosts(resources: Iterable[DumpedResource]) -> list[DumpedResource]:
    """Virtual hosts that were fetched by themselves stand in their tables, as in Envoy."""
    every = list(resources)
    hosts = [each for each in every if each.type_url == VHDS]
    return [_joined(each, hosts) for each in every if each.type_url != VHDS]


def _joined(table: DumpedResource, hosts: list[DumpedResource]) -> DumpedResource:
    own = [host for host in hosts if host.name.rpartition("/")[0] == table.name]
    if table.type_url != RDS or not own:
        return table

    def shown() -> dict[str, Any]:
        routes = dict(table.json())
        fetched = [dict(host.json()) for host in own]
        return {**routes, "virtual_hosts": [*routes.get("virtual_hosts", ()), *fetched]}

    return replace(table, json=shown)


def _one_field(wanted: str, resources: Iterable[DumpedResource]) -> Reply:
    """The entries of one repeated field, each as a message of its own."""
    known = {field for section in _SECTIONS.values() for field in (section.static, section.dynamic)}
    if wanted not in known:
        return bad_request(f"resource: {wanted} not found; known are {', '.join(sorted(known))}")
    entries = [
        _entry(each, section)
        for each in resources
        for section in (_SECTIONS[each.type_url],)
        if wanted == (section.static if each.static else section.dynamic)
    ]
    return json_reply({"configs": entries} if entries else {})


def _bootstrap(view: AdminView) -> dict[str, Any]:
    config: dict[str, Any] = {"@type": _ADMIN + "BootstrapConfigDump"}
    bootstrap = view.bootstrap()
    if bootstrap:
        config["bootstrap"] = redact(bootstrap)
    return config


def _dump(type_url: str, resources: list[DumpedResource]) -> dict[str, Any]:
    section = _SECTIONS[type_url]
    config: dict[str, Any] = {"@type": _ADMIN + section.dump}
    versions = {each.version for each in resources if not each.static}
    if type_url in (CDS, LDS) and len(versions) == 1:
        config["version_info"] = versions.pop()
    for field, static in ((section.static, True), (section.dynamic, False)):
        listed = [each for each in resources if each.static is static]
        if listed:
            config[field] = map(_entry, listed, repeat(section))
    return config


def _entry(each: DumpedResource, section: _Section) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if each.version:
        shown["version_info"] = each.version
    shown[section.key] = {"@type": each.type_url, **redact(each.json())}
    shown["last_updated"] = _timestamp(each.updated_at_s)
    return _LAYOUTS.get((each.type_url, each.static), _flat)(each, shown)


def _flat(each: DumpedResource, shown: dict[str, Any]) -> dict[str, Any]:
    return {**shown, **_error_state(each)}


def _listener(each: DumpedResource, shown: dict[str, Any]) -> dict[str, Any]:
    return {"name": each.name, "active_state": shown, **_error_state(each)}


def _secret(each: DumpedResource, shown: dict[str, Any]) -> dict[str, Any]:
    return {"name": each.name, **shown, **_error_state(each)}


_LAYOUTS: dict[tuple[str, bool], Callable[[DumpedResource, dict[str, Any]], dict[str, Any]]] = {
    (LDS, False): _listener,
    (SDS, False): _secret,
    (SDS, True): _secret,
}


def _error_state(each: DumpedResource) -> dict[str, Any]:
    return {"error_state": {"details": each.error}} if each.error else {}


def _timestamp(at_s: float) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
