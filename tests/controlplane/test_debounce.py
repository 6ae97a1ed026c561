"""When a burst of changes becomes one action."""

from __future__ import annotations

import asyncio

from controlplane.debounce import Debounce, Debouncer
from controlplane.tasks import spawn


def test_nothing_is_due_without_a_change() -> None:
    debounce = Debounce()
    assert debounce.due_at() is None
    assert not debounce.take(1e9)


def test_a_single_change_waits_for_the_hold_off() -> None:
    debounce = Debounce(hold_off_s=0.02, ceiling_s=0.5)
    debounce.note(10.0)
    assert debounce.due_at() == 10.02
    assert not debounce.take(10.01)
    assert debounce.take(10.02)
    assert not debounce.take(99.0)


def test_each_change_holds_off_anew_up_to_the_ceiling() -> None:
    debounce = Debounce(hold_off_s=0.02, ceiling_s=0.5)
    for step in range(100):
        debounce.note(10.0 + step * 0.01)
    assert debounce.due_at() == 10.5


def test_the_ceiling_starts_anew_after_an_action() -> None:
    debounce = Debounce(hold_off_s=0.02, ceiling_s=0.5)
    debounce.note(10.0)
    assert debounce.take(11.0)
    debounce.note(20.0)
    assert debounce.due_at() == 20.02


async def test_the_shell_acts_once_for_a_burst_and_again_for_the_next() -> None:
    acted: asyncio.Queue[str] = asyncio.Queue()
    debouncer = Debouncer(lambda: acted.put_nowait("now"), Debounce(0.001, 0.01))
    for _ in range(5):
        debouncer.touch()
    await asyncio.wait_for(debouncer.settled(), 20)
    assert acted.get_nowait() == "now"
    await asyncio.wait_for(debouncer.settled(), 20)
    assert acted.empty()
    debouncer.touch()
    await asyncio.wait_for(acted.get(), 20)


async def test_cancelled_changes_are_forgotten() -> None:
    acted: list[str] = []
    debouncer = Debouncer(lambda: acted.append("now"), Debounce(0.0, 0.0))
    debouncer.touch()
    waiting = spawn(debouncer.settled(), "waiting")
    await asyncio.sleep(0)
    debouncer.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert acted == []
