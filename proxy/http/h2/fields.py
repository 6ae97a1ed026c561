"""What the names of a header block mean (RFC 9113 section 8), found once per tuple of names.

A `Layout` says where the pseudo-header fields stand, which of the others are passed on, and whether
names and arrangement are legal at all. `read_request` and `read_response` make messages of it and
judge the values. A fault is Envoy's word for it, raised as `BadMessage`: the stream is reset.
"""

from __future__ import annotations

import re

from proxy.http.h2.errors import INVALID_FIELD, MESSAGING, UNDERSCORE
from proxy.http.h2.options import DROP_UNDERSCORES, REJECT_UNDERSCORES
from proxy.http.headers import Headers, Pick, Shape, picker, remember, shape_of
from proxy.http.message import CHUNKED, Request, Response

VERSION = b"HTTP/2"
MAX_LAYOUTS = 1024
MAX_LENGTH = 2**63 - 1
MAX_KNOWN = 1024
MAX_KNOWN_BYTES = 320

REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
RESPONSE_PSEUDO = frozenset((b":status",))
# Of the connection in HTTP/1; illegal here (section 8.2.2).
CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

# What Envoy takes, byte for byte.
_name_match = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_method_match = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_scheme_match = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_authority_match = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]+").fullmatch
_length_match = re.compile(rb"[0-9]{1,19}").fullmatch
_status_match = re.compile(rb"[0-9]{3}").fullmatch


