"""`envoy.filters.http.set_filter_state`: named values, formatted from each request."""

from __future__ import annotations

from proxy.config.filters.decode_set_filter_state import TYPE_URL, SetFilterStateConfig
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks

__all__ = ["TYPE_URL", "build"]


def build(config: SetFilterStateConfig, context: FilterContext) -> Filter:
    return SetFilterState(config, context)


class SetFilterState:
    """The filter's own entries come first, then the route's."""

    def __init__(self, config: SetFilterStateConfig, context: FilterContext) -> None:
        self._config = config
        self._format = context.format

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        configs = [self._config]
        configs += [each for each in overrides[:1] if isinstance(each, SetFilterStateConfig)]
        entries = [
            (entry.key, self._format(entry.value), entry.skips_empty)
            for config in configs
            for entry in config.entries
        ]
        if not entries:
            return None

        def on_request(stream: FilterStream) -> None:
            for key, value_of, skips_empty in entries:
                value = value_of(stream)
                if value or not skips_empty:
                    stream.filter_state[key] = value.decode("utf-8", "replace")

        return Hooks(on_request)
