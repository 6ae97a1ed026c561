"""A VirtualService's rule for HTTP: what it takes and what becomes of it (HTTPRoute)."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.decoders import duration, integer, label, list_of, optional_label, text
from controlplane.kinds.http_answer import HttpDirectResponse, HttpRedirect, HttpRewrite
from controlplane.kinds.http_destination import (
    Destination,
    Headers,
    HttpRouteDestination,
    weight_faults,
)
from controlplane.kinds.http_match import HttpMatch
from controlplane.kinds.http_policy import CorsPolicy, HttpFault, HttpMirror, HttpRetry, Percent
from controlplane.kinds.schema import Record, notes, obj, optional, record, required


@record
class Delegate(Record):
    """namespace '': the root's own."""

    name: str = required(label)
    namespace: str = optional(optional_label, "")


@record
class HttpRoute(Record):
    NOTED = notes(
        websocketUpgrade="has no effect: WebSocket passes everywhere without being asked for"
    )
    name: str = optional(text, "")
    match: tuple[HttpMatch, ...] = optional(list_of(obj(HttpMatch)), ())
    route: tuple[HttpRouteDestination, ...] = optional(list_of(obj(HttpRouteDestination)), ())
    redirect: HttpRedirect | None = optional(obj(HttpRedirect))
    direct_response: HttpDirectResponse | None = optional(obj(HttpDirectResponse))
    delegate: Delegate | None = optional(obj(Delegate))
    rewrite: HttpRewrite | None = optional(obj(HttpRewrite))
    timeout_s: float | None = optional(duration)
    retries: HttpRetry | None = optional(obj(HttpRetry))
    fault: HttpFault | None = optional(obj(HttpFault))
    mirror: Destination | None = optional(obj(Destination))
    mirrors: tuple[HttpMirror, ...] = optional(list_of(obj(HttpMirror)), ())
    mirror_percentage: Percent | None = optional(obj(Percent))
    mirror_percent: int | None = optional(integer(0, 100))
    old_mirror_percent: int | None = optional(integer(0, 100), key="mirror_percent")
    cors_policy: CorsPolicy | None = optional(obj(CorsPolicy))
    headers: Headers = optional(obj(Headers), Headers())

    def check(self) -> Iterator[tuple[str, str]]:
        actions = {
            "route": bool(self.route),
            "redirect": self.redirect is not None,
            "directResponse": self.direct_response is not None,
            "delegate": self.delegate is not None,
        }
        given = [key for key, there in actions.items() if there]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield "", f"expected exactly one of {', '.join(actions)}, got {found}"
        if self.rewrite is not None and (self.redirect or self.direct_response):
            yield "rewrite", "has nothing to rewrite where a request is answered at once"
        if self.fault is not None and (self.redirect or self.direct_response):
            yield "fault", "has no place where a request is answered at once"
        if self.mirror is not None and self.mirrors:
            yield "mirrors", "and mirror exclude each other"
        hosts = self.headers.hosts
        if len(hosts) + bool(self.rewrite is not None and self.rewrite.authority) > 1:
            yield "headers", "the authority is set twice (rewrite.authority, headers.request)"
        if self.delegate is not None:
            yield from self.regex_faults()
        yield from weight_faults(self.route)

    def regex_faults(self) -> Iterator[tuple[str, str]]:
        """Istio: what delegates or is delegated to is compared, which regexes can not be."""
        for index, match in enumerate(self.match):
            for key in match.regexes:
                yield f"match[{index}]", f"{key}: no regex where rules are delegated"
