"""Regular expressions of matches that RE2, and so every proxy, would refuse.

The CRDs let any text through; a route is refused for its rules, not as an object (Gateway API:
UnsupportedValue), so that its status can say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.gateway_api.grpc_route import GrpcRouteMatch
from controlplane.kinds.gateway_api.http_route import HttpRouteMatch
from controlplane.kinds.regex import fault_of
from controlplane.mesh.position import Position
from controlplane.translate.gateways.words import Fault

Pattern = tuple[str, str, Position]
"""Where it stands in its match, what it is, and where that is in the text."""


def fault_in(match: HttpRouteMatch | GrpcRouteMatch) -> Fault | None:
    """What is wrong with the first bad pattern of a match."""
    for name, pattern, position in _patterns(match):
        if wrong := fault_of(pattern):
            return Fault("UnsupportedValue", f"{name}: {wrong}", position)
    return None


def first_fault(matches: Iterable[HttpRouteMatch | GrpcRouteMatch]) -> Fault | None:
    found = ((index, fault_in(match)) for index, match in enumerate(matches))
    return next(
        (
            Fault(fault.reason, f"matches[{index}].{fault.message}", fault.position)
            for index, fault in found
            if fault is not None
        ),
        None,
    )


def _patterns(match: HttpRouteMatch | GrpcRouteMatch) -> Iterator[Pattern]:
    if isinstance(match, HttpRouteMatch):
        if match.path.type == "RegularExpression":
            yield "path.value", match.path.value, match.path.at("value")
        for index, query in enumerate(match.query_params):
            if query.type == "RegularExpression":
                yield f"queryParams[{index}].value", query.value, query.at("value")
    elif match.method is not None and match.method.type == "RegularExpression":
        yield "method.service", match.method.service, match.method.at("service")
        yield "method.method", match.method.method, match.method.at("method")
    for index, header in enumerate(match.headers):
        if header.type == "RegularExpression":
            yield f"headers[{index}].value", header.value, header.at("value")
