"""Words that many messages of Envoy's configuration share: addresses, matchers, edits, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from protos.frozen import frozen


@frozen
class SocketAddress:
    """`core.v3.Address`: an IP and port, or a Unix socket (`path`, then host is '' and port 0).
    ipv4_compat: a listener on an IPv6 address takes IPv4 too."""

    host: str
    port: int = 0
    path: str = ""
    ipv4_compat: bool = False

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class CidrRange:
    address: str
    prefix_len: int


@frozen
class StringMatcher:
    """`type.matcher.v3.StringMatcher`. A regex is RE2 and must match the whole string."""

    kind: Literal["exact", "prefix", "suffix", "contains", "regex"]
    value: str
    ignore_case: bool = False


@frozen
class HeaderMatcher:
    """`route.v3.HeaderMatcher`: exactly one of string, range (start <= v < end), present."""

    name: str
    string: StringMatcher | None = None
    range: tuple[int, int] | None = None
    present: bool | None = None
    invert: bool = False
    treat_missing_as_empty: bool = False


@frozen
class QueryParameterMatcher:
    name: str
    string: StringMatcher | None = None
    present: bool | None = None


@frozen
class FractionalPercent:
    """`numerator` of `denominator` (100, 10_000 or 1_000_000); `runtime_key` may override it."""

    numerator: int
    denominator: int = 100
    runtime_key: str = ""


@frozen
class FilterStateMatcher:
    """`type.matcher.v3.FilterStateMatcher`: a string, or an address in one of the ranges."""

    key: str
    string: StringMatcher | None = None
    ranges: tuple[CidrRange, ...] = ()


AppendAction = Literal[
    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
]


@frozen
class HeaderValueOption:
    """`value` is an Envoy format string (`%DOWNSTREAM_REMOTE_ADDRESS%` ...)."""

    name: str
    value: str
    action: AppendAction = "APPEND_IF_EXISTS_OR_ADD"
    keep_empty_value: bool = False


@frozen
class HeaderEdits:
    """`*_headers_to_add` and `*_headers_to_remove` of one level (route, virtual host ...)."""

    request_add: tuple[HeaderValueOption, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    response_remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.request_add or self.request_remove or self.response_add or self.response_remove
        )


@frozen
class BodyFormat:
    """`core.v3.SubstitutionFormatString` of a body: text, or a JSON object of format strings."""

    text_format: str | None = None
    json_format: Mapping[str, Any] | None = None
    content_type: str = ""


Metadata = Mapping[str, Mapping[str, Any]]
"""`core.v3.Metadata.filter_metadata` as plain data: {filter name: {key: value}}."""
