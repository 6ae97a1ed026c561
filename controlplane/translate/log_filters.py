"""Expressions of Telemetry's access logs (CEL) -> tests that proxies have words of their own for.

    response.code >= 500 || request.headers['x-debug'] == 'yes'
    !request.url_path.startsWith('/healthz') && request.duration > duration('250ms')

As in CEL, a question about what is not there has no answer, and neither has its opposite: nothing
is logged for it. So every expression is two tests, when it is true and when it is false. Attributes
of Envoy that no test of an ended stream speaks of are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from controlplane.kinds.regex import fault_of
from controlplane.mesh.model import StringMatch
from controlplane.mesh.re2 import quoted
from controlplane.mesh.telemetry import ALWAYS, NEVER, Compared, Every, HeaderTest, LogTest, Some

MAX_LENGTH = 4096
MAX_DEPTH = 32
_HEADERS = "request.headers"
_TEXTS: Mapping[str, str] = {
    "request.method": ":method",
    "request.host": ":authority",
    "request.path": ":path",
    "request.scheme": ":scheme",
    "request.useragent": "user-agent",
    "request.id": "x-request-id",
    "request.referer": "referer",
}
_URL_PATH = "request.url_path"
_NUMBERS: Mapping[str, Literal["status", "duration_ms"]] = {
    "response.code": "status",
    "request.duration": "duration_ms",
}
KNOWN = (*_NUMBERS, *_TEXTS, _URL_PATH, f"{_HEADERS}['name']")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<string>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>&&|\|\||[=!<>]=|[<>!().,\[\]]))"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


class NoFilter(ValueError):
    """An expression that can't be a test; the text says why."""


class Truth(NamedTuple):
    """When an expression is true, and when it is false."""

    yes: LogTest
    no: LogTest


def parse(expression: str) -> LogTest:
    """Raises NoFilter."""
    if len(expression) > MAX_LENGTH:
        raise NoFilter(f"is longer than {MAX_LENGTH} characters")
    reader = _Reader(_tokens(expression))
    truth = reader.alternatives(0)
    if reader.here:
        raise NoFilter(f"has {reader.here!r} where it should end")
    return truth.yes


def _tokens(text: str) -> list[str]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise NoFilter(f"can't be read at {text[at:].lstrip()[:20]!r}")
        found.append(match[0].strip())
        at = match.end()
    return found


def _every(tests: list[LogTest]) -> LogTest:
    found = tuple(one for one in tests if one != ALWAYS)
    if NEVER in found:
        return NEVER
    return found[0] if len(found) == 1 else Every(found)


def _some(tests: list[LogTest]) -> LogTest:
    found = tuple(one for one in tests if one != NEVER)
    if ALWAYS in found:
        return ALWAYS
    return found[0] if len(found) == 1 else Some(found)


class _Reader:
    """`here` is the token that is read next, '' behind the last."""

    __slots__ = ("_at", "_tokens", "here")

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = (*tokens, "")
        self._at = 0
        self.here: str = self._tokens[0]

    def take(self) -> str:
        token = self.here
        self._at = min(self._at + 1, len(self._tokens) - 1)
        self.here = self._tokens[self._at]
        return token

    def expect(self, *tokens: str) -> None:
        for token in tokens:
            if self.here != token:
                raise NoFilter(f"has {self.here or 'its end'!r} where {token!r} should be")
            self.take()

    def alternatives(self, depth: int) -> Truth:
        if depth > MAX_DEPTH:
            raise NoFilter(f"is nested deeper than {MAX_DEPTH} levels")
        found = [self._conjunction(depth)]
        while self.here == "||":
            self.take()
            found.append(self._conjunction(depth))
        return Truth(_some([one.yes for one in found]), _every([one.no for one in found]))

    def _conjunction(self, depth: int) -> Truth:
        found = [self._unary(depth)]
        while self.here == "&&":
            self.take()
            found.append(self._unary(depth))
        return Truth(_every([one.yes for one in found]), _some([one.no for one in found]))

    def _unary(self, depth: int) -> Truth:
        negative = False
        while self.here == "!":
            self.take()
            negative = not negative
        if self.here == "(":
            self.take()
            found = self.alternatives(depth + 1)
            self.expect(")")
        else:
            found = self._test()
        return Truth(found.no, found.yes) if negative else found

    # ------------------------------------------------------------------ tests

    def _test(self) -> Truth:
        if self.here == "true":
            self.take()
            return Truth(ALWAYS, NEVER)
        if self.here == "false":
            self.take()
            return Truth(NEVER, ALWAYS)
        if self.here == "has":
            return self._has()
        if self.here[:1] in ("'", '"'):
            return self._literal_first()
        if self.here.isdecimal() or self.here == "duration":
            number, (op, place) = self._number(), (self._operator(), self._attribute())
            return _compared(place, _FLIPPED[op], number)
        return self._about(self._attribute())

    def _has(self) -> Truth:
        self.expect("has", "(")
        place = self._attribute()
        self.expect(")")
        return _there(place)

    def _literal_first(self) -> Truth:
        value = self._string()
        if self.here == "in":
            self.take()
            self.expect("request", ".", "headers")
            return _there(_Place("header", value.lower()))
        op = self._operator()
        return _equal(self._attribute(), op, value)

    def _about(self, place: _Place) -> Truth:
        """What stands behind an attribute."""
        if self.here == ".":
            self.take()
            function = self.take()
            self.expect("(")
            value = self._string()
            self.expect(")")
            return _called(place, function, value)
        op = self._operator()
        if self.here[:1] in ("'", '"'):
            return _equal(place, op, self._string())
        return _compared(place, op, self._number())

    def _operator(self) -> str:
        op = self.take()
        if op not in _NEGATED:
            raise NoFilter(f"has {op or 'its end'!r} where a comparison should be")
        return op

    def _string(self) -> str:
        token = self.take()
        if token[:1] not in ("'", '"'):
            raise NoFilter(f"has {token or 'its end'!r} where a string should be")
        return re.sub(r"\\(.)", _unescaped, token[1:-1])

    def _number(self) -> int:
        """Of a duration the milliseconds."""
        token = self.take()
        if token.isdecimal():
            return _bounded(int(token[:12]))
        if token != "duration":
            raise NoFilter(f"has {token or 'its end'!r} where a number should be")
        self.expect("(")
        text = self._string()
        self.expect(")")
        found = _DURATION.fullmatch(text)
        if found is None:
            raise NoFilter(f"has the duration {text!r}; write one as '250ms' or '1.5s'")
        return _bounded(round(float(found[1]) * _MILLISECONDS[found[2]]))

    def _attribute(self) -> _Place:
        name = self.take()
        while self.here == "." and f"{name}.{self._next}" in _PREFIXES:
            self.take()
            name = f"{name}.{self.take()}"
        if name == _HEADERS:
            self.expect("[")
            header = self._string()
            self.expect("]")
            return _Place("header", header.lower())
        if name in _TEXTS:
            return _Place("header", _TEXTS[name])
        if name == _URL_PATH:
            return _Place("path", ":path")
        if name in _NUMBERS:
            return _Place(_NUMBERS[name], name)
        raise NoFilter(self._unknown(name))

    def _unknown(self, name: str) -> str:
        """The whole name: the rest of it stands before us."""
        while self.here == ".":
            self.take()
            name = f"{name}.{self.take()}"
        return f"asks for {name or 'nothing'!r}; what can be asked for is {', '.join(KNOWN)}"

    @property
    def _next(self) -> str:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]


