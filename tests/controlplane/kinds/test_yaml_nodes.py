"""YAML text to nodes: types of scalars, places, and what is refused with which place."""

from __future__ import annotations

import pytest

from controlplane.kinds.yaml_nodes import (
    MAX_NODES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    compose_all,
)


def one(text: str) -> Node:
    (node,) = compose_all(text)
    return node


def value_of(text: str) -> Scalar:
    node = one(f"key: {text}\n")
    assert isinstance(node, Mapping)
    value = node.get("key")
    assert isinstance(value, Scalar)
    return value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("word", "string", "word"),
        ("'5'", "string", "5"),
        ('"true"', "string", "true"),
        ("5", "integer", "5"),
        ("-5", "integer", "-5"),
        ("0x1F", "integer", "0x1F"),
        ("1.5", "number", "1.5"),
        ("1e3", "number", "1e3"),
        (".inf", "number", ".inf"),
        ("yes", "boolean", "yes"),
        ("off", "boolean", "off"),
        ("~", "null", "~"),
        ("", "null", ""),
        ("12:30:45", "string", "12:30:45"),
        ("1.2.3", "string", "1.2.3"),
        ("2026-01-01", "string", "2026-01-01"),
        ("!!str 5", "string", "5"),
        ("!!int '5'", "integer", "5"),
    ],
)
def test_a_plain_scalar_has_the_type_that_kubernetes_gives_it(
    text: str, kind: str, value: str
) -> None:
    scalar = value_of(text)
    assert (scalar.kind, scalar.value) == (kind, value)


def test_every_node_knows_its_place() -> None:
    node = one("a:\n  - b: 1\n  - {c: d}\n")
    assert isinstance(node, Mapping)
    items = node.get("a")
    assert isinstance(items, Sequence)
    assert (node.line, node.column, items.line, items.column) == (1, 1, 2, 3)
    second = items.items[1]
    assert isinstance(second, Mapping)
    key, value = second.entries[0]
    assert (key.line, key.column, value.line, value.column) == (3, 6, 3, 9)


def test_empty_documents_are_left_out_and_json_is_yaml() -> None:
    texts = list(compose_all('# nothing\n---\n---\n{"a": [1, "b", null]}\n---\nb: 2\n...\n'))
    assert [node.line for node in texts] == [4, 6]


def test_aliases_and_merge_keys_stand_for_what_they_name() -> None:
    node = one("base: &b {x: 1, y: 2}\nmade:\n  <<: *b\n  y: 3\ncopy: *b\n")
    assert isinstance(node, Mapping)
    made, copy, base = node.get("made"), node.get("copy"), node.get("base")
    assert isinstance(made, Mapping)
    assert {k.value: v.value for k, v in made.entries if isinstance(v, Scalar)} == {
        "x": "1",
        "y": "3",
    }
    assert copy is base


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is given twice, first in line 1", 3, 1),
        ("a:\n\tb: 1\n", "spaces, not tabs", 2, 1),
        ("a: [1, 2\nb: 3\n", "expected ',' or ']'", 2, 2),
        ("a: 'b\n", "unexpected end of stream", 2, 1),
        ("a: b: c\n", "mapping values are not allowed", 1, 5),
        ("a: *nope\n", "no anchor named 'nope'", 1, 4),
        ("a: &x [1, *x]\n", "the alias 'x' contains itself", 1, 11),
        ("? [a]\n: b\n", "a key must be a string", 1, 3),
        ("a: &x '<<'\n*x : 5\n*x : 6\n", "the key '<<' is given twice, first in line 1", 1, 4),
        ("a: !!python/object:os.system x\n", "is not supported", 1, 4),
        ("a: !secret x\n", "the tag '!secret' is not supported", 1, 4),
        ("a: {<<: 5}\n", "'<<' takes a mapping", 1, 9),
        ("a: {<<: [{b: 1}, 5]}\n", "'<<' takes a mapping", 1, 9),
        ("a: \x01\n", "character that YAML does not allow", 1, 4),
        ("a: é\nb: é\x07\n", "character that YAML does not allow", 2, 5),
        ("[" * 200_000, "nested deeper than 100 levels", 1, 102),
        ("a: " + "{b: " * 200_000, "nested deeper than 100 levels", 1, 401),
        (BOMB, f"more than {MAX_NODES} nodes with aliases expanded", 6, 17),
        ("- x\n" * (MAX_NODES + 10), f"more than {MAX_NODES} nodes", MAX_NODES + 2, 3),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_is_not_acceptable_is_refused_with_its_place(
    text: str, says: str, line: int, column: int
) -> None:
    with pytest.raises(YamlError) as caught:
        list(compose_all(text))
    assert says in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)
