"""Istio's PeerAuthentication: which connections a workload's sidecar takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import LABELS, enum, map_of
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


@record
class Mtls(Record):
    mode: Mode = optional(enum("UNSET", "DISABLE", "PERMISSIVE", "STRICT"), "UNSET")


@record
class PeerSelector(Record):
    match_labels: Mapping[str, str] = optional(LABELS, {})


@record
class PeerAuthenticationSpec(Record):
    """port_level_mtls: workload port number, as text, -> mode."""

    selector: PeerSelector = optional(obj(PeerSelector), PeerSelector())
    mtls: Mtls = optional(obj(Mtls), Mtls())
    port_level_mtls: Mapping[str, Mtls] = optional(map_of(obj(Mtls)), {})

    def check(self) -> Iterator[tuple[str, str]]:
        if self.port_level_mtls and not self.selector.match_labels:
            yield "portLevelMtls", "needs a selector with matchLabels"
        if "portLevelMtls" in self.where and not self.port_level_mtls:
            yield "portLevelMtls", "needs at least one port"
        for port in self.port_level_mtls:
            if not (port.isdecimal() and 1 <= int(port) <= 65535):
                yield f"portLevelMtls.{port}", f"expected a port number 1..65535, got {port!r}"


@record
class PeerAuthentication(Object):
    API_VERSIONS = names("security.istio.io/v1 security.istio.io/v1beta1")
    spec: PeerAuthenticationSpec = optional(obj(PeerAuthenticationSpec), PeerAuthenticationSpec())
