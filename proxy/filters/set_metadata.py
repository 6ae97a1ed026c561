"""`envoy.filters.http.set_metadata`: dynamic metadata that the configuration gives each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.filters.decode_set_metadata import TYPE_URL, SetMetadataConfig
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks

__all__ = ["TYPE_URL", "build"]


def build(config: SetMetadataConfig, context: FilterContext) -> Filter:
    return SetMetadata(config)


class SetMetadata:
    def __init__(self, config: SetMetadataConfig) -> None:
        self._config = config

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, SetMetadataConfig)
        entries = config.entries
        if not entries:
            return None

        def on_request(stream: FilterStream) -> None:
            for entry in entries:
                known = stream.metadata.get(entry.namespace)
                if known is None:
                    stream.metadata[entry.namespace] = merged({}, entry.value)
                elif entry.overwrites:
                    stream.metadata[entry.namespace] = merged(known, entry.value)

        return Hooks(on_request)


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged, lists are joined, anything else is replaced (Envoy's StructUtil)."""
    found = dict(old)
    for key, value in new.items():
        known = found.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            found[key] = merged(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            found[key] = [*known, *value]
        else:
            found[key] = merged({}, value) if isinstance(value, Mapping) else value
    return found
