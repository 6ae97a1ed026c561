"""`tests.support.text_proto`: fields of messages that nobody declared."""

from __future__ import annotations

from tests.support.text_proto import block, pairs, strings, unescaped

TEXT = r"""
config {
  name: "a } b"
  inner { data: "x\"y" }
}
headers { key: "\001k" value: "\xffv\n" }
headers { key: "alone" }
"""


def test_strings_are_found_wherever_they_stand() -> None:
    assert list(strings(TEXT, "data")) == [b'x"y']
    assert list(strings(TEXT, "name")) == [b"a } b"]


def test_a_block_ends_at_its_own_brace() -> None:
    found = block(TEXT, "config")
    assert found is not None
    assert found.split() == ["name:", '"a', "}", 'b"', "inner", "{", "data:", r'"x\"y"', "}"]
    assert block(TEXT, "absent") is None


def test_pairs_may_lack_their_value() -> None:
    assert list(pairs(TEXT)) == [(b"\x01k", b"\xffv\n"), (b"alone", b"")]


def test_escapes_are_bytes() -> None:
    assert unescaped(r"\0\377\x41\t\\") == b"\0\xffA\t\\"
