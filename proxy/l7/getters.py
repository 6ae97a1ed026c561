"""What the closures of operators share: how a fact of a stream becomes a value of a line.

`Style` is what sets the access log, JSON and header values apart. Knows no operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.http.format_string import Operator

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

Value = str | int | None
Getter = Callable[["Logged"], Value]
Read = Callable[["Logged"], bytes | None]


@dataclass(frozen=True, slots=True)
class Style:
    """missing: what stands for a value that is not there. clean: makes a peer's text harmless.
    decode: its bytes to text, cleaned too. structured: objects and booleans stay what they are."""

    missing: str | None
    clean: Callable[[str], str]
    decode: Callable[[bytes], str]
    structured: bool = False


def of_text(fact: Callable[[Logged], str], style: Style) -> Getter:
    missing, clean = style.missing, style.clean

    def get(stream: Logged) -> Value:
        value = fact(stream)
        return clean(value) if value else missing

    return get


def of_optional(fact: Callable[[Logged], int | None], style: Style) -> Getter:
    missing = style.missing

    def get(stream: Logged) -> Value:
        value = fact(stream)
        return missing if value is None else value

    return get


def of_bytes(read: Read, operator: Operator, style: Style, other: Read | None = None) -> Getter:
    """`other` is asked when the first has nothing."""
    missing, decode, length = style.missing, style.decode, operator.max_length

    def get(stream: Logged) -> Value:
        value = read(stream)
        return missing if value is None else decode(value)

    def get_either(stream: Logged) -> Value:
        value = read(stream)
        if value is None and other is not None:
            value = other(stream)
        return missing if value is None else decode(value[:length])

    return get if other is None and length is None else get_either
