"""IST0176: CustomResourceDefinitions of Gateway API that are older than what is read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Items

_BUNDLE = "gateway.networking.k8s.io/bundle-version"
_LEAST = {
    "backendtlspolicies.gateway.networking.k8s.io": (1, 4, 0),
    "tlsroutes.gateway.networking.k8s.io": (1, 5, 0),
}
_OTHERS, _GROUP = (1, 1, 0), ".gateway.networking.k8s.io"
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


def old_definitions(items: Items) -> Iterator[Finding]:
    for item in items.of("CustomResourceDefinition"):
        found = _VERSION.match(item.annotations.get(_BUNDLE, ""))
        if found is None or not item.name.endswith(_GROUP):
            continue
        least = _LEAST.get(item.name, _OTHERS)
        if tuple(map(int, found.groups())) < least:
            message = (
                f"is of Gateway API {found[0]}, which has not all that is read of it; install "
                f"{'.'.join(map(str, least))} or newer"
            )
            position = item.body["metadata"]["annotations"][_BUNDLE].position
            yield Finding("IST0176", item, position, message)
