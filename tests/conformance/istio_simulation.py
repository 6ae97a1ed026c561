"""Istio's simulated calls to gateways: the listener, virtual host and cluster that each must meet.

Only proxies of type router: Istio's sidecars here intercept connections (15001, 15006), which
Weft's listeners of explicit mode do not. A proxy is the workload at 1.1.1.1, as in Istio's tests;
Secrets that a configuration names are there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import envoy
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.snapshot import Draft
from controlplane.translate import build
from tests.conformance.suite import Result
from tests.support.pki import Authority

Document = dict[str, Any]
_CREDENTIAL = re.compile(r'(?:credentialName|secretName): *"?([\w.-]+)"?')
_ADDRESS = "1.1.1.1"


@dataclass(slots=True)
class Met:
    """What a call met on its way, as far as it got."""

    ListenerMatched: str = ""
    RouteConfigMatched: str = ""
    VirtualHostMatched: str = ""
    ClusterMatched: str = ""
    Error: str = ""


def run(cases: Path) -> Iterator[Result]:
    secret = _secret()
    for row in json.loads((cases / "cases.shared.json").read_text()):
        if (row["proxy"] or {}).get("Type") == "router" and row["calls"]:
            draft = _draft(row, secret)
            for index, call in enumerate(row["calls"]):
                label = f"{row['test']}/{row['name']}/{call.get('Name', '')} #{index}"
                met = _met(draft, call["Call"])
                yield Result(label, "; ".join(_faults(met, call["Result"])))


def _faults(met: Met, wanted: Document) -> Iterator[str]:
    """A field that is not given does not matter, unless the match is strict."""
    if wanted.get("Skip"):
        return
    for name in Met.__slots__:
        value, got = _short(wanted.get(name, "")), getattr(met, name)
        if (value or wanted.get("StrictMatch")) and got != value:
            yield f"{name} is {got!r}, not {value!r}"


# --------------------------------------------------------------------------- configuration


def _draft(row: Document, secret: Document) -> Draft:
    proxy = row["proxy"]
    metadata = proxy["Metadata"] or {}
    namespace = metadata.get("Namespace", "istio-system")
    labels = proxy.get("Labels") or metadata.get("Labels") or {}
    spec = {"address": _ADDRESS, "labels": labels, "serviceAccount": "default"}
    workload = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "proxy", "namespace": namespace},
        "spec": spec,
    }
    text = f"{row['config'] or ''}\n---\n{row['kubeConfig'] or ''}"
    texts = [text, json.dumps(workload)]
    places = sorted({namespace, "default", "alpha", "beta"})
    names = sorted(set(_CREDENTIAL.findall(text)))
    texts += [
        json.dumps(secret | {"metadata": {"name": name, "namespace": place}})
        for name in names
        for place in places
    ]
    inventory = Inventory()
    for index, one in enumerate(texts):
        parsed = parse(one, f"{index:03}")
        inventory.replace(Origin.file(f"{index:03}"), parsed.objects, parsed.statuses)
    mesh = build(inventory.snapshot(), "cluster.local")[0]
    return envoy.emit(mesh, Node("router~g", namespace, "proxy", labels=labels))


def _secret() -> Document:
    authority = Authority()
    pair = authority.issue(dns=("example.com",))
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "data": data}


# --------------------------------------------------------------------------- calls


def _met(draft: Draft, call: Document) -> Met:
    met = Met()
    listener = next((one for one in draft.listeners if _port(one) == call["Port"]), None)
    if listener is None:
        met.Error = "no listener matched"
        return met
    met.ListenerMatched = listener.name
    name = call.get("Sni") or call.get("HostHeader", "") if call.get("TLS") else ""
    chain = _chain(listener, name)
    if chain is None:
        met.Error = "no filter chain matched"
        return met
    for one in chain.filters:
        manager, relay = hcm_pb2.HttpConnectionManager(), TcpProxy()
        if one.typed_config.Unpack(manager):
            tables = {table.name: table for table in draft.routes}
            _over_http(met, tables[manager.rds.route_config_name], call)
        elif one.typed_config.Unpack(relay):
            met.ClusterMatched = _short(relay.cluster)
    return met


def _port(listener: Listener) -> int:
    return listener.address.socket_address.port_value


def _chain(listener: Listener, name: str) -> FilterChain | None:
    """By the server name: whole, then wildcards, then any."""
    wanted = [name, *_wildcards(name), ""]
    for one in wanted:
        for chain in listener.filter_chains:
            names = list(chain.filter_chain_match.server_names)
            if one in names or (not one and not names):
                return chain
    return None


def _wildcards(name: str) -> Iterator[str]:
    labels = name.split(".")
    yield from ("*." + ".".join(labels[index:]) for index in range(1, len(labels)))


def _over_http(met: Met, table: RouteConfiguration, call: Document) -> None:
    met.RouteConfigMatched = table.name
    host = call.get("HostHeader", "").partition(":")[0]
    found = _virtual_host(table, host)
    if found is None:
        met.Error = "no virtual host matched"
        return
    met.VirtualHostMatched = found.name
    if found.require_tls == parts.VirtualHost.ALL and not call.get("TLS"):
        met.Error = "tls required, sending 301"
        return
    path = call.get("Path") or "/"
    route = next((one for one in found.routes if _takes(one.match, path)), None)
    if route is None:
        met.Error = "no route matched"
        return
    met.ClusterMatched = _short(route.route.cluster)


def _virtual_host(table: RouteConfiguration, host: str) -> parts.VirtualHost | None:
    for one in (host, *_wildcards(host), "*"):
        for virtual_host in table.virtual_hosts:
            if one in virtual_host.domains:
                return virtual_host
    return None


def _takes(match: parts.RouteMatch, path: str) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "path":
        return path == match.path
    if kind == "path_separated_prefix":
        return path == match.path_separated_prefix or path.startswith(
            match.path_separated_prefix + "/"
        )
    return path.startswith(match.prefix)


def _short(cluster: str) -> str:
    """Istio's tests have no domain behind a service's name."""
    return cluster.removesuffix(".svc.cluster.local")
