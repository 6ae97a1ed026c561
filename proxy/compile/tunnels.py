"""How connections are put into HTTP (`tunneling_config`), with their formats made ready."""

from __future__ import annotations

from proxy.config.model.common import HeaderValueOption
from proxy.config.model.listeners import Tunneling
from proxy.l4.tunnel import Tunnels, Value
from proxy.l7.format import compile_format, compile_header_value


def tunnels_of(config: Tunneling) -> Tunnels:
    """Envoy's order: what overwrites, then what is appended; none was there before."""
    added = [one for one in config.headers if one.action != "OVERWRITE_IF_EXISTS"]
    added.sort(key=lambda one: not one.action.startswith("OVERWRITE"))
    return Tunnels(config, compile_format(config.hostname), tuple(map(_header, added)))


def _header(one: HeaderValueOption) -> tuple[bytes, Value, bool, bool]:
    value = compile_header_value(one.value)
    return (
        one.name.lower().encode(),
        value,
        one.action.startswith("OVERWRITE"),
        one.keep_empty_value,
    )
