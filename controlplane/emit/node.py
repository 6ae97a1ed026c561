"""Who asks for configuration: the part of Envoy's Node that emission depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from controlplane.foreign import printable
from controlplane.kinds.json_nodes import compose_value
from controlplane.kinds.proxy_settings import GatewayTopology, ProxyHeaders, ProxySettings
from controlplane.kinds.schema import Invalid, Place, Record, obj, plan_of
from controlplane.kinds.yaml_nodes import YamlError
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Workload
from controlplane.mesh.networks import LABEL as NETWORK
from protos.frozen import frozen

Interception = Literal["NONE", "REDIRECT", "TPROXY"]
"""Istio's INTERCEPTION_MODE: how connections come to the proxy without the workload's doing."""

ASKS_FOR_LISTENERS = "weft.listeners_on_demand"
"""The client feature (xDS) of a proxy that asks for listeners as connections need them."""
COUNTS_CONNECTIONS = "weft.connection_metrics"
MAX_SHOWN = 1024
"""Characters of what a node calls itself."""

Dialect = Literal["envoy", "grpc"]
"""What a client understands: all of Envoy, or what gRPC's own xDS has of it."""


@frozen
class Node:
    """The words are Istio's node metadata. weft_agent: a Weft proxy, which holds its own key.
    http_proxy_port 0: no outbound HTTP proxy listener is wanted. gateway: where a laptop's gateway
    listens (WEFT_GATEWAY, e.g. "127.0.0.1:8080"). on_demand: it asks for the services that it
    calls by name, by VHDS and on-demand CDS, instead of taking all (WEFT_ON_DEMAND). pod: the name
    of its pod, if it is in one. group: the WorkloadGroup by which it registers itself, as the
    WorkloadEntry that `workload` names (AUTO_REGISTER_GROUP). settings: of its own, in place of the
    mesh's (PROXY_CONFIG). ipv6: its address is; dual: it says that it has one of the other family,
    too (INSTANCE_IPS). network: the one that it is in (NETWORK, or its label); networks: those of
    which it sees endpoints (REQUESTED_NETWORK_VIEW), none for all. metadata: all that is a text or
    a number, as a text."""

    id: str
    namespace: str = "default"
    workload: str = ""
    service_account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    http_proxy_port: int = 0
    gateway: tuple[str, int] | None = None
    locality: tuple[str, str, str] = ("", "", "")
    weft_agent: bool = False
    on_demand: bool = False
    user_agent: str = ""
    dialect: Dialect = "envoy"
    interception: Interception = "NONE"
    ipv6: bool = False
    dual: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    pod: str = ""
    group: str = ""
    settings: ProxySettings | None = field(default=None, hash=False)
    network: str = ""
    networks: tuple[str, ...] = ()
    counts_connections: bool = False

    @property
    def role(self) -> str:
        """Istio's type of a proxy, with which its id begins: 'sidecar', 'router'; 'agent' is one
        that takes no traffic."""
        return self.id.partition("~")[0]

    @property
    def intercepts(self) -> bool:
        return self.interception != "NONE"


def seated(node: Node, workload: Workload | None) -> Node:
    """With what the mesh knows of it: where it stands, if it does not say so, and of a pod its
    labels."""
    if workload is None:
        return node
    locality = node.locality if any(node.locality) else workload.locality
    labels = workload.labels if workload.pod else node.labels
    network = node.network or workload.network
    return replace(node, labels=labels, locality=locality, network=network)


class BadNode(ValueError):
    """A Node that cannot be served; the text says which field and what was expected."""