_PREFIXES = frozenset((*_TEXTS, *_NUMBERS, _URL_PATH, _HEADERS))


class _Place(NamedTuple):
    """What is asked about. path: the request's without its query."""

    kind: Literal["header", "path", "status", "duration_ms"]
    name: str


def _unescaped(found: re.Match[str]) -> str:
    if found[1] not in "\\'\"":
        raise NoFilter(f"has the escape {found[0]!r}; only quotes and backslashes have one")
    return found[1]


def _bounded(number: int) -> int:
    if number >= 2**31:
        raise NoFilter(f"has the number {number}, which is too large")
    return number


# --------------------------------------------------------------------------- numbers


def _compared(place: _Place, op: str, number: int) -> Truth:
    if place.kind == "status" or place.kind == "duration_ms":
        return Truth(_comparison(place, op, number), _comparison(place, _NEGATED[op], number))
    raise NoFilter(f"compares {place.name!r}, which is a text, with a number")


def _comparison(place: _Place, op: str, number: int) -> LogTest:
    """A stream without a status code (0) is neither below nor unlike any."""
    of: Literal["status", "duration_ms"] = "status" if place.kind == "status" else "duration_ms"
    least = 1 if of == "status" else 0
    there = Compared(of, "GE", least) if of == "status" else ALWAYS
    if op == "==":
        return Compared(of, "EQ", number)
    if op == "!=":
        return _every([Compared(of, "NE", number), there])
    if op in (">", ">="):
        return Compared(of, "GE", max(number + (op == ">"), least))
    below = number - (op == "<")
    return _every([Compared(of, "LE", below), there]) if below >= least else NEVER


# --------------------------------------------------------------------------- texts


def _there(place: _Place) -> Truth:
    if place.kind == "status":
        return Truth(Compared("status", "GE", 1), Compared("status", "EQ", 0))
    if place.kind == "duration_ms":
        return Truth(ALWAYS, NEVER)
    return Truth(HeaderTest(place.name), HeaderTest(place.name, inverted=True))


def _matched(name: str, match: StringMatch) -> Truth:
    test = HeaderTest(name, match)
    return Truth(test, Every((HeaderTest(name), HeaderTest(name, match, inverted=True))))


def _equal(place: _Place, op: str, value: str) -> Truth:
    if op not in ("==", "!="):
        raise NoFilter(f"orders {place.name!r} by {op}, which is only for numbers")
    found = _called(place, "equals", value)
    return found if op == "==" else Truth(found.no, found.yes)


def _called(place: _Place, function: str, value: str) -> Truth:
    if place.kind not in ("header", "path"):
        raise NoFilter(f"asks {place.name!r}, which is a number, for a text")
    known = _OF_PATH if place.kind == "path" else _OF_TEXT
    if function not in known:
        functions = ", ".join(name for name in known if name != "equals")
        raise NoFilter(f"has the function {function!r} of {place.name!r}; known are {functions}")
    return _matched(place.name, known[function](value))


def _regex(value: str) -> StringMatch:
    if fault := fault_of(value):
        raise NoFilter(f"has a pattern that is none: {fault}")
    return StringMatch("regex", f".*(?:{value}).*")


def _within(form: str) -> Callable[[str], StringMatch]:
    return lambda value: StringMatch("regex", form.format(quoted(value)))


_OF_TEXT: Mapping[str, Callable[[str], StringMatch]] = {
    "equals": lambda value: StringMatch("exact", value),
    "startsWith": lambda value: StringMatch("prefix", value),
    "endsWith": _within(".*{}"),
    "contains": _within(".*{}.*"),
    "matches": _regex,
}
_OF_PATH: Mapping[str, Callable[[str], StringMatch]] = {
    "equals": _within("{}(\\?.*)?"),
    "startsWith": lambda value: StringMatch("prefix", value),
    "endsWith": _within("[^?]*{}(\\?.*)?"),
    "contains": _within("[^?]*{}.*"),
}
