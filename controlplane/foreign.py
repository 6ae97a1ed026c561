"""What others say of themselves, fit for a line of a log and for somebody's terminal."""

from __future__ import annotations


def printable(said: str, most: int) -> str:
    """At most so many characters. Lines become one; what else can't be shown is a question mark."""
    text = said[:most]
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " if one == "\n" else "?" for one in text)
