"""Envoy's time formats (`%START_TIME(...)%`): strftime with sub-seconds, compiled once.

Beside what strftime knows: `%f` and `%1f` .. `%9f` are digits of the second's fraction (nine when
not said), `%s` is seconds since the epoch, `%E3S` is seconds with a fraction, `%Ez` is an offset
with a colon. Reads no clock: the time is an argument.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

DEFAULT = "%Y-%m-%dT%H:%M:%S.%3fZ"
DEFAULT_LOCAL = "%Y-%m-%dT%H:%M:%S.%3f%z"

_SPECIAL = re.compile(
    r"(?P<percent>%%)|%(?P<digits>[1-9]?)f|(?P<epoch>%[1-9]?s)|%E(?P<second>[1-9])S"
    r"|(?P<offset>%Ez)|(?P<zone>%Z)"
)
_NEWLINE = re.compile(r"\n|\r|%[-_0^#]*[1-9]*[EO]?n")
_UNKNOWN = re.compile(r"%E[0-9*T]")


def time_format_fault(text: str) -> str:
    """What is wrong with a format, '' if nothing is."""
    if _NEWLINE.search(text):
        return "a time format must not make new lines"
    rest = _SPECIAL.sub("", text)
    if found := _UNKNOWN.search(rest):
        return f"time formats with {found[0]} are not supported"
    return ""


def compile_time(text: str, local: bool = False) -> Callable[[float], str]:
    """A function from seconds since the epoch to text; UTC unless `local`.

    What changes once a second is made once a second: a call pays for the fraction."""
    pieces, scales = _pieces(text)
    broken_down = time.localtime if local else time.gmtime
    only = scales[0] if len(scales) == 1 else None
    second = -1
    template = ""

    def at(when_s: float) -> str:
        nonlocal second, template
        fraction_s = when_s - second
        if not 0.0 <= fraction_s < 1.0:
            second = int(when_s)
            fraction_s = when_s - second
            fields = broken_down(second)
            template = "".join([piece(fields, second) for piece in pieces])
        if only is not None:
            return template % int(fraction_s * only)
        return template % tuple([int(fraction_s * scale) for scale in scales])

    return at


Piece = Callable[[time.struct_time, int], str]


def _pieces(text: str) -> tuple[list[Piece], list[int]]:
    """Pieces that make, once a second, a template with a slot for each fraction; and how many units
    of each slot are in a second."""
    pieces: list[Piece] = []
    scales: list[int] = []
    begin = 0
    for found in _SPECIAL.finditer(text):
        if found.start() > begin:
            pieces.append(_strftime(text[begin : found.start()]))
        begin = found.end()
        if found["second"]:
            pieces.append(_strftime("%S."))
        width = found["second"] or found["digits"]
        if width is None:
            pieces.append(_FIXED[found.lastgroup or ""])
            continue
        digits = int(width or 9)
        pieces.append(_constant(f"%0{digits}d"))
        scales.append(10**digits)
    if begin < len(text):
        pieces.append(_strftime(text[begin:]))
    return pieces, scales


def _constant(text: str) -> Piece:
    return lambda _, __: text


def _strftime(text: str) -> Piece:
    return lambda at, _: time.strftime(text, at).replace("%", "%%")


def _offset(at: time.struct_time, _: int) -> str:
    """`+02:00` for `+0200`."""
    text = time.strftime("%z", at)
    return f"{text[:3]}:{text[3:]}"


def _zone(at: time.struct_time, _: int) -> str:
    """Envoy says UTC where the C library says GMT."""
    return at.tm_zone if at.tm_gmtoff or at.tm_zone != "GMT" else "UTC"


_FIXED: Mapping[str, Piece] = {
    "percent": _constant("%%"),
    "epoch": lambda _, now: str(now),
    "offset": _offset,
    "zone": _zone,
}
