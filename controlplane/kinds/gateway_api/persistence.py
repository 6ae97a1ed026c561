"""Gateway API's SessionPersistence, an experimental part of HTTPRoute and GRPCRoute rules.

Its CRDs up to 1.4 have `sessionName`, `idleTimeout` and `cookieConfig`, later ones `cookie` and
`header`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import enum, matching
from controlplane.kinds.gateway_api.words import HEADER_NAME, bounded, gep_duration
from controlplane.kinds.schema import Record, obj, optional, record, required

SESSION_NAME = matching(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,128}", "a name of a cookie or header")


@record
class SessionCookie(Record):
    name: str = optional(HEADER_NAME, "")
    path: str = optional(bounded(1024), "/")
    lifetime_type: Literal["Permanent", "Session"] = optional(
        enum("Permanent", "Session"), "Session"
    )


@record
class SessionHeader(Record):
    name: str = required(HEADER_NAME)


@record
class CookieConfig(Record):
    lifetime_type: Literal["Permanent", "Session"] = optional(
        enum("Permanent", "Session"), "Session"
    )


_OLD = ("sessionName", "idleTimeout", "cookieConfig")


@record
class SessionPersistence(Record):
    type: Literal["Cookie", "Header"] = optional(enum("Cookie", "Header"), "Cookie")
    absolute_timeout_s: float | None = optional(gep_duration)
    cookie: SessionCookie | None = optional(obj(SessionCookie))
    header: SessionHeader | None = optional(obj(SessionHeader))
    session_name: str = optional(SESSION_NAME, "")
    idle_timeout_s: float | None = optional(gep_duration)
    cookie_config: CookieConfig | None = optional(obj(CookieConfig))

    @property
    def name(self) -> str:
        """'' where none is given."""
        if self.cookie is not None:
            return self.cookie.name
        return self.header.name if self.header is not None else self.session_name

    @property
    def path(self) -> str:
        return self.cookie.path if self.cookie is not None else "/"

    @property
    def _is_old(self) -> bool:
        return any(key in self.where for key in _OLD)

    def check(self) -> Iterator[tuple[str, str]]:
        if self._is_old:
            yield from self._check_old()
            return
        for kind, value in (("Cookie", self.cookie), ("Header", self.header)):
            if kind == self.type and value is None:
                yield kind.lower(), f"is required when type is {kind}"
            if kind != self.type and value is not None:
                yield kind.lower(), f"must not be given when type is {self.type}"
        yield from self._check_permanent(self.cookie)

    def _check_old(self) -> Iterator[tuple[str, str]]:
        for key in ("cookie", "header"):
            if key in self.where:
                yield key, f"must not stand beside {', '.join(_OLD)}, which it replaces"
        if self.type != "Cookie" and self.cookie_config is not None:
            yield "cookieConfig", f"must not be given when type is {self.type}"
        yield from self._check_permanent(self.cookie_config)

    def _check_permanent(
        self, cookie: SessionCookie | CookieConfig | None
    ) -> Iterator[tuple[str, str]]:
        permanent = cookie is not None and cookie.lifetime_type == "Permanent"
        if permanent and self.absolute_timeout_s is None:
            yield "absoluteTimeout", "is required when the cookie's lifetimeType is Permanent"
