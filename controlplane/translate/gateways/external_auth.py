"""Gateway API's ExternalAuth filter -> a service that is asked about each request of a rule."""

from __future__ import annotations

from controlplane.kinds.gateway_api.filters import ExternalAuth, HttpAuth
from controlplane.mesh.model import Destination
from controlplane.mesh.policy import Authorizer, BodyLimit
from controlplane.mesh.services import Protocol

GRPC_PORTS: frozenset[Protocol] = frozenset(("GRPC", "HTTP2"))
"""What a port speaks whose service is asked over gRPC."""

TIMEOUT_S = 10.0
"""Gateway API says none; nobody waits longer for a decision than that."""

EVERY_HEADER = "*"


def authorizer_of(given: ExternalAuth, at: Destination) -> Authorizer:
    """at: its backend. Whatever goes wrong, the request is refused (fail closed)."""
    body, http, grpc = given.forward_body, given.http or HttpAuth(), given.grpc
    return Authorizer(
        name="",
        protocol="http" if given.protocol == "HTTP" else "grpc",
        host=at.host,
        port=at.port or 0,
        timeout_s=TIMEOUT_S,
        body=BodyLimit(body.max_size) if body is not None and body.max_size else None,
        request_headers=_sorted(http.allowed_headers if grpc is None else grpc.allowed_headers),
        path_prefix=http.path,
        upstream_headers=_sorted(http.allowed_response_headers) or (EVERY_HEADER,),
    )


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    """They are sets, whose order says nothing."""
    return tuple(sorted(names))