def parse(node: EnvoyNode) -> Node:
    """Reads an Envoy Node. Raises BadNode."""
    metadata = node.metadata
    if not node.id:
        raise BadNode("node.id is empty")
    return Node(
        id=_shown("node.id", node.id),
        namespace=_text(metadata, "NAMESPACE") or "default",
        workload=_registered(node) or _name(metadata, "WORKLOAD_NAME"),
        group=_text(metadata, "AUTO_REGISTER_GROUP"),
        pod=_pod(node),
        service_account=_text(metadata, "SERVICE_ACCOUNT") or "default",
        labels=_labels(metadata),
        http_proxy_port=_port(metadata, "HTTP_PROXY_PORT"),
        gateway=_gateway(metadata),
        locality=(node.locality.region, node.locality.zone, node.locality.sub_zone),
        weft_agent=_text(metadata, "WEFT_AGENT").lower() == "true",
        on_demand=_on_demand(node),
        user_agent=_user_agent(node),
        dialect=_dialect(node),
        interception=_interception(node),
        ipv6=_is_ipv6(node),
        dual=_is_dual(node),
        network=_text(metadata, "NETWORK") or _labels(metadata).get(NETWORK, ""),
        networks=_words(metadata, "REQUESTED_NETWORK_VIEW"),
        metadata={name: _text(metadata, name) for name in _plain(metadata)},
        settings=_settings(metadata),
        counts_connections=COUNTS_CONNECTIONS in node.client_features,
    )


def _is_ipv6(node: EnvoyNode) -> bool:
    return node.id.count("~") == 3 and ":" in node.id.split("~")[1]


def _is_dual(node: EnvoyNode) -> bool:
    """Whether it has an address of another family than that of its id."""
    said = (one.strip() for one in _text(node.metadata, "INSTANCE_IPS").split(","))
    return any(is_ip(one) and (":" in one) is not _is_ipv6(node) for one in said)


def address_of(node_id: str) -> str:
    """Its own, as it stands in Istio's ids: 'sidecar~10.0.0.7~NAME.NAMESPACE~DOMAIN'; '' if not."""
    parts = node_id.split("~")
    return parts[1] if len(parts) == 4 and is_ip(parts[1]) else ""


def _registered(node: EnvoyNode) -> str:
    """The name of the WorkloadEntry that Istio makes of a WorkloadGroup for a proxy; '' if it names
    none."""
    group, address = _text(node.metadata, "AUTO_REGISTER_GROUP"), address_of(node.id)
    if group and not address:
        raise BadNode(
            f"node.id: {node.id!r} has no address to register, as in "
            "'sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN'"
        )
    return f"{group}-{address.replace(':', '-')}" if group else ""


def _pod(node: EnvoyNode) -> str:
    """Istio's NAME; else what stands in its ids, 'sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN'."""
    if name := _name(node.metadata, "NAME"):
        return name
    parts = node.id.split("~")
    return parts[2].rpartition(".")[0] if len(parts) == 4 else ""


def _words(metadata: Struct, name: str) -> tuple[str, ...]:
    """Separated by commas, sorted."""
    return tuple(sorted({one.strip() for one in _text(metadata, name).split(",")} - {""}))


def _plain(metadata: Struct) -> list[str]:
    """Names of what is neither a list nor a mapping."""
    kinds = ((name, value.WhichOneof("kind")) for name, value in metadata.fields.items())
    return sorted(name for name, kind in kinds if kind in ("string_value", "bool_value"))


def _text(metadata: Struct, name: str) -> str:
    """A string field; a number or a bool is read as its text, as YAML without quotes gives it."""
    if name not in metadata.fields:
        return ""
    value = metadata.fields[name]
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value" and value.number_value.is_integer():
        return str(int(value.number_value))
    if kind == "bool_value":
        return str(value.bool_value).lower()
    raise BadNode(f"node.metadata.{name}: expected a string")


def _name(metadata: Struct, name: str) -> str:
    return _shown(f"node.metadata.{name}", _text(metadata, name))


def _shown(where: str, text: str) -> str:
    """What logs and terminals show."""
    if len(text) > MAX_SHOWN or not text.isprintable():
        raise BadNode(f"{where}: expected at most {MAX_SHOWN} printable characters")
    return text


def _labels(metadata: Struct) -> dict[str, str]:
    if "LABELS" not in metadata.fields:
        return {}
    fields = metadata.fields["LABELS"].struct_value.fields
    return {name: fields[name].string_value for name in sorted(fields)}


