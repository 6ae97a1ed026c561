"""Layers of resources that go by several names."""

from __future__ import annotations

from controlplane.resources import Layer, Resource

ONE = Resource("t/one", "1", b"", ("t/a", "t/b"))
TWO = Resource("t/two", "2", b"", ("t/c",))
OTHER = Resource("t/two", "3", b"", ("t/d", "t/e"))
RIVAL = Resource("t/rival", "4", b"", ("t/a",))


def names(*resources: Resource) -> dict[str, Resource]:
    return {name: one for one in resources for name in (one.name, *one.aliases)}


def test_each_is_there_by_all_its_names() -> None:
    for found in ((ONE, TWO), (ONE, TWO, RIVAL), (TWO, TWO), ()):
        made = Layer.by_all_names(found)
        assert (made, made.digest) == (names(*found), Layer(names(*found)).digest)


def test_what_is_exchanged_comes_to_the_same() -> None:
    made = Layer.by_all_names((ONE, TWO)).exchanged((TWO,), (OTHER,))
    assert made is not None
    assert (made, made.digest) == (names(ONE, OTHER), Layer(names(ONE, OTHER)).digest)
    assert made.exchanged((), (RIVAL,)) is None


def test_another_alias_is_another_digest() -> None:
    renamed = Resource("t/one", "1", b"", ("t/a", "t/z"))
    assert Layer.by_all_names((ONE,)).digest != Layer.by_all_names((renamed,)).digest
