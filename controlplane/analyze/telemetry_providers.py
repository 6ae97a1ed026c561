"""IST0157: access logging by no provider, where the mesh has no default one."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Items
from controlplane.analyze.mesh_settings import mesh_config


def missing_providers(items: Items) -> Iterator[Finding]:
    config = mesh_config(items)
    if config["defaultProviders"]["accessLogging"].items:
        return
    every = items.of("Telemetry", "istio.io")
    named = {
        item.namespace
        for item in every
        for log in item.spec["accessLogging"].items
        if log["providers"].items
    }
    for item in every:
        for log in item.spec["accessLogging"].items:
            if log["providers"].items or (log["disabled"].true and named):
                continue
            message = (
                "accessLogging names no provider, and the mesh has no default one: it is ignored; "
                "add providers: [{name: envoy}]"
            )
            yield Finding("IST0157", item, log.position, message)
