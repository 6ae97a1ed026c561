"""Sealed values have an order: who has seen one takes no older one for it."""

from __future__ import annotations

import pytest

from certs import sealed_box
from certs.errors import CertificateError
from certs.sealed_box import SealedBox
from controlplane.sources.store.sealed import Older, SealedValues, put_back
from tests.support.shared_store import Room


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing is no concern here."""
    monkeypatch.setattr(sealed_box, "_COST", 1 << 4)


def values(now: float = 1_800_000_000.0) -> SealedValues:
    return SealedValues(SealedBox(b"open sesame"), lambda: now)


def test_an_older_value_is_none() -> None:
    ours, theirs = values(), values(now=1.0)  # a clock that is far behind
    first = ours.seal("a", b"1")
    assert theirs.open("a", first) == b"1"
    second = theirs.seal("a", b"2")
    assert theirs.open("a", first) == b"1"  # it may not come to be written
    for each in (ours, theirs):
        assert each.open("a", second) == b"2"
        with pytest.raises(Older, match="put back"):
            each.open("a", first)
    assert values().open("a", first) == b"1"  # who has seen none can't know
    with pytest.raises(CertificateError, match="another passphrase, or changed"):
        ours.open("b", second)


def test_what_is_gone_and_made_anew_is_later_for_those_who_have_seen_it() -> None:
    reader, writer = values(), values()
    reader.open("a", writer.seal("a", b"1"))
    assert reader.open("a", values(1_800_000_001.0).seal("a", b"2")) == b"2"


async def test_what_counts_is_put_back_unless_somebody_was_quicker() -> None:
    room, said = Room(), list[str]()
    store = room.member()
    room.values["a"] = b"older"
    await put_back(store, "a", b"ours", b"older", said.append)
    await put_back(store, "a", b"again", b"older", said.append)
    assert room.values["a"] == b"ours"
    assert said == []
    room.away = "it is down"
    await put_back(store, "a", b"again", b"ours", said.append)
    assert said == ["it is down"]
