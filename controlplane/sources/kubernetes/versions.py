"""Resource versions: opaque, and yet comparable where both are decimal numbers (Kubernetes 1.35,
KEP-5504), which every kube-apiserver's are.
"""

from __future__ import annotations


def comparable(version: str) -> bool:
    """A decimal number without leading zeros; "0" is a word of lists and no object's version."""
    return version.isascii() and version.isdigit() and version[0] != "0"


def is_newer(version: str, than: str) -> bool:
    """True also where it can't be known, unless they are equal: then it is taken as it comes."""
    if comparable(version) and comparable(than):
        return (len(version), version) > (len(than), than)
    return not version or version != than


def newest(first: str, second: str) -> str:
    """The higher one; `second` where that can't be known."""
    return second if is_newer(second, first) else first
