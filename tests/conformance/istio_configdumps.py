"""Dumps of real Envoys in Istio's meshes: each can be read, and what our proxy loads of one stands
in its own `/config_dump` as it was.

One case is one dump, or one resource of it. A resource is compared as a message, without secrets;
one that was dumped without its private key can't be loaded and is only read. What our proxy lacks
it must name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.admin.config_dump import config_dump
from proxy.admin.redact import REDACTED_BYTES, redact
from proxy.admin.view import AdminView, DumpedResource
from proxy.config.any_types import import_all
from proxy.config.bootstrap import decode_bootstrap
from proxy.config.decode import RESOURCES, decode
from proxy.config.decode_common import checked
from proxy.config.fields import UNSUPPORTED
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader
from proxy.stats import Stats
from proxy.xds.as_json import as_json
from tests.conformance.loading import crashed, judged
from tests.conformance.suite import Result

_ADMIN = "type.googleapis.com/envoy.admin.v3."
_LISTS = {
    "static_clusters": (CDS, "cluster"),
    "dynamic_active_clusters": (CDS, "cluster"),
    "static_endpoint_configs": (EDS, "endpoint_config"),
    "dynamic_endpoint_configs": (EDS, "endpoint_config"),
    "static_listeners": (LDS, "listener"),
    "dynamic_listeners": (LDS, "listener"),
    "static_route_configs": (RDS, "route_config"),
    "dynamic_route_configs": (RDS, "route_config"),
    "dynamic_active_secrets": (SDS, "secret"),
}


class Dumped(NamedTuple):
    """One resource of a dump. field: the list that it stands in."""

    field: str
    type_url: str
    name: str
    body: Mapping[str, Any]


def run(cases: Path) -> Iterator[Result]:
    import_all()
    found = (path for path in sorted(cases.rglob("*")) if path.suffix in (".json", ".yaml"))
    for path in found:
        configs = _configs(path.read_text("utf-8"))
        if configs is None:
            continue
        name = str(path.relative_to(cases))
        yield Result(name, "" if configs else "nothing was read")
        for config in configs:
            yield from _judged(name, config)


def _configs(text: str) -> list[dict[str, Any]] | None:
    """None: it is no dump."""
    if '"configs"' not in text and "configs:" not in text:
        return None
    found = yaml.load(text, Loader=yaml.CSafeLoader)
    configs = found.get("configs") if isinstance(found, dict) else None
    known = [one for one in configs or () if str(one.get("@type", "")).startswith(_ADMIN)]
    return known if configs and len(known) == len(configs) else None


def _judged(name: str, config: dict[str, Any]) -> Iterator[Result]:
    kind = config["@type"].removeprefix(_ADMIN)
    if kind == "BootstrapConfigDump":
        yield _bootstrap(f"{name}/bootstrap", config.get("bootstrap", {}))
    for field in config:
        if field == "ecds_filters":
            for entry in config[field]:
                inner = entry["ecds_filter"]["name"]
                yield Result(f"{name}/ecds/{inner}", lacks="extension config discovery")
        for one in _resources(field, config[field]):
            yield _resource(f"{name}/{field}/{one.name}", one)


def _resources(field: str, entries: Any) -> Iterator[Dumped]:
    if field not in _LISTS:
        return
    type_url, key = _LISTS[field]
    for entry in entries:
        holder = entry.get("active_state") or entry.get("warming_state") or entry
        body = {k: v for k, v in holder.get(key, {}).items() if k != "@type"}
        name = body.get("name") or body.get("cluster_name") or entry.get("name", "")
        yield Dumped(field, type_url, name, body)


# --------------------------------------------------------------------------- one resource


def _resource(name: str, one: Dumped) -> Result:
    message = RESOURCES[one.type_url].message()
    try:
        _read(one.body, message)
        body = message.SerializeToString()
        _load(one, message)
    except Rejected as error:
        if REDACTED_BYTES in json.dumps(one.body) and UNSUPPORTED not in str(error):
            return Result(name)
        return judged(name, True, str(error))
    except Exception as error:
        return crashed(name, error)
    again = _shown(one, body)
    expected, found = _plain(one.type_url, one.body), _plain(one.type_url, again)
    return Result(name, "" if expected == found else f"is shown as {str(found)[:300]}")


def _load(one: Dumped, message: Message) -> None:
    """Over xDS, or as a bootstrap does, in which names may be left out. Raises Rejected."""
    if one.field.startswith("static_"):
        checked(message)
        RESOURCES[one.type_url].decode(message)
    else:
        decode(one.type_url, message.SerializeToString())


def _shown(one: Dumped, body: bytes) -> Mapping[str, Any]:
    """The resource as the admin page shows it."""
    static = one.field.startswith("static_")
    held = DumpedResource(one.type_url, one.name, partial(as_json, one.type_url, body), "1", static)
    reply = config_dump(_view(held), {"include_eds": ""})
    (config,) = json.loads("".join(reply.body))["configs"]
    (shown,) = _resources(one.field, config[one.field])
    return shown.body


def _plain(type_url: str, body: Mapping[str, Any]) -> Any:
    """Without secrets, and however a value may be spelled."""
    message = ParseDict(redact(body), RESOURCES[type_url].message())
    return MessageToDict(message, preserving_proto_field_name=True)


def _bootstrap(name: str, body: Mapping[str, Any]) -> Result:
    message = Bootstrap()
    try:
        _read(body, message)
        decode_bootstrap(message)
    except Rejected as error:
        return judged(name, True, str(error))
    except Exception as error:
        return crashed(name, error)
    return Result(name)


def _read(body: Mapping[str, Any], into: Message) -> None:
    """As the proxy reads a file: unknown fields and types are refused by name."""
    node: Any = yaml.compose(json.dumps(body), Loader=yaml.CSafeLoader)
    Reader().read(node, into)


def _view(held: DumpedResource) -> AdminView:
    return AdminView(
        stats=Stats(),
        state=lambda: "LIVE",
        uptime_s=lambda: 0.0,
        now_s=lambda: 0.0,
        clusters=tuple,
        listeners=dict,
        quit=_never,
        drain_listeners=_never,
        fail_health_check=_never,
        resources=lambda: (held,),
    )


def _never(*_: object) -> NoReturn:
    raise AssertionError("only a page is read")
