"""What a shape means to HTTP/1, found once per shape: a `Plan`.

A plan knows where the headers stand that HTTP/1 itself acts on, and how to hand on the rest: the
hop-by-hop ones end here (RFC 9110 section 7.6.1). After a shape was seen a few times its plan gets
`match`, a regular expression that reads a head with just these names and takes its values out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.http.h1.grammar import LEGAL, STATUS_LINE
from proxy.http.headers import Pick, Shape, picker, shape_of

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade",
     b"te", b"http2-settings")
)  # fmt: skip
# Headers whose value decides how a message is framed or what becomes of the connection.
GOVERNING = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te")
)
SIMPLE: tuple[list[bytes], ...] = (
    [],
    [b"connection"],
    [b"connection", b"content-length"],
    [b"content-length"],
)
KEEP_ALIVE = (b"keep-alive", b"Keep-Alive")
# What needs no second look: all that is legal but the tab, which may have to be stripped.
PLAIN = LEGAL.replace(b"\t", b"")
COMPILE_AFTER_USES = 3
MAX_COMPILED = 512

Match = Callable[[bytes], "re.Match[bytes] | None"]
# Other methods are rare; the grammar knows them.
FAST_REQUEST_LINE = (
    rb"(GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS) (/[^\x00-\x20#\x7f-\xff]*+) HTTP/1\.1\r\n"
)


class Plan:
    """`rest` and `pick` leave out the hop-by-hop headers and host. simple: of the headers that
    govern the message there are at most one Content-Length (at `length_at`) and one Connection (at
    `connection_at`; -1: none). crlfs: a legal head without its legal characters."""

    __slots__ = (
        "connection_at",
        "crlfs",
        "host_at",
        "hosts",
        "length_at",
        "match",
        "pick",
        "rest",
        "shape",
        "simple",
        "sized",
        "uses",
    )

    def __init__(self, shape: Shape) -> None:
        kept = [
            at for at, name in enumerate(shape.names) if name not in HOP_BY_HOP and name != b"host"
        ]
        governing = [name for name in shape.names if name in GOVERNING]
        self.shape = shape
        self.rest = shape_of(tuple([shape.wire[at] for at in kept]))
        self.pick: Pick = picker(kept)
        self.hosts = len(shape.positions(b"host"))
        self.host_at = shape.index.get(b"host", -1)
        self.length_at = shape.index.get(b"content-length", -1)
        self.connection_at = shape.index.get(b"connection", -1)
        self.simple = sorted(governing) in SIMPLE
        self.sized = self.simple and self.length_at >= 0
        self.crlfs = b"\r\n" * (len(shape.names) + 2)
        self.match: Match | None = None
        self.uses = 0

    def read(self, data: bytes, head_bytes: int) -> tuple[tuple[bytes, ...], int] | None:
        """The groups of `match` and where the head ends, if `data` begins with a head of these
        names in which nothing needs a second look: legal characters, no white space to strip."""
        if self.match is None:
            return None
        found = self.match(data)
        if found is None:
            return None
        end = found.end()
        head = data if end == len(data) else data[:end]
        if end <= head_bytes and head.translate(None, PLAIN) == self.crlfs:
            return found.groups(), end
        return None


class Plans:
    """All plans for one kind of start line, bounded; the regexes among them bounded again."""

    def __init__(self, start_line: bytes, hosts_wanted: int) -> None:
        self._start_line = start_line
        self._hosts_wanted = hosts_wanted
        self._plans: dict[Shape, Plan] = {}
        self._compiled = 0
        self._latest: Plan | None = None
        self._latest_under: object = None

    def plan(self, shape: Shape) -> Plan:
        found = self._plans.get(shape)
        if found is None:
            if not shape.lasting:
                return Plan(shape)
            if len(self._plans) >= 4 * MAX_COMPILED:
                self._plans.clear()
                self._compiled = 0
            found = self._plans[shape] = Plan(shape)
        found.uses += 1
        if found.uses == COMPILE_AFTER_USES and self._compiled < MAX_COMPILED:
            self._compile(found)
        return found

    def latest(self, limits: object) -> Plan | None:
        """The last that a head has passed under these limits: clients of one kind open one
        connection after the other."""
        return self._latest if self._latest_under is limits else None

    def passed(self, plan: Plan, limits: object) -> None:
        """A head of that shape keeps the limits."""
        self._latest, self._latest_under = plan, limits

    def _compile(self, plan: Plan) -> None:
        if plan.hosts != self._hosts_wanted:
            return
        # A value that begins or ends with a space does not match: the grammar will strip it.
        fields = [re.escape(name) + rb": (?! )([^\r]*[^ \r])\r\n" for name in plan.shape.wire]
        plan.match = re.compile(self._start_line + b"".join(fields) + rb"\r\n").match
        self._compiled += 1


request_plans = Plans(FAST_REQUEST_LINE, hosts_wanted=1)
response_plans = Plans(STATUS_LINE, hosts_wanted=0)
