"""Random histories of a mesh, made of the objects of the golden cases of translation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from controlplane.inventory import Inventory
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import parse

GOLDEN = Path(__file__).parents[1] / "controlplane" / "translate" / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


@cache
def objects(case: str, line: int) -> tuple[Object, ...]:
    """The objects of a case, as they are when its text begins at `line`."""
    text = "\n" * line + (GOLDEN / f"{case}.in.yaml").read_text("utf-8")
    return parse(text, case).objects


@st.composite
def histories(draw: st.DrawFn) -> list[Object]:
    """Objects of one or two cases, each as it is put in place, or taken away if it is there."""
    chosen = draw(st.lists(st.sampled_from(CASES), min_size=1, max_size=2, unique=True))
    lines = st.integers(min_value=0, max_value=1)
    texts = [objects(case, draw(lines)) for case in chosen for _ in range(2)]
    every = [item for text in texts for item in text]
    first = draw(st.lists(st.sampled_from(every), max_size=12)) if every else []
    return [*(item for item in every if draw(st.booleans())), *first] if every else []


def step(inventory: Inventory, item: Object) -> None:
    """Puts it in place; takes it away if it is there."""
    if inventory.find(item.key) is item:
        inventory.remove(item.key)
    else:
        inventory.put(item)
