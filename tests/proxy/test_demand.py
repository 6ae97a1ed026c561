"""What requests wait for: one subscription for all of a name, answers, time, and bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from protos.types import CDS, VHDS
from proxy import demand as demands
from proxy.demand import Demand, Key
from tests.support.filters import Clock


class Waiting:
    """A demand with what requests were told, and how often its names changed."""

    def __init__(self, max_names: int = demands.MAX_NAMES) -> None:
        self.clock = Clock()
        self.demand = Demand(self.clock.call_later, lambda: self.clock.now, max_names)
        self.demand.on_change = self._changed
        self.demand.used = lambda: self.used
        self.used: Iterable[Key] = ()
        self.changes = 0
        self.told: list[tuple[str, bool | None]] = []

    def _changed(self) -> None:
        self.changes += 1

    def wait(
        self, name: str, kind: str = VHDS, timeout_s: float = 5.0, source: str = "10.0.0.1"
    ) -> str:
        return self.demand.wait((kind, name), self._teller(name), timeout_s, source)

    def _teller(self, name: str) -> Callable[[bool | None], None]:
        return lambda found: self.told.append((name, found))

    def settle(self, **answers: bool) -> None:
        self.demand.settle({}, {(VHDS, name): one for name, one in answers.items()})
        self.clock.advance(0.0)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.demand.names]


def test_all_requests_of_a_name_share_one_subscription_and_go_on_together() -> None:
    waiting = Waiting()
    assert [waiting.wait("a"), waiting.wait("a"), waiting.wait("b")] == ["waits"] * 3
    assert (waiting.names, waiting.changes) == (["a", "b"], 2)
    waiting.settle(a=True)
    assert waiting.told == [("a", True)] * 2
    waiting.settle(a=True, b=False)
    assert waiting.told[2:] == [("b", False)]
    assert waiting.wait("b") == waiting.wait("a") == "answered"
    assert waiting.wait("a", CDS) == "waits"


def test_who_waits_too_long_is_told_and_nobody_else() -> None:
    waiting = Waiting()
    waiting.wait("a", timeout_s=1.0)
    waiting.clock.advance(0.6)
    waiting.wait("a", timeout_s=1.0)
    waiting.clock.advance(0.6)
    waiting.clock.advance(0.0)
    assert waiting.told == [("a", None)]
    waiting.settle(a=True)
    assert waiting.told == [("a", None), ("a", True)]
    waiting.clock.advance(9.0)
    assert len(waiting.told) == 2


def test_many_that_waited_go_on_a_few_at_a_time() -> None:
    waiting = Waiting()
    for _ in range(40):
        waiting.wait("a")
    waiting.demand.settle({}, {(VHDS, "a"): True})
    seen = []
    while len(waiting.told) < 40:
        waiting.clock.advance(0.0)
        seen.append(len(waiting.told))
    assert len(seen) > 2


def test_so_many_may_wait_and_no_more() -> None:
    waiting = Waiting()
    for _ in range(demands.MAX_WAITING):
        waiting.wait("a")
    assert waiting.wait("b") == "full"
    waiting.settle(a=False)
    while waiting.clock.later and waiting.clock.later[0][0] <= waiting.clock.now:
        waiting.clock.advance(0.0)
    assert waiting.wait("b") == "waits"


def test_names_that_do_not_exist_push_nobody_out() -> None:
    waiting = Waiting()
    waiting.wait("good")
    for number in range(3 * demands.MAX_ABSENT):
        waiting.wait(f"bad{number}")
        waiting.settle(**{name: name == "good" for name in waiting.names})
    assert "good" in waiting.names
    assert len(waiting.names) <= demands.MAX_ABSENT + 1
    assert waiting.names[-1] == f"bad{3 * demands.MAX_ABSENT - 1}"


def test_the_least_lately_used_are_forgotten_and_never_those_that_are_waited_for() -> None:
    waiting = Waiting(max_names=300)
    waiting.wait("awaited")
    waiting.demand.adopt((VHDS, f"n{number}") for number in range(299))
    waiting.used = [(VHDS, "n0"), (VHDS, "unknown")]
    waiting.wait("one more")
    assert {"awaited", "n0", "n298", "one more"} <= set(waiting.names)
    assert "n1" not in waiting.names
    assert len(waiting.names) < 300


def test_a_request_that_fails_keeps_no_other_from_going_on() -> None:
    waiting = Waiting()

    def fails(found: bool | None) -> None:
        raise RuntimeError("a filter's mistake")

    waiting.demand.wait((VHDS, "a"), fails, 5.0, "10.0.0.1")
    waiting.wait("a")
    with pytest.raises(RuntimeError):
        waiting.settle(a=True)
    waiting.wait("b")
    waiting.settle(a=True, b=True)
    assert waiting.told == [("a", True), ("b", True)]


def test_one_client_that_makes_hosts_up_leaves_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demands, "MAX_OF_ONE_SOURCE", 2)
    waiting = Waiting()
    said = [waiting.wait(f"made-up-{number}") for number in range(3)]
    assert said == ["waits", "waits", "full"]
    assert waiting.wait("a", source="10.0.0.2") == "waits"
    waiting.settle(a=True)
    waiting.clock.advance(5.0)
    waiting.clock.advance(0.0)
    assert waiting.told == [("a", True), ("made-up-0", None), ("made-up-1", None)]
    assert waiting.wait("made-up-3") == "waits"
    assert waiting.demand._of_sources == {"10.0.0.1": 1}
