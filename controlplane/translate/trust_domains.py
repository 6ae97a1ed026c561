"""Trust-domain aliases: a principal of one of the mesh's domains means those of all of them.

Istio's rule: what counts is a principal of the form DOMAIN/ns/NAMESPACE/sa/ACCOUNT whose domain is
the mesh's or an alias (by a '*' in front or behind too), or `cluster.local`, which stands for the
mesh's own whatever it is called. Any other principal means itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LOCAL = "cluster.local"
_PARTS = 5


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """The mesh's own comes first."""

    names: tuple[str, ...]

    def principals(self, values: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(as written, meant) for each, in order, nothing twice."""
        for value in values:
            yield from dict.fromkeys((value, meant) for meant in self._meant(value))

    def _meant(self, principal: str) -> Iterator[str]:
        domain, _, rest = principal.partition("/")
        whole = principal.count("/") == _PARTS - 1 and domain != "*"
        if not whole or not self._is_ours(domain):
            yield principal
            return
        for one in self.names:
            yield principal if _ends(one, domain) else f"{one}/{rest}"

    def _is_ours(self, domain: str) -> bool:
        return domain == LOCAL or any(_matches(one, domain) for one in self.names)

    def domains(self, values: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The same of bare trust domains."""
        for value in values:
            for meant in self.names if value in self.names else (value,):
                yield value, meant


def _matches(domain: str, pattern: str) -> bool:
    if pattern.endswith("*") and domain.startswith(pattern[:-1]):
        return True
    return domain == pattern or _ends(domain, pattern)


def _ends(domain: str, pattern: str) -> bool:
    return pattern.startswith("*") and domain.endswith(pattern[1:])
