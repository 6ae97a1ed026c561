"""Sessions that stay with one host of a cluster (`envoy.filters.http.stateful_session`)."""

from __future__ import annotations

from protos.frozen import frozen


@frozen
class CookieState:
    """The host stands in a cookie. path: for requests below it; '' and `/` are all. ttl_s: 0 is as
    long as the client's own session. attributes: further ones of the cookie, '' without a value."""

    name: str
    path: str = ""
    ttl_s: int = 0
    attributes: tuple[tuple[str, str], ...] = ()


@frozen
class HeaderState:
    """The host stands in a header, which the client sends again as it came."""

    name: str


@frozen
class EnvelopeState:
    """The host stands in a header of the upstream's own, before what that says."""

    name: str


SessionState = CookieState | HeaderState | EnvelopeState


@frozen
class StatefulSession:
    """state: None is no session. strict: a host that can't be had is 503, and nobody takes its
    place. stat_prefix: '' counts nothing."""

    state: SessionState | None = None
    strict: bool = False
    stat_prefix: str = ""
