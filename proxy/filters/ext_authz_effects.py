"""What an authorization service's verdict does to a request: headers, query, metadata.

Headers that say how a message is framed are never taken from it: the next hop would read another
message than we sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from proxy.authz.question import HeaderWrite, Verdict
from proxy.http.headers import Headers
from proxy.http.message import Request

_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade"})
_NAME = re.compile(r":?[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_PSEUDO = re.compile(rb"[^\x00-\x20\x7f]+")  # has a place in a request line, which blanks end


def is_valid(verdict: Verdict) -> bool:
    """`validate_mutations`: names are tokens, values have no line ends (RFC 9110, 5.1 and 5.5)."""
    writes = (*verdict.headers, *verdict.response_headers)
    names = (*(each.name for each in writes), *verdict.remove)
    return all(_NAME.fullmatch(name) for name in names) and all(
        _VALUE.fullmatch(each.value) for each in writes
    )


def edit_request(request: Request, verdict: Verdict) -> bool:
    """True: something was changed that a route may look at."""
    writes = sorted(verdict.headers, key=lambda each: each.how == "append")
    for each in writes:
        _write_request(request, each)
    for name in verdict.remove:
        if not name.startswith(":") and name != "host" and name not in _FRAMING:
            request.headers.remove(name.encode())
    if verdict.query_set or verdict.query_remove:
        request.path = edited_query(request.path, verdict.query_set, verdict.query_remove)
    return bool(verdict.headers or verdict.remove or verdict.query_set or verdict.query_remove)


def _write_request(request: Request, write: HeaderWrite) -> None:
    name, value = write.name, write.value
    if (name.startswith(":") or name == "host") and not _PSEUDO.fullmatch(value):
        return
    if name == ":path":
        request.path = value
    elif name == ":method":
        request.method = value
    elif name in (":authority", "host"):
        request.authority = value
    elif name == ":scheme":
        request.scheme = value
    else:
        edit_headers(request.headers, (write,))


def edit_headers(headers: Headers, writes: Iterable[HeaderWrite]) -> None:
    for each in writes:
        if each.name.startswith(":") or each.name in _FRAMING or not is_safe(each):
            continue
        name, value = each.name.encode(), each.value
        present = name in headers
        if each.how == "set" or (each.how == "overwrite_if_exists" and present):
            headers.set(name, value)
        elif each.how == "add" or (each.how == "add_if_absent" and not present):
            headers.add(name, value)
        elif each.how == "append" and present:
            known = headers.joined(name) or b""
            headers.set(name, b"%b,%b" % (known, value) if known else value)


def is_safe(write: HeaderWrite) -> bool:
    """What could not be written as one header is left out."""
    return bool(_NAME.fullmatch(write.name)) and bool(_VALUE.fullmatch(write.value))


def edited_query(path: bytes, sets: Iterable[tuple[str, str]], removes: Iterable[str]) -> bytes:
    """Sorted by name (Envoy). Those that are not touched stay as they are spelled."""
    bare, _, query = path.partition(b"?")
    dropped = {name.encode() for name in removes}
    new = {name.encode(): value.encode() for name, value in sets}
    pairs = [one.partition(b"=") for one in query.split(b"&") if one]
    kept = [pair for pair in pairs if unquote_to_bytes(pair[0]) not in dropped | new.keys()]
    kept += [
        (_legal(name), b"=", _legal(value)) for name, value in new.items() if name not in dropped
    ]
    text = b"&".join([b"".join(pair) for pair in sorted(kept, key=lambda pair: pair[0])])
    return bare + b"?" + text if text else bare


def _legal(part: bytes) -> bytes:
    """What cannot stand in a query is escaped; the rest is as the service wrote it."""
    return quote_from_bytes(part, safe="%!$&'()*+,;=:@/?").encode()
