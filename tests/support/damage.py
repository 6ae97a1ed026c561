"""Real objects with something wrong in one of them: a value of another kind, a field less, a field
too many, a name that nobody has. Whatever a seed says, it says again.
"""

from __future__ import annotations

import copy
import json
import random
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import yaml

from tests.support.documented import AREAS, FOLDER, KEPT_PORTS, filled, inputs

_MANIFESTS = FOLDER.parents[1] / "translate" / "golden"
Tree = dict[str, Any]
_WRONG: tuple[Any, ...] = (
    None, "", " ", "a", "*", "**", "/", "-", "a b", "A" * 300, "é", "\u2028", "a\nb", "%", "{x}",
    "[", "(", "(?=a)", "0s", "1h", "-5s", "1e9s", "ns/name", "spiffe://", "http://[::1",
    "10.0.0.0/33", "999.1.1.1", "::", "unix://", "mesh", ".", "~", "true", True, False, 0, 1, -1,
    70000, 2**31, 2**63, 1.5, -0.5, float("inf"), float("nan"), [], {}, [None], [[]], [{}],
    {"a": {}}, {"": ""}, ["a", "a"], {"exact": "a", "prefix": "b"}, {"value": 200}, {"number": 0},
)  # fmt: skip


class Damaged(NamedTuple):
    """objects: all, of which the one at `place` is damaged."""

    name: str
    objects: list[Tree]
    place: int


Ports = tuple[tuple[str, int], ...]
_KEPT = tuple(KEPT_PORTS.items())


@cache
def _sources(ports: Ports) -> tuple[tuple[str, tuple[Tree, ...]], ...]:
    base = (FOLDER / "base.yaml").read_text("utf-8")
    texts = {
        f"{area}/{name}": f"{base}---\n{text}"
        for area in AREAS
        for name, text in inputs(area).items()
    }
    for path in sorted(_MANIFESTS.glob("*.in.yaml")):
        texts[path.stem] = path.read_text("utf-8")
    return tuple((name, _trees(filled(text, dict(ports)))) for name, text in texts.items())


def _trees(text: str) -> tuple[Tree, ...]:
    """As JSON has them: a number that is a key is a text there."""
    documents = (one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one)
    return tuple(json.loads(json.dumps(one)) for one in documents if "kind" in one)


def damaged(seed: int, ports: Ports = _KEPT) -> Damaged:
    """ports: of gateways and sidecars in what was written, by name."""
    chance = random.Random(seed)
    name, trees = chance.choice(_sources(ports))
    objects = copy.deepcopy(list(trees))
    index = chance.randrange(len(objects))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _damage(objects[index], chance, trees)
    return Damaged(f"{name} seed {seed}", objects, index)


def _damage(tree: Tree, chance: random.Random, others: tuple[Tree, ...]) -> None:
    """Half of the time with what stands under the same name elsewhere, which may well be right."""
    places = [place for place in _places(tree) if place[0] is not tree] or _places(tree)
    holder, key = chance.choice(places if chance.random() < 0.9 else _places(tree))
    kind = chance.randrange(12)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        holder["unknown"] = chance.choice(_WRONG)
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(chance.choice(holder)))
    elif kind == 4:
        there, name = chance.choice(_places(chance.choice(others)))
        holder[key] = copy.deepcopy(there[name])
    elif kind in (5, 6, 7):
        holder[key] = copy.deepcopy(chance.choice(_WRONG))
    elif isinstance(holder, dict):
        name = chance.choice((key, *holder))
        holder[name] = copy.deepcopy(chance.choice(_alike().get(name) or _WRONG))


@cache
def _alike() -> dict[str, list[Any]]:
    """All values that stand under a name anywhere."""
    found: dict[str, list[Any]] = defaultdict(list)
    for _, trees in _sources(_KEPT):
        for tree in trees:
            for holder, key in _places(tree):
                if isinstance(holder, dict):
                    found[key].append(holder[key])
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key or index) below."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found
