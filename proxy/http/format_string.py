"""Reads Envoy's format strings (`%REQ(:METHOD)% %DURATION%`): the grammar, and which operators are.

Used by the configuration, to refuse a bad format by its name and place, and by the access log and
header values, which give the operators their meaning. Knows no request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal as OneOf

from proxy.http.time_format import time_format_fault

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^)\n]*)\))?(?::([0-9]+))?%")
_HEADER_NAME = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]*")  # RFC 9110 section 5.6.2, or pseudo
MAX_LENGTH = 2**32 - 1
BROUGHT = frozenset({"REQ_WITHOUT_QUERY"})


class FormatError(ValueError):
    """A format string that Envoy refuses, or with an operator that Weft does not have."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Operator:
    """`%NAME(arg?alt):max_length%`, or `(arg:alt)`. '' and None: not given."""

    name: str
    arg: str = ""
    alt: str = ""
    max_length: int | None = None


def _anything(arg: str, alt: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Syntax:
    """What may follow an operator's name. fault: what is wrong with its arguments, '' if nothing.
    same_as: the operator that it is another name of."""

    args: OneOf["none", "optional", "required"] = "none"
    separator: str = ""
    length: bool = False
    fault: Callable[[str, str], str] = _anything
    same_as: str = ""


def parse(text: str) -> tuple[Literal | Operator, ...]:
    """The parts in order; neighbouring literals are one. Raises FormatError."""
    parts: list[Literal | Operator] = []
    literal = ""
    at = 0
    while (begin := text.find("%", at)) >= 0:
        literal += text[at:begin]
        if text.startswith("%%", begin):
            literal += "%"
            at = begin + 2
            continue
        found = _OPERATOR.match(text, begin)
        if found is None:
            raise FormatError(
                f"no operator at position {begin} of {text!r} (a percent sign is written %%)"
            )
        if literal:
            parts.append(Literal(literal))
            literal = ""
        parts.append(_operator(found[1], found[2], found[3]))
        at = found.end()
    literal += text[at:]
    if literal:
        parts.append(Literal(literal))
    return tuple(parts)


def check_format(text: str, brought: Set[str] = frozenset()) -> None:
    """Raises FormatError, which names the operator, if `text` can't be compiled. brought: those
    that formatters bring; without its formatter Envoy does not know one of them."""
    for part in parse(text):
        if isinstance(part, Operator) and part.name in BROUGHT and part.name not in brought:
            raise FormatError(f"the operator %{part.name}% needs its formatter")


def _operator(name: str, args: str | None, length: str | None) -> Operator:
    syntax = OPERATORS.get(name)
    if syntax is None:
        raise FormatError(_unknown(name))
    if args and syntax.args == "none":
        raise FormatError(f"%{name}% takes no parameters")
    if not args and syntax.args == "required":
        raise FormatError(f"%{name}% needs a parameter: %{name}(...)%")
    if length is not None and (not syntax.length or int(length) > MAX_LENGTH):
        raise FormatError(f"%{name}% can't have the length {length}")
    arg, alt = args or "", ""
    if syntax.separator:
        arg, _, alt = arg.partition(syntax.separator)
    if fault := syntax.fault(arg, alt):
        raise FormatError(f"%{name}({args or ''})%: {fault}")
    return Operator(syntax.same_as or name, arg, alt, None if length is None else int(length))


def _unknown(name: str) -> str:
    close = get_close_matches(name, OPERATORS, 1)
    hint = f", did you mean %{close[0]}%?" if close else ""
    return f"the operator %{name}% is not supported{hint}"


def _header_fault(arg: str, alt: str) -> str:
    if "?" in alt:
        return "more than one alternative header"
    for name in (arg, alt):
        if not _HEADER_NAME.fullmatch(name):
            return f"{name!r} is no header name"
    return ""


def _mask_fault(arg: str, alt: str) -> str:
    if not arg or (arg.isdecimal() and len(arg) < 4 and int(arg) <= 128):
        return ""
    return "the parameter is the length of an address prefix, 0 to 128"


def _one_of(args: str, alts: str = "") -> Callable[[str, str], str]:
    def fault(arg: str, alt: str) -> str:
        for word, known in ((arg, args.split()), (alt.partition(":")[0], alts.split())):
            if word and word not in known:
                return f"{word!r} is not one of {', '.join(known)}"
        return ""

    return fault


def _path_fault(arg: str, alt: str) -> str:
    return "" if arg else "the namespace is missing"


def _metadata_fault(arg: str, alt: str) -> str:
    source, _, path = arg.partition(":")
    known = ("DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST")
    if source not in known:
        return f"{source!r} is not one of {', '.join(known)}"
    return "" if path else "the namespace is missing"


def _filter_state_fault(arg: str, alt: str) -> str:
    key, _, how = arg.partition(":")
    if not key:
        return "the key is missing"
    if how in ("", "PLAIN", "TYPED") or (how.startswith("FIELD:") and how != "FIELD:"):
        return ""
    return f"{how!r} is not one of PLAIN, TYPED, FIELD:name"


POINTS = ("DS_RX_BEG", "DS_RX_END", "US_TX_BEG", "US_TX_END", "US_RX_BEG", "US_RX_END",
          "DS_TX_BEG", "DS_TX_END")  # fmt: skip
"""The points in time of `COMMON_DURATION`."""


def _duration_fault(arg: str, alt: str) -> str:
    begin, _, rest = arg.partition(":")
    end, _, unit = rest.partition(":")
    for point in (begin, end):
        if point not in POINTS:
            return f"{point!r} is not one of {', '.join(POINTS)}"
    return "" if unit in ("", "ms", "us", "ns") else f"{unit!r} is not one of ms, us, ns"


_PLAIN = Syntax()
_HEADER = Syntax("required", "?", length=True, fault=_header_fault)
_TIME = Syntax("optional", fault=lambda arg, alt: time_format_fault(arg))
_ADDRESS = Syntax("optional", fault=_mask_fault)
_TEXT = Syntax("required", length=True)

_DATA = Syntax("required", length=True, fault=_path_fault)
_GRPC = Syntax("optional", fault=_one_of("CAMEL_STRING SNAKE_STRING NUMBER"))

_NAMED: Mapping[str, Syntax] = {
    "CLUSTER_METADATA": _DATA,
    "COMMON_DURATION": Syntax("required", fault=_duration_fault),
    "DOWNSTREAM_PEER_CERT_V_END": _TIME,
    "DOWNSTREAM_PEER_CERT_V_START": _TIME,
    "UPSTREAM_PEER_CERT_V_END": _TIME,
    "UPSTREAM_PEER_CERT_V_START": _TIME,
    "DYNAMIC_METADATA": _DATA,
    "FILTER_STATE": Syntax("required", length=True, fault=_filter_state_fault),
    "GRPC_STATUS": _GRPC,
    "METADATA": Syntax("required", length=True, fault=_metadata_fault),
    "UPSTREAM_METADATA": _DATA,
    "REQ": _HEADER,
    "RESP": _HEADER,
    "TRAILER": _HEADER,
    "REQ_WITHOUT_QUERY": _HEADER,
    "REQUEST_HEADER": replace(_HEADER, same_as="REQ"),
    "RESPONSE_HEADER": replace(_HEADER, same_as="RESP"),
    "RESPONSE_TRAILER": replace(_HEADER, same_as="TRAILER"),
    "START_TIME": _TIME,
    "START_TIME_LOCAL": _TIME,
    "EMIT_TIME": _TIME,
    "EMIT_TIME_LOCAL": _TIME,
    "ENVIRONMENT": _TEXT,
    "QUERY_PARAM": _TEXT,
    "QUERY_PARAMS": Syntax("optional", length=True, fault=_one_of("ORIG DECODED")),
    "PATH": Syntax("optional", ":", True, _one_of("WQ NQ", "ORIG PATH ORIG_OR_PATH")),
    "REQUESTED_SERVER_NAME": Syntax(
        "optional",
        ":",
        fault=_one_of("SNI_ONLY SNI_FIRST HOST_FIRST", "ORIG HOST ORIG_OR_HOST"),
    ),
    "RESPONSE_CODE_DETAILS": Syntax("optional", fault=_one_of("ALLOW_WHITESPACES")),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _ADDRESS,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _ADDRESS,
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _ADDRESS,
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": _ADDRESS,
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _ADDRESS,
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _ADDRESS,
}

OPERATORS: Mapping[str, Syntax] = {
    **_NAMED,
    **dict.fromkeys(
        (
            "ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_SENT", "CONNECTION_TERMINATION_DETAILS",
            "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_LOCAL_PORT",
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_PORT",
            "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_URI_SAN",
            "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_EMAIL_SAN",
            "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_FINGERPRINT_256",
            "DOWNSTREAM_PEER_IP_SAN", "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_SERIAL",
            "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_REMOTE_ADDRESS",
            "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_VERSION",
            "DOWNSTREAM_TRANSPORT_FAILURE_REASON", "DURATION", "GRPC_STATUS_NUMBER",
            "FILTER_CHAIN_NAME", "HOSTNAME", "LOCAL_REPLY_BODY",
            "PROTOCOL", "REQUEST_DURATION", "REQUEST_HEADERS_BYTES", "REQUEST_TX_DURATION",
            "RESPONSE_CODE", "RESPONSE_DURATION", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG",
            "RESPONSE_HEADERS_BYTES", "RESPONSE_TRAILERS_BYTES", "RESPONSE_TX_DURATION",
            "ROUTE_NAME", "SPAN_ID", "STREAM_ID", "TLS_JA3_FINGERPRINT", "TLS_JA4_FINGERPRINT",
            "TRACE_ID", "UNIQUE_ID", "UPSTREAM_CLUSTER",
            "UPSTREAM_CLUSTER_RAW", "UPSTREAM_HOST", "UPSTREAM_HOSTS_ATTEMPTED",
            "UPSTREAM_HOST_NAME", "UPSTREAM_HOST_NAME_WITHOUT_PORT", "UPSTREAM_LOCAL_ADDRESS",
            "UPSTREAM_LOCAL_PORT", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS",
            "UPSTREAM_REMOTE_PORT", "UPSTREAM_REQUEST_ATTEMPT_COUNT",
            "UPSTREAM_TRANSPORT_FAILURE_REASON", "VIRTUAL_CLUSTER_NAME",
            "DOWNSTREAM_LOCAL_DNS_SAN", "DOWNSTREAM_LOCAL_EMAIL_SAN", "DOWNSTREAM_LOCAL_IP_SAN",
            "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", "DOWNSTREAM_PEER_CHAIN_SERIALS",
            "UPSTREAM_LOCAL_DNS_SAN", "UPSTREAM_LOCAL_IP_SAN", "UPSTREAM_LOCAL_URI_SAN",
            "UPSTREAM_PEER_CERT", "UPSTREAM_PEER_DNS_SAN", "UPSTREAM_PEER_IP_SAN",
            "UPSTREAM_PEER_ISSUER", "UPSTREAM_PEER_SUBJECT", "UPSTREAM_PEER_URI_SAN",
            "UPSTREAM_TLS_CIPHER", "UPSTREAM_TLS_GROUP", "UPSTREAM_TLS_SESSION_ID",
            "UPSTREAM_TLS_VERSION", "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
            "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256", "DOWNSTREAM_PEER_ISSUER_SERIAL",
            "DOWNSTREAM_PEER_OTHERNAME_SAN", "DOWNSTREAM_TLS_GROUP", "DOWNSTREAM_TLS_SESSION_ID",
        ),
        _PLAIN,
    ),
}  # fmt: skip
"""Every operator that has a meaning here, by Envoy's name."""
