"""Gateway API's SessionPersistence, an experimental part of HTTPRoute and GRPCRoute rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import enum
from controlplane.kinds.gateway_api.words import HEADER_NAME, bounded, gep_duration
from controlplane.kinds.schema import Record, obj, optional, record, required


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
class SessionPersistence(Record):
    type: Literal["Cookie", "Header"] = optional(enum("Cookie", "Header"), "Cookie")
    absolute_timeout_s: float | None = optional(gep_duration)
    cookie: SessionCookie | None = optional(obj(SessionCookie))
    header: SessionHeader | None = optional(obj(SessionHeader))

    def check(self) -> Iterator[tuple[str, str]]:
        for kind, value in (("Cookie", self.cookie), ("Header", self.header)):
            if kind == self.type and value is None:
                yield kind.lower(), f"is required when type is {kind}"
            if kind != self.type and value is not None:
                yield kind.lower(), f"must not be given when type is {self.type}"
        permanent = self.cookie is not None and self.cookie.lifetime_type == "Permanent"
        if permanent and self.absolute_timeout_s is None:
            yield "absoluteTimeout", "is required when the cookie's lifetimeType is Permanent"