def _port(metadata: Struct, name: str) -> int:
    text = _text(metadata, name)
    if not text:
        return 0
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise BadNode(f"node.metadata.{name}: {text!r} is not a port number")
    return int(text)


def _gateway(metadata: Struct) -> tuple[str, int] | None:
    text = _text(metadata, "WEFT_GATEWAY")
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadNode(f"node.metadata.WEFT_GATEWAY: {text!r} is not ADDRESS:PORT")
    return address, int(port)


def _settings(metadata: Struct) -> ProxySettings | None:
    """What Istio's agents say of themselves; the part that is not for themselves. None where it is
    no mapping."""
    if not (
        "PROXY_CONFIG" in metadata.fields
        and metadata.fields["PROXY_CONFIG"].HasField("struct_value")
    ):
        return None
    said = json_format.MessageToDict(metadata.fields["PROXY_CONFIG"].struct_value)
    ours = {name: _known(cls, _whole(said[name])) for name, cls in _HEEDED.items() if name in said}
    try:
        return obj(ProxySettings)(compose_value(ours), Place("", "PROXY_CONFIG", []))
    except (Invalid, YamlError) as error:
        raise BadNode(f"node.metadata.{error}") from None


_HEEDED: Mapping[str, type[Record]] = {
    "proxyHeaders": ProxyHeaders,
    "gatewayTopology": GatewayTopology,
}


def _whole(said: object) -> object:
    """A Struct has no integers."""
    if isinstance(said, dict):
        return {name: _whole(value) for name, value in said.items()}
    if isinstance(said, list):
        return [_whole(value) for value in said]
    return int(said) if isinstance(said, float) and said.is_integer() else said


def _known(cls: type[Record], said: object) -> object:
    """Without fields of which only a newer agent knows."""
    if not isinstance(said, dict):
        return said
    return {name: value for name, value in said.items() if name in plan_of(cls).known}


def _dialect(node: EnvoyNode) -> Dialect:
    """gRPC's clients and servers call themselves "gRPC C-core", "gRPC Go" and so on; Istio's agent
    names them in the metadata."""
    named = _text(node.metadata, "GENERATOR") == "grpc"
    return "grpc" if named or node.user_agent_name.startswith("gRPC") else "envoy"


def _on_demand(node: EnvoyNode) -> bool:
    """Who intercepts connections has to know all addresses beforehand, but if it can ask for
    listeners, too; then it is on demand unless it says otherwise. A gateway's routes name
    everything."""
    said = _text(node.metadata, "WEFT_ON_DEMAND").lower()
    if _interception(node) == "NONE":
        return said == "true"
    gateway = "WEFT_GATEWAY" in node.metadata.fields or node.id.startswith("router~")
    return said != "false" and not gateway and ASKS_FOR_LISTENERS in node.client_features


def _interception(node: EnvoyNode) -> Interception:
    """Unset is Istio's default for sidecars, but where an HTTP proxy is asked for."""
    word = _text(node.metadata, "INTERCEPTION_MODE")
    if word == "NONE":
        return "NONE"
    if word in ("REDIRECT", "TPROXY"):
        return "TPROXY" if word == "TPROXY" else "REDIRECT"
    if word:
        raise BadNode(
            f"node.metadata.INTERCEPTION_MODE: {word!r} is not one of REDIRECT, TPROXY and NONE"
        )
    explicit = any(name in node.metadata.fields for name in ("HTTP_PROXY_PORT", "WEFT_GATEWAY"))
    by_itself = node.id.startswith("sidecar~") and not explicit
    return "REDIRECT" if by_itself and _dialect(node) == "envoy" else "NONE"


def _user_agent(node: EnvoyNode) -> str:
    text = node.user_agent_version
    if node.HasField("user_agent_build_version"):
        version = node.user_agent_build_version.version
        text = f"{version.major_number}.{version.minor_number}.{version.patch}"
    return printable(f"{node.user_agent_name} {text}".strip(), MAX_SHOWN)
