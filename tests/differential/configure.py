"""From scenarios to one bootstrap in Envoy v3: a listener for each, clusters of its own names.

The same for both proxies. Must not know how they are run or what is compared.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.differential.scenario import Scenario, UpstreamPlan, Yaml, build

TYPES = "type.googleapis.com/envoy.extensions"
HCM = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{TYPES}.filters.http.router.v3.Router"
DOWNSTREAM_TLS = f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"
FILE_LOG = f"{TYPES}.access_loggers.file.v3.FileAccessLog"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
BASE64 = re.compile(r"\{base64:([^{}]*)\}")
LOG_FIELDS = {
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scenario runs: `hosts` are the ports of each cluster's endpoints, `suffix` what its
    names carry beside other scenarios, '' when it is alone."""

    suffix: str
    port: int
    hosts: Mapping[str, tuple[int, ...]]
    folder: Path
    pki: Path

    def words(self) -> dict[str, str]:
        """The placeholders of a scenario's texts."""
        found = {"{pki}": str(self.pki), "{folder}": str(self.folder), "{port}": str(self.port)}
        for name, ports in self.hosts.items():
            found[f"{{cluster:{name}}}"] = name + self.suffix
            found |= {f"{{port:{name}.{at}}}": str(port) for at, port in enumerate(ports)}
        return found


def placed(scenario: Scenario, place: Place) -> Scenario:
    """The scenario with its placeholders filled in."""
    text = json.dumps(scenario.yaml)
    for word, value in place.words().items():
        text = text.replace(word, value)
    text = BASE64.sub(_base64, text)
    return build(scenario.name, scenario.area, json.loads(text))


def _base64(found: re.Match[str]) -> str:
    said: str = json.loads(f'"{found[1]}"')  # control characters are escaped within JSON
    return b64encode(said.encode()).decode()


def bootstrap(scenarios: Iterable[tuple[Scenario, Place]]) -> Yaml:
    """One Bootstrap for scenarios that were `placed` and have the same fragment of it."""
    made: Yaml = {"node": {"id": "test", "cluster": "test"}}
    made["static_resources"] = {"listeners": [], "clusters": []}
    for number, (scenario, place) in enumerate(scenarios):
        if not number:
            made = merged(scenario.yaml.get("bootstrap", {}), made)
        resources = made["static_resources"]
        resources["listeners"].append(_listener(scenario, place))
        resources["clusters"] += [
            {**_renamed(_cluster(scenario, name, ports), place), "name": name + place.suffix}
            for name, ports in place.hosts.items()
        ]
    return made


def write_files(scenario: Scenario, place: Place) -> None:
    """`files` of a scenario, renamed as all else."""
    for name, content in scenario.yaml.get("files", {}).items():
        text = content if isinstance(content, str) else yaml.safe_dump(_renamed(content, place))
        (place.folder / name).write_text(text)


def merged(one: Any, other: Any) -> Any:
    """Mappings joined key by key, lists one after the other; else `other`."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {key: merged(one[key], other[key]) for key in one.keys() & other.keys()}
        return {**one, **other, **both}
    return one + other if isinstance(one, list) and isinstance(other, list) else other


# --------------------------------------------------------------------------- the listener


def _listener(scenario: Scenario, place: Place) -> Yaml:
    config = _renamed(_manager(scenario, place), place)
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}
    chain: Yaml = {"filters": [network], **scenario.yaml.get("filter_chain", {})}
    if tls := scenario.yaml.get("downstream_tls"):
        context = {"@type": DOWNSTREAM_TLS, **tls}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {
        "name": f"test{place.suffix}",
        "address": _address(place.port),
        "filter_chains": [chain],
        **_renamed(scenario.yaml.get("listener", {}), place),
    }


def _manager(scenario: Scenario, place: Place) -> Yaml:
    routing = {"@type": ROUTER, **scenario.yaml.get("router", {})}
    router = {"name": "envoy.filters.http.router", "typed_config": routing}
    return {
        "@type": HCM,
        "stat_prefix": f"test{place.suffix}",
        "delayed_close_timeout": "0.1s",
        "http_filters": [*scenario.yaml.get("http_filters", []), router],
        "access_log": _access_logs(scenario, place.folder),
        "route_config": _routes(scenario.yaml),
        **scenario.yaml.get("hcm", {}),
    }


def _access_logs(scenario: Scenario, folder: Path) -> list[Yaml]:
    """The one whose fields are always compared, and the scenario's own as `log.N`."""
    line = " ".join(f"{name}={operator}" for name, operator in LOG_FIELDS.items())
    logs = [_file_log(folder / "access.log", line)]
    for number, plan in enumerate(scenario.yaml.get("log", ())):
        path = folder / f"log.{number}"
        if "@type" not in json.dumps(plan):
            logs.append(_file_log(path, plan))
        else:
            logs.append(json.loads(json.dumps(plan).replace("{log}", str(path))))
    return logs


