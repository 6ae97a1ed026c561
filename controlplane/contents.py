"""One version for all that proxies get, by content: nothing new has the version that it had.

What did not change is the same object, and is not looked at again. Where something was written does
not count: who adds a comment changes nothing. It knows no resources; what they are made of decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import fields

from controlplane.mesh.credentials import Credential
from controlplane.mesh.model import Mesh, Service
from controlplane.translate.differences import differences
from protos.frozen import replace

_WORD = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_POSITION = re.compile(rf"Position\(source={_WORD}, line=\d+, column=\d+, path={_WORD}\)")

_APART = {"trust_domain", "services", "workloads", "pods", "credentials", "conditions"}
"""Fields of a Mesh that are looked at one by one, and what is only said of objects."""
_AS_WHOLE = tuple(one.name for one in fields(Mesh) if one.init and one.name not in _APART)
"""The others, of which mostly nothing changes."""


class Contents:
    """Of one mesh after the other."""

    __slots__ = ("_apart", "_credentials", "_known", "_services", "_workloads")

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, int]] = {}
        self._services = _Total(_bare)
        self._apart = _Total(_digest)
        self._workloads = _Total(_digest)
        self._credentials = _Total(_sealed)

    def version(self, mesh: Mesh, alike: str, apart: tuple[Service, ...]) -> str:
        """alike: the version of clusters and endpoints that are the same to all clients. apart:
        the services of which they are not."""
        found: list[object] = [self._of(name, getattr(mesh, name)) for name in _AS_WHOLE]
        found += [self._of("pods", mesh.pods.stamp), alike, mesh.trust_domain]
        found += [self._services.of(mesh.services), self._apart.of(apart)]
        found += [self._workloads.of(mesh.workloads), self._credentials.of(mesh.credentials)]
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16]

    def _of(self, name: str, value: object) -> int:
        known = self._known.get(name)
        if known is None or known[0] is not value:
            known = self._known[name] = (value, _digest(value))
        return known[1]


class _Total:
    """The sum of digests of many, of which mostly few are new."""

    __slots__ = ("_digest", "_items", "_sum")

    def __init__(self, digest: Callable[..., int]) -> None:
        self._items: tuple[object, ...] = ()
        self._sum = 0
        self._digest = digest

    def of(self, items: tuple[object, ...]) -> int:
        gone, new = differences(self._items, items)
        self._sum += sum(map(self._digest, new)) - sum(map(self._digest, gone))
        self._items = items
        return self._sum


def _digest(value: object) -> int:
    text = _POSITION.sub("", repr(value))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _bare(service: Service) -> int:
    """Endpoints, which are many, are in what was made of them."""
    return _digest(replace(service, endpoints=()))


def _sealed(one: Credential) -> int:
    """Also of what its representation does not show."""
    parts = (one.chain, one.private_key, one.roots, one.lists)
    return _digest((one, *(hashlib.sha256(part).hexdigest() for part in parts)))
