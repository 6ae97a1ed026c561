"""Samples with labels: bounded, forgotten when idle, and those of strangers give way first."""

from __future__ import annotations

from proxy.stats import IDLE_S, RECENT_S, Held, Labelled, Labels


def of(name: str) -> Labels:
    return (("who", name),)


class Table:
    """`at_most` counters; `pass_by` looks at all of them each minute."""

    def __init__(self, at_most: int) -> None:
        self.labelled = Labelled(at_most)
        self.now = 5000.0
        self.labelled.turn(self.now)

    def touch(self, name: str, stranger: bool = False) -> bool:
        found = self.labelled.counter("m", of(name), stranger)
        if found is not None:
            found.value += 1
        return found is not None

    def held(self, name: str) -> Held:
        found = self.labelled.counter("m", of(name))
        assert found is not None
        return found

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 60.0)
            for _ in range(60):
                self.labelled.turn(self.now)

    @property
    def names(self) -> list[str]:
        return [labels[0][1] for labels in self.labelled.counters.get("m", {})]


def test_what_is_idle_is_forgotten_and_what_is_not_stays() -> None:
    table = Table(10)
    for name in ("busy", "idle", "held"):
        table.touch(name)
    table.held("held").held += 1
    histogram = table.labelled.histogram("h", of("a"))
    assert histogram is not None
    histogram.record(1.0)
    for _ in range(int(IDLE_S // 60) + 2):
        table.pass_by(60.0)
        table.touch("busy")
    assert (table.names, table.labelled.histograms) == (["busy", "held"], {})
    assert table.labelled.forgotten == 2
    table.held("held").held -= 1
    table.pass_by(IDLE_S + 120.0)
    assert (table.names, table.labelled.counters, table.labelled.forgotten) == ([], {}, 4)


def test_there_is_room_again_for_what_was_not_there() -> None:
    table = Table(1)
    assert [table.touch("a"), table.touch("b")] == [True, False]
    table.pass_by(IDLE_S + 120.0)
    assert table.touch("b")


def test_strangers_give_way_to_those_who_say_who_they_are() -> None:
    table = Table(300)
    table.touch("known")
    for at in range(299):
        assert table.touch(f"made up {at}", stranger=True)
    assert not table.touch("made up too", stranger=True)
    assert table.touch("known")
    for at in range(299):
        assert table.touch(f"member {at}")
    assert not table.touch("one more member")
    assert [name for name in table.names if name.startswith("made")] == []
    assert "known" in table.names


def test_the_idle_ones_of_strangers_give_way_first() -> None:
    table = Table(600)
    for at in range(300):
        table.touch(f"old {at}", stranger=True)
    table.pass_by(RECENT_S)
    for at in range(300):
        table.touch(f"new {at}", stranger=True)
    table.touch("old 7", stranger=True)
    assert table.touch("member")
    gone = {f"old {at}" for at in range(300)} | {f"new {at}" for at in range(300)}
    gone -= set(table.names)
    assert len(gone) == 256
    assert all(name.startswith("old") for name in gone)
    assert "old 7" in table.names


def test_strangers_make_way_for_each_other_after_a_while_only() -> None:
    table = Table(2)
    assert table.touch("a", stranger=True) and table.touch("b", stranger=True)
    assert not table.touch("c", stranger=True)
    table.pass_by(RECENT_S + 120.0)
    table.touch("a", stranger=True)
    assert table.touch("c", stranger=True)
    assert table.names == ["a", "c"]
    assert not table.touch("d", stranger=True)


def test_a_full_table_is_looked_through_once_a_second() -> None:
    """Whoever floods it pays no price for each attempt; we would."""
    table = Table(1)
    table.touch("a", stranger=True)
    assert not table.touch("b", stranger=True)
    (sample,) = table.labelled._samples
    sample.seen, sample.since = sample.value(), -RECENT_S
    assert not table.touch("b", stranger=True)
    table.labelled.turn(table.now)
    sample.since = -RECENT_S
    assert table.touch("b", stranger=True)