def _file_log(path: Path, plan: str | Yaml) -> Yaml:
    if isinstance(plan, str):
        form: Yaml = {"text_format_source": {"inline_string": plan + "\n"}}
    else:
        form = {"json_format": plan}
    config = {"@type": FILE_LOG, "path": str(path), "log_format": form}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _routes(plan: Yaml) -> Yaml:
    everything = [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]
    one = {"name": "all", "domains": ["*"], "routes": plan.get("routes", everything)}
    hosts = plan.get("virtual_hosts", [{**one, **plan.get("virtual_host", {})}])
    return {"name": "routes", "virtual_hosts": hosts, **plan.get("route_config", {})}


# --------------------------------------------------------------------------- the clusters


def _cluster(scenario: Scenario, name: str, ports: tuple[int, ...]) -> Yaml:
    """By the name of the scenario; `_renamed` gives it that of the batch."""
    plan = scenario.upstreams.get(name)
    own = scenario.clusters.get(name)
    made: Yaml = {"name": name, "connect_timeout": "5s"}
    if not isinstance(own, dict):
        endpoints = _localities(plan or UpstreamPlan(endpoints=({},)), ports)
        made |= {"type": "STATIC"}
        made["load_assignment"] = {"cluster_name": name, "endpoints": endpoints}
    if plan and plan.http2:
        http2: Yaml = {"explicit_http_config": {"http2_protocol_options": {}}}
        options = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", **http2}
        made["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
    made |= (plan.cluster if plan else {}) | (own if isinstance(own, dict) else {})
    if made.get("type") in ("EDS", "ORIGINAL_DST") or "cluster_type" in made:
        made.pop("load_assignment", None)
    if "cluster_type" in made:
        made.pop("type", None)
    return made


def _localities(plan: UpstreamPlan, ports: tuple[int, ...]) -> list[Yaml]:
    """Endpoints of the same locality and priority together, in the order they first came."""
    groups: dict[str, Yaml] = {}
    for one, port in zip(plan.endpoints, ports, strict=False):
        shared: Yaml = {key: one[key] for key in ("locality", "priority") if key in one}
        group = groups.setdefault(json.dumps(shared, sort_keys=True), {**shared})
        if "locality_weight" in one:
            group["load_balancing_weight"] = one["locality_weight"]
        group.setdefault("lb_endpoints", []).append(_endpoint(one, port))
    return list(groups.values())


def _endpoint(plan: Yaml, port: int) -> Yaml:
    endpoint = {"address": _address(port, plan.get("address", "127.0.0.1"))}
    endpoint |= {key: plan[key] for key in ("hostname", "health_check_config") if key in plan}
    made: Yaml = {"endpoint": endpoint}
    if "metadata" in plan:
        made["metadata"] = {"filter_metadata": plan["metadata"]}
    if "weight" in plan:
        made["load_balancing_weight"] = plan["weight"]
    return made | ({"health_status": plan["health_status"]} if "health_status" in plan else {})


def _address(port: int, address: str = "127.0.0.1") -> Yaml:
    return {"socket_address": {"address": address, "port_value": port}}


# --------------------------------------------------------------------------- names in a batch


def _renamed(tree: Any, place: Place) -> Any:
    """A copy in which the scenario's clusters carry its suffix wherever a field names one."""
    if isinstance(tree, list):
        return [_renamed(each, place) for each in tree]
    if not isinstance(tree, dict):
        return tree
    made = {key: _renamed(value, place) for key, value in tree.items()}
    for key in ("cluster", "cluster_name"):
        if isinstance(made.get(key), str):
            made[key] = _name(made[key], place)
    if isinstance(made.get("clusters"), list):
        made["clusters"] = [_member(each, place) for each in made["clusters"]]
    return made


def _member(item: Any, place: Place) -> Any:
    if isinstance(item, str):
        return _name(item, place)
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        return {**item, "name": _name(item["name"], place)}
    return item


def _name(name: str, place: Place) -> str:
    return name + place.suffix if name in place.hosts else name
