"""Envoy's `/runtime` and `/runtime_modify`: what runtime keys say, and another word for them."""

from __future__ import annotations

from proxy.admin.reply import Query, Reply, json_reply
from proxy.admin.view import AdminView

ADMIN = "admin"


def runtime(view: AdminView, query: Query) -> Reply:
    """Per key what each layer says, '' where it says nothing, and what holds."""
    values = view.runtime
    layers = [*values.layers, (ADMIN, values.overrides)]
    entries = {
        key: {
            "layer_values": [_text(layer[key]) if key in layer else "" for _, layer in layers],
            "final_value": _text(value),
        }
        for key, value in values
    }
    return json_reply({"layers": [name for name, _ in layers], "entries": entries})


def runtime_modify(view: AdminView, query: Query) -> Reply:
    """`?key=value&...`; an empty value gives a key back to the layers below."""
    if not query:
        return Reply("usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n", 400)
    view.runtime.override(query)
    return Reply("OK\n")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
