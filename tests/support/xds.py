"""Words for transcripts of xDS streams: small snapshots, requests, and what a push says."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from controlplane.resources import Snapshot, assemble
from controlplane.snapshot import encode
from controlplane.xds.wire import Push
from protos.types import CDS, EDS, LDS, RDS, SDS, short_name

URLS = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS, "SDS": SDS}


def snapshot(**types: Mapping[str, str]) -> Snapshot:
    """`snapshot(CDS={"a": "1"})`: resource `a`, of content `1`. The machines never look in."""
    return assemble(
        {
            URLS[short]: {
                name: encode(URLS[short], name, text.encode()) for name, text in r.items()
            }
            for short, r in types.items()
        }
    )


def said(pushes: tuple[Push, ...]) -> list[str]:
    """`CDS a b -c`: type, names that were sent, names that were removed."""
    return [
        " ".join([short_name(p.type_url), *p.names, *(f"-{name}" for name in p.removed)])
        for p in pushes
    ]


def sotw(
    short: str, *names: str, nonce: str = "", version: str = "", error: str = ""
) -> DiscoveryRequest:
    request = DiscoveryRequest(
        type_url=URLS[short], resource_names=names, response_nonce=nonce, version_info=version
    )
    if error:
        request.error_detail.message = error
    return request


def delta(
    short: str,
    *names: str,
    unsubscribe: tuple[str, ...] = (),
    nonce: str = "",
    error: str = "",
    have: Mapping[str, str] | None = None,
) -> DeltaDiscoveryRequest:
    request = DeltaDiscoveryRequest(
        type_url=URLS[short],
        resource_names_subscribe=names,
        resource_names_unsubscribe=unsubscribe,
        response_nonce=nonce,
        initial_resource_versions=dict(have or {}),
    )
    if error:
        request.error_detail.message = error
    return request


def decode_sotw(push: Push) -> DiscoveryResponse:
    return DiscoveryResponse.FromString(push.body)


def decode_delta(push: Push) -> DeltaDiscoveryResponse:
    return DeltaDiscoveryResponse.FromString(push.body)