class BadMessage(Exception):
    """A stream error (section 8.1.1). detail: Envoy's word."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Layout:
    """For one tuple of names. size, count: of the names. fault: why no block of these names is
    legal, or ''. The numbers say where a field stands, -1 for nowhere. shape, pick: what is passed
    on. plain: there is nothing to judge but the values of pseudo-headers, content-length and te."""

    __slots__ = (
        "authority", "cookies", "count", "dropped", "fault", "host", "length", "method", "names",
        "path", "pick", "plain", "protocol", "pseudo", "scheme", "shape", "size", "status", "te",
    )  # fmt: skip

    def __init__(
        self, names: tuple[bytes, ...], pseudo: frozenset[bytes], underscores: int
    ) -> None:
        self.names = list(names)
        self.count = len(names)
        self.size = sum(map(len, names))
        self.fault = _fault(names, pseudo)
        at = {name: where for where, name in reversed(list(enumerate(names)))}
        self.method = at.get(b":method", -1)
        self.scheme = at.get(b":scheme", -1)
        self.authority = at.get(b":authority", -1)
        self.path = at.get(b":path", -1)
        self.protocol = at.get(b":protocol", -1)
        self.status = at.get(b":status", -1)
        self.length = at.get(b"content-length", -1)
        self.te = at.get(b"te", -1)
        self.pseudo = len([name for name in names if name[:1] == b":"])
        self.host = at.get(b"host", -1) if b":method" in pseudo else -1
        self.cookies = [where for where, name in enumerate(names) if name == b"cookie"]
        if len(self.cookies) < 2:
            self.cookies = []
        self.dropped = 0
        self._arrange(names, underscores)

    def _arrange(self, names: tuple[bytes, ...], underscores: int) -> None:
        """Which values are passed on: not the pseudo-header fields and the host, which have places
        of their own, and of several cookies one (section 8.2.3)."""
        gone = {*range(self.pseudo), self.host, *self.cookies}
        bad = [where for where in range(len(names)) if b"_" in names[where]]
        if underscores == DROP_UNDERSCORES:
            self.dropped = len(bad)
            gone.update(bad)
        elif underscores == REJECT_UNDERSCORES and bad and not self.fault:
            self.fault = UNDERSCORE
        kept = [where for where in range(len(names)) if where not in gone]
        rest = [names[where] for where in kept]
        if self.cookies:
            rest.append(b"cookie")
        self.shape: Shape = shape_of(tuple(rest))
        whole = kept == list(range(self.pseudo, len(names)))
        self.pick: Pick | None = None if whole else picker(kept)
        self.plain = (
            whole
            and not self.fault
            and self.protocol < 0
            and (
                self.te < 0
                if self.status >= 0
                else -1 not in (self.method, self.path, self.scheme, self.authority)
            )
        )

    def headers(self, values: list[bytes]) -> Headers:
        if self.pick is None:
            return Headers(self.shape, tuple(values[self.pseudo :]))
        kept = self.pick(tuple(values))
        if self.cookies:
            kept += (b"; ".join([values[where] for where in self.cookies]),)
        return Headers(self.shape, kept)


def _fault(names: tuple[bytes, ...], pseudo: frozenset[bytes]) -> str:
    """Section 8.2 and 8.3, of names alone."""
    seen = set()
    regular = False
    for name in names:
        if name[:1] == b":":
            if regular or name in seen or name not in pseudo:
                return INVALID_FIELD
        else:
            regular = True
            if name in CONNECTION or _name_match(name) is None:
                return INVALID_FIELD
            if name == b"content-length" and not pseudo:
                return MESSAGING  # a trailer says nothing of framing (RFC 9110 section 6.5.1)
            if name in (b"content-length", b"host", b"te") and name in seen and pseudo:
                return INVALID_FIELD
        seen.add(name)
    return ""


class Layouts:
    """The layouts of one kind of block, by their names; bounded."""

    __slots__ = ("_known", "_pseudo", "_underscores")

    def __init__(self, pseudo: frozenset[bytes], underscores: int = 0) -> None:
        self._pseudo = pseudo
        self._underscores = underscores
        self._known: dict[tuple[bytes, ...], Layout] = {}

    def of(self, names: list[bytes]) -> Layout:
        key = tuple(names)
        found = self._known.get(key)
        if found is None:
            found = Layout(key, self._pseudo, self._underscores)
            remember(self._known, key, found.shape, found, MAX_LAYOUTS)
        return found


request_layouts = tuple([Layouts(REQUEST_PSEUDO, action) for action in (0, 1, 2)])
response_layouts = Layouts(RESPONSE_PSEUDO)
trailer_layouts = Layouts(frozenset())

_statuses = {b"%d" % status: status for status in range(200, 600)}
_schemes = {b"http", b"https"}
_methods = {b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS"}
_authorities: set[bytes] = set()


def read_request(layout: Layout, values: list[bytes], end: bool, tunnels: bool) -> Request:
    """tunnels: extended CONNECT is allowed (RFC 8441). Raises BadMessage."""
    if layout.plain:
        method = values[layout.method]
        path = values[layout.path]
        scheme = values[layout.scheme]
        authority = values[layout.authority]
        if (
            method in _methods
            and path[:1] == b"/"
            and b" " not in path
            and b"\t" not in path
            and scheme in _schemes
            and authority in _authorities
            and (layout.te < 0 or values[layout.te] == b"trailers")
        ):
            headers = Headers(layout.shape, tuple(values[layout.pseudo :]))
            length = 0 if end else CHUNKED
            if layout.length >= 0:
                length = _length(values[layout.length], end)
            return Request(method, path, authority, headers, length, VERSION, scheme)
    return _read_request(layout, values, end, tunnels)


def _read_request(layout: Layout, values: list[bytes], end: bool, tunnels: bool) -> Request:
    """Any request, step by step."""
    if layout.fault:
        raise BadMessage(layout.fault)
    if layout.method < 0 or (layout.authority < 0 and layout.host < 0):
        raise BadMessage(MESSAGING)
    method = values[layout.method]
    if method not in _methods:
        if method == b"CONNECT":
            return _connect(layout, values, tunnels)
        if _method_match(method) is None:
            raise BadMessage(INVALID_FIELD)
    if layout.path < 0 or layout.scheme < 0 or layout.protocol >= 0:
        raise BadMessage(MESSAGING)
    path = values[layout.path]
    scheme = values[layout.scheme]
    if path[:1] != b"/" or b" " in path or b"\t" in path or scheme not in _schemes:
        _check_target(method, path, scheme)
    request = Request(
        method,
        path,
        _authority(layout, values),
        layout.headers(values),
        0 if end else CHUNKED,
        VERSION,
        scheme,
    )
    request.length = _checked_length(layout, values, end)
    return request


def _check_target(method: bytes, path: bytes, scheme: bytes) -> None:
    if _scheme_match(scheme) is None or not path or b" " in path or b"\t" in path:
        raise BadMessage(INVALID_FIELD)
    if path[:1] != b"/" and scheme.lower() in _schemes and (path, method) != (b"*", b"OPTIONS"):
        raise BadMessage(MESSAGING)


def _authority(layout: Layout, values: list[bytes]) -> bytes:
    """`:authority`, or else the host header (section 8.3.1). Both are judged."""
    for at in (layout.authority, layout.host):
        if at >= 0 and values[at] not in _authorities:
            authority = values[at]
            if _authority_match(authority) is None:
                raise BadMessage(INVALID_FIELD)
            if len(authority) <= MAX_KNOWN_BYTES:
                if len(_authorities) >= MAX_KNOWN:
                    _authorities.clear()
                _authorities.add(authority)
    return values[layout.authority if layout.authority >= 0 else layout.host]


def _connect(layout: Layout, values: list[bytes], tunnels: bool) -> Request:
    """CONNECT (section 8.5), and the extended one, which becomes the GET that HTTP/1.1 would have
    (RFC 8441 section 4; so does Envoy)."""
    if layout.authority < 0:
        raise BadMessage(MESSAGING)
    authority = _authority(layout, values)
    headers = layout.headers(values)
    if layout.protocol < 0:
        if layout.path >= 0 or layout.scheme >= 0:
            raise BadMessage(MESSAGING)
        _checked_length(layout, values, False)
        return Request(b"CONNECT", b"", authority, headers, CHUNKED, VERSION)
    if not tunnels or not values[layout.protocol]:
        raise BadMessage(INVALID_FIELD)
    if layout.path < 0 or layout.scheme < 0:
        raise BadMessage(MESSAGING)
    path, scheme = values[layout.path], values[layout.scheme]
    _check_target(b"CONNECT", path, scheme)
    _checked_length(layout, values, False)
    request = Request(b"GET", path, authority, headers, CHUNKED, VERSION, scheme)
    request.upgrade = values[layout.protocol]
    return request


def _checked_length(layout: Layout, values: list[bytes], end: bool) -> int:
    """The length of a message whose layout isn't plain; judges what makes it so."""
    if layout.te >= 0 and values[layout.te].lower() != b"trailers":
        raise BadMessage(INVALID_FIELD)
    if layout.length >= 0:
        return _length(values[layout.length], end)
    return 0 if end else CHUNKED


def _length(written: bytes, end: bool) -> int:
    """A content-length; end: there is no body."""
    if _length_match(written) is None or int(written) > MAX_LENGTH:
        raise BadMessage(INVALID_FIELD)
    length = int(written)
    if end and length:
        raise BadMessage(MESSAGING)
    return length


def read_response(layout: Layout, values: list[bytes], end: bool) -> Response:
    """length is what content-length says, whatever the request was. Raises BadMessage."""
    if layout.fault:
        raise BadMessage(layout.fault)
    if layout.status < 0:
        raise BadMessage(MESSAGING)
    written = values[layout.status]
    if layout.plain and written in _statuses:
        headers = Headers(layout.shape, tuple(values[layout.pseudo :]))
        length = 0 if end else CHUNKED
        if layout.length >= 0:
            length = _length(values[layout.length], False)
        return Response(_statuses[written], headers, length)
    if _status_match(written) is None or written == b"101":
        raise BadMessage(INVALID_FIELD)  # section 8.6: 101 is of HTTP/1.1
    length = _checked_length(layout, values, False)
    return Response(int(written), layout.headers(values), 0 if end and length < 0 else length)
