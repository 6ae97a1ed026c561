"""IST0171: what a controller has already said against an object, in its status."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Items

_KINDS = ("Service", "ServiceEntry", "AuthorizationPolicy")


def negative(items: Items) -> Iterator[Finding]:
    for kind in _KINDS:
        for item in items.of(kind):
            for condition in item.body["status"]["conditions"].items:
                if condition["status"].text.lower() == "false":
                    message = (
                        f"the condition {condition['type'].text} is false "
                        f"({condition['reason'].text}): {condition['message'].text}"
                    )
                    yield Finding("IST0171", item, condition.position, message)
