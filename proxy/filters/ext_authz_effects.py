"""What an authorization service's verdict does to a request: headers, query, metadata.

Headers that say how a message is framed are never taken from it: the next hop would read another
message than we sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from proxy.authz.question import HeaderWrite, Verdict
from proxy.http.headers import Headers
from proxy.http.message import Request

_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade"})
_NAME = re.compile(r":?[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")


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
    """Parameters that are set stand behind the others, which stay as they are spelled."""
    bare, _, query = path.partition(b"?")
    new = {name.encode(): value.encode() for name, value in sets}
    gone = {*new, *(name.encode() for name in removes)}
    pairs = [one for one in query.split(b"&") if one]
    kept = [one for one in pairs if unquote_to_bytes(one.partition(b"=")[0]) not in gone]
    dropped = {name.encode() for name in removes}
    kept += [b"%b=%b" % pair for pair in new.items() if pair[0] not in dropped]
    return bare + b"?" + b"&".join(kept) if kept else bare
