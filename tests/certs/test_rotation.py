"""The states of a rotation: every step from every state, as a table."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest

from certs import rotation
from certs.errors import CertificateError
from certs.rotation import Phase, State

NOW, DRAINED = 1000.0, 5000.0
STEADY = State("old", since=1.0)
STAGED = State("old", Phase.STAGED, "new", 2.0)
PREPARED = State("old", Phase.PREPARED, "new", 3.0)
ISSUING = State("new", Phase.ISSUING, "old", 4.0, DRAINED)
DONE = State("new", since=5.0, retired=("old",))
STATES = {
    "steady": STEADY,
    "staged": STAGED,
    "prepared": PREPARED,
    "issuing": ISSUING,
    "done": DONE,
}

Step = Callable[[State, str], State]
STEPS: dict[str, Step] = {
    "stage": lambda state, target: rotation.stage(state, target, NOW),
    "prepare": lambda state, target: rotation.prepare(state, target, NOW),
    "issue": lambda state, target: rotation.issue(state, target, NOW, DRAINED),
    "retire": lambda state, target: rotation.retire(state, target, NOW, acknowledged=True),
    "abort": lambda state, target: rotation.abort(state, target, NOW, DRAINED),
}

TO_STAGED = State("old", Phase.STAGED, "new", NOW)
TO_PREPARED = State("old", Phase.PREPARED, "new", NOW)
TO_ISSUING = State("new", Phase.ISSUING, "old", NOW, DRAINED)
TO_DONE = State("new", since=NOW, retired=("old",))
DROPPED = State("old", since=NOW, retired=("new",))
BACK = State("old", Phase.ISSUING, "new", NOW, DRAINED)

TABLE: dict[str, dict[str, State | str]] = {
    "steady": {
        "stage": TO_STAGED,
        "prepare": "no rotation to new is under way: stage",
        "issue": "no rotation to new is under way: prepare",
        "retire": "no rotation to new is under way: issue",
        "abort": STEADY,
    },
    "staged": {
        "stage": STAGED,
        "prepare": TO_PREPARED,
        "issue": "the rotation to new is staged: prepare it",
        "retire": "the rotation to new is staged: issue from",
        "abort": DROPPED,
    },
    "prepared": {
        "stage": PREPARED,
        "prepare": PREPARED,
        "issue": TO_ISSUING,
        "retire": "the rotation to new is prepared: issue from",
        "abort": DROPPED,
    },
    "issuing": {
        "stage": ISSUING,
        "prepare": ISSUING,
        "issue": ISSUING,
        "retire": TO_DONE,
        "abort": BACK,
    },
    "done": {
        "stage": DONE,
        "prepare": DONE,
        "issue": DONE,
        "retire": DONE,
        "abort": "the rotation to new is complete",
    },
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", STATES)
def test_every_step_from_every_state(name: str, step: str) -> None:
    do, expected = partial(STEPS[step], STATES[name], "new"), TABLE[name][step]
    if isinstance(expected, State):
        assert do() == expected
        return
    with pytest.raises(CertificateError, match=re.escape(expected)):
        do()


@pytest.mark.parametrize("step", ["stage", "prepare", "issue", "retire"])
@pytest.mark.parametrize("name", ["staged", "prepared", "issuing"])
def test_another_rotation_has_to_wait(name: str, step: str) -> None:
    with pytest.raises(CertificateError, match="a rotation to new is under way"):
        STEPS[step](STATES[name], "third")


def test_a_step_that_is_repeated_changes_nothing() -> None:
    state = STEADY
    for step in ("stage", "prepare", "issue", "retire"):
        state = STEPS[step](state, "new")
        assert STEPS[step](state, "new") == state


def test_nothing_is_retired_while_its_leaves_live() -> None:
    with pytest.raises(CertificateError, match=r"live until 1970-01-01 01:23:20 UTC"):
        rotation.retire(ISSUING, "new", DRAINED - 1, acknowledged=False)
    assert rotation.retire(ISSUING, "new", DRAINED, acknowledged=False).phase is Phase.STEADY


def test_an_abort_while_issuing_is_a_rotation_back() -> None:
    back = STEPS["abort"](ISSUING, "new")
    assert STEPS["abort"](back, "new") == back
    assert back.target == "old"
    home = STEPS["retire"](back, "old")
    assert (home.issuing, home.retired) == ("old", ("new",))


@pytest.mark.parametrize(
    ("state", "trusted", "target"),
    [
        (STEADY, ("old",), ""),
        (STAGED, ("old",), "new"),
        (PREPARED, ("old", "new"), "new"),
        (ISSUING, ("new", "old"), "new"),
        (DONE, ("new",), ""),
    ],
)
def test_who_is_trusted(state: State, trusted: tuple[str, ...], target: str) -> None:
    assert state.trusted == trusted
    assert state.target == target


def test_at_every_moment_the_old_or_the_new_leaf_is_trusted_by_all() -> None:
    """What signs in a phase is trusted in the phase before: nobody meets a leaf unprepared."""
    for before, after in (
        (STEADY, STAGED),
        (STAGED, PREPARED),
        (PREPARED, ISSUING),
        (ISSUING, DONE),
    ):
        assert after.issuing in before.trusted
        assert before.issuing in after.trusted or before is ISSUING


def test_the_memory_of_retired_ones_is_bounded() -> None:
    state = STEADY
    for number in range(20):
        for step in ("stage", "prepare", "issue", "retire"):
            state = STEPS[step](state, f"a{number}")
    assert state.retired == tuple(f"a{number}" for number in range(11, 19))
