"""The runtime pages: what holds, and changing it."""

from __future__ import annotations

import json
from typing import Any

from proxy.admin.runtime import runtime, runtime_modify
from proxy.admin.view import AdminView
from proxy.runtime import RuntimeValues
from proxy.stats import Stats


def a_view(values: RuntimeValues) -> AdminView:
    nothing: Any = tuple
    return AdminView(
        Stats(), nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
        runtime=values,
    )  # fmt: skip


def shown(view: AdminView) -> Any:
    return json.loads("".join(runtime(view, {}).body))


def test_layers_and_the_administrators_word() -> None:
    values = RuntimeValues([("low", {"a": {"b": 1}}), ("high", {"a.b": 2, "c": True})])
    view = a_view(values)
    assert runtime_modify(view, {"a.b": "3"}).status == 200
    assert shown(view) == {
        "layers": ["low", "high", "admin"],
        "entries": {
            "a.b": {"layer_values": ["1", "2", "3"], "final_value": "3"},
            "c": {"layer_values": ["", "true", ""], "final_value": "true"},
        },
    }
    assert values.integer("a.b", 0) == 3
    runtime_modify(view, {"a.b": ""})
    assert values.integer("a.b", 0) == 2


def test_a_change_of_nothing_is_refused() -> None:
    assert runtime_modify(a_view(RuntimeValues()), {}).status == 400
