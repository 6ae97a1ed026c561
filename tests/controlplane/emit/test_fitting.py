"""Which patches stay where not all can: decided by what an attempt with some of them finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.emit.fitting import Attempt, Patches, fitted
from controlplane.mesh.patches import EnvoyPatch


def patches(words: str) -> Patches:
    return tuple(EnvoyPatch("CLUSTER", "MERGE", word) for word in words)


def words(found: Patches) -> str:
    return "".join(patch.value for patch in found)


def _wrong(values: str) -> list[str]:
    """x is bad by itself; a conflicts with b; n needs m; of o there may be one."""
    problems = ["x is bad"] * ("x" in values)
    problems += ["a and b"] * ("a" in values and "b" in values)
    problems += ["n alone"] * ("n" in values and "m" not in values)
    return problems + ["o twice"] * (values.count("o") > 1)


def attempt(calls: list[str]) -> Callable[[Patches], Attempt[str]]:
    def run(kept: Patches) -> Attempt[str]:
        calls.append(words(kept))
        return Attempt(words(kept), tuple(_wrong(words(kept))))

    return run


@pytest.mark.parametrize(
    ("given", "kept", "left"),
    [
        ("cde", "cde", ""),
        ("cxd", "cd", "x"),
        ("xcdx", "cd", "xx"),
        ("bca", "bc", "a"),
        ("ncm", "ncm", ""),
        ("cn", "c", "n"),
        ("oco", "oc", "o"),
        ("x", "", "x"),
    ],
)
def test_as_many_stay_as_fit(given: str, kept: str, left: str) -> None:
    found = fitted(patches(given), attempt([]))
    assert (found.attempt.made, found.attempt.problems) == (kept, ())
    assert "".join(one.patch.value for one in found.left_out) == left


def test_it_is_told_what_a_patch_would_break() -> None:
    (left,) = fitted(patches("bca"), attempt([])).left_out
    assert left.why == "a and b"


def test_where_all_fit_one_attempt_is_enough_and_one_bad_one_costs_few() -> None:
    calls: list[str] = []
    fitted(patches("c" * 64), attempt(calls))
    assert len(calls) == 1
    fitted(patches("c" * 40 + "x" + "c" * 23), attempt(calls := []))
    assert len(calls) < 24


def test_nobody_is_blamed_for_what_is_wrong_without_patches() -> None:
    broken: Attempt[str] = Attempt(None, ("broken",))
    found = fitted(patches("cd"), lambda kept: broken)
    assert found.attempt.problems == ("broken",)
    assert found.left_out == ()
