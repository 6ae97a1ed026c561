"""The nodes of any text are those that PyYAML itself composes, each where PyYAML has it."""

from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence, YamlError, compose_all

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_words = st.sampled_from(
    ["a", "b", "<<", "yes", "Off", "null", "~", "12", "0x1f", "1.5", ".5", "-", "é", "x y", "1e3"]
)
_texts = _words | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)
_values = st.recursive(
    _texts | st.integers() | st.booleans() | st.none(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(_texts, inside, max_size=4),
    max_leaves=12,
)
_documents = st.lists(st.dictionaries(_texts, _values, min_size=1, max_size=4), max_size=3)
_PIECES = "- |[|]|{|}|: |a: |b: 1|, |&x |*x|<<: |? |\n|\n  |'c'|\"d\"|>-\n  f|# g\n|---\n|\t"
_TAGS = "!!str |!h |!!map |i"
_marks = st.sampled_from([*_PIECES.split("|"), *_TAGS.split("|"), "|\n  e"])


def _told(node: Node) -> object:
    """What is compared. Types of scalars are Kubernetes', not PyYAML's."""
    if isinstance(node, Scalar):
        return (node.value, node.line, node.column)
    if isinstance(node, Sequence):
        return ([_told(item) for item in node.items], node.line, node.column)
    return ([(_told(key), _told(value)) for key, value in node.entries], node.line, node.column)


def _expected(node: yaml.Node) -> object:
    place = node.start_mark.line + 1, node.start_mark.column + 1
    if isinstance(node, yaml.SequenceNode):
        return ([_expected(item) for item in node.value], *place)
    if isinstance(node, yaml.MappingNode):
        return ([(_expected(key), _expected(value)) for key, value in node.value], *place)
    return (node.value, *place)


def _of_pyyaml(text: str) -> list[object]:
    found = list(yaml.compose_all(text, _LOADER))
    return [_expected(one) for one in found if one.tag != "tag:yaml.org,2002:null"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_documents, st.booleans(), st.sampled_from([None, "'", '"', "|", ">"]))
def test_what_is_written_out_is_read_as_pyyaml_reads_it(
    values: list[object], flow: bool, style: str | None
) -> None:
    text = yaml.safe_dump_all(
        values, default_flow_style=flow, default_style=style, allow_unicode=True
    )
    nodes = [_told(node) for node in compose_all(text)]
    assert nodes == _of_pyyaml(text)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_values)
def test_json_is_read_with_its_types(value: object) -> None:
    (node,) = compose_all(json.dumps({"value": value}, ensure_ascii=False))
    assert isinstance(node, Mapping)
    found = node.get("value")
    assert found is not None
    assert _plain(found) == value


def _plain(node: Node) -> object:
    if isinstance(node, Mapping):
        return {name.value: _plain(value) for name, value in node.entries}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    if node.kind in ("boolean", "null"):
        return {"true": True, "false": False, "null": None}[node.value]
    return int(node.value) if node.kind == "integer" else node.value


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(_marks, max_size=12))
def test_pieces_of_yaml_are_read_as_pyyaml_reads_them_or_refused(pieces: list[str]) -> None:
    """Ours refuses more: keys that are no text, keys given twice, tags of others."""
    text = "".join(pieces)
    try:
        nodes = [_told(node) for node in compose_all(text)]
    except YamlError as error:
        assert error.message
        return
    if "<<" not in text:  # merged here, by PyYAML when it constructs
        assert nodes == _of_pyyaml(text)
