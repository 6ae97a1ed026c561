"""Who may refer to objects of another namespace: Gateway API's ReferenceGrants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from controlplane.kinds.gateway_api.policies import ReferenceGrant
from controlplane.kinds.gateway_api.references import Referring
from controlplane.kinds.gateway_api.words import GROUP
from controlplane.kinds.objects import Object


class Grants:
    __slots__ = ("_by_namespace",)

    def __init__(self, grants: Iterable[ReferenceGrant]) -> None:
        self._by_namespace: dict[str, list[ReferenceGrant]] = defaultdict(list)
        for grant in grants:
            self._by_namespace[grant.namespace].append(grant)

    def allows(self, source: Object, target: Referring, namespace: str) -> bool:
        """May an object of Gateway API refer to `target` in `namespace`? In its own it may."""
        if namespace == source.namespace:
            return True
        asking = (GROUP, source.kind(), source.namespace)
        return any(
            any((one.group, one.kind, one.namespace) == asking for one in grant.spec.sources)
            and any(
                (one.group, one.kind) == (target.group, target.kind)
                and one.name in ("", target.name)
                for one in grant.spec.targets
            )
            for grant in self._by_namespace.get(namespace, ())
        )
