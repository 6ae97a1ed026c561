"""Kubernetes' Secret, as far as TLS needs it: certificates, keys, roots and revocation lists.

What else a Secret holds is not even kept. No message tells a value: it may be a key.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping

from controlplane.kinds.decoders import boolean, text
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Invalid, Place, Problem, names, optional, record
from controlplane.kinds.yaml_nodes import Mapping as MappingNode
from controlplane.kinds.yaml_nodes import Node, Scalar
from controlplane.mesh.position import Position

TLS = "kubernetes.io/tls"
MAX_BYTES = 1 << 20
"""Of one Secret, Kubernetes' limit."""

PAIRS = (("cert", "key"), ("tls.crt", "tls.key"))
ROOTS = ("cacert", "ca.crt")
LISTS = ("crl", "ca.crl")
"""The first that is there counts, Istio's generic names before those of kubernetes.io/tls."""

KEPT = frozenset((*(name for pair in PAIRS for name in pair), *ROOTS, *LISTS))


def _values(unpack: Callable[[str], bytes], expected: str) -> Callable[[Node, Place], Values]:
    def decode(node: Node, place: Place) -> Values:
        if not isinstance(node, MappingNode):
            raise Invalid([place.problem(node, "expected a mapping")])
        found: dict[str, bytes] = {}
        problems: list[Problem] = []
        for name, value in node.entries:
            content = _text(value)
            try:
                if content is None:
                    raise ValueError
                unpacked = unpack(content)
            except ValueError:
                problem = place.child(name.value).problem(value, f"expected {expected}")
                problems.append(problem)
                continue
            if name.value in KEPT:
                found[name.value] = unpacked
        if problems:
            raise Invalid(problems)
        return found

    return decode


Values = Mapping[str, bytes]


def _text(node: Node) -> str | None:
    """Null is an empty value, as in Kubernetes."""
    if not isinstance(node, Scalar) or node.kind not in ("string", "null"):
        return None
    return node.value if node.kind == "string" else ""


def _unpacked(content: str) -> bytes:
    """Base64, in which line breaks do not count. Raises ValueError."""
    try:
        return b64decode("".join(content.split()), validate=True)
    except binascii.Error:
        raise ValueError from None


@record
class Secret(Object):
    """data and string_data: the values that TLS may need, by name."""

    API_VERSIONS = names("v1")
    type: str = optional(text, "Opaque")
    immutable: bool = optional(boolean, False)
    data: Values = optional(_values(_unpacked, "a value in Base64"), {}, hidden=True)
    string_data: Values = optional(_values(str.encode, "a string"), {}, hidden=True)

    @property
    def values(self) -> Values:
        """stringData goes before data, as in Kubernetes."""
        return {**self.data, **self.string_data}

    def place_of(self, name: str) -> Position:
        """Where a value stands."""
        return self.at(f"{'stringData' if name in self.string_data else 'data'}.{name}")

    def check(self) -> Iterator[tuple[str, str]]:
        values = self.values
        for name in ("tls.crt", "tls.key") if self.type == TLS else ():
            if name not in values:
                yield "type", f"a Secret of type {TLS} needs {name}"
        if sum(map(len, values.values())) > MAX_BYTES:
            yield "data", f"more than {MAX_BYTES} bytes"
