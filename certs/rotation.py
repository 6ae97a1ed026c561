"""How one authority follows another without a moment in which anybody is not trusted.

| phase | trusted | signs | step that leads on | what must be true before it |
|---|---|---|---|---|
| STEADY | the one | the one | stage | a new authority is on disk |
| STAGED | the old | the old | prepare | it has been rehearsed, if at all |
| PREPARED | both | the old | issue | everybody has the new roots |
| ISSUING | both | the new | retire | nobody has a leaf of the old any more |

Each step names its target, the authority that is to sign in the end. So a step that is done
already changes nothing, whatever was killed in between; one that would skip another, or that is
meant for another rotation, is refused. `abort` undoes a rotation: before ISSUING it drops the new
authority, in ISSUING it is a rotation back, as leaves of the new one are about.

Pure: states in, states out. What the names stand for is the store's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from certs.errors import CertificateError

MAX_RETIRED = 8
TICK_S = 0.001
"""By so much a step is later than the one before it, whatever the clock says."""


class Phase(StrEnum):
    STEADY = "steady"
    STAGED = "staged"
    PREPARED = "prepared"
    ISSUING = "issuing"


@dataclass(frozen=True, slots=True)
class State:
    """Authorities by their ids; times in Unix seconds.

    `other`: the new authority until ISSUING, then the one that retires; '' in STEADY. `since`: when
    the phase began; it only grows, so that of two states the later one is known, also where several
    machines, whose clocks differ, take turns. `drained_at`: in ISSUING, when the last leaf of the
    retiring one ends; else 0. `retired`: ids that were dropped, the latest last.
    """

    issuing: str
    phase: Phase = Phase.STEADY
    other: str = ""
    since: float = 0.0
    drained_at: float = 0.0
    retired: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The authority that the rotation under way leads to; '' if there is none."""
        return self.issuing if self.phase is Phase.ISSUING else self.other

    @property
    def trusted(self) -> tuple[str, ...]:
        """The ids whose roots are to be trusted, the signing one first."""
        both = self.phase in (Phase.PREPARED, Phase.ISSUING)
        return (self.issuing, self.other) if both else (self.issuing,)


def stage(state: State, target: str, now: float) -> State:
    """STEADY to STAGED: there is a new authority, which nobody trusts yet."""
    if target in (state.issuing, state.other):
        return state
    if state.phase is not Phase.STEADY:
        raise CertificateError(_under_way(state))
    return replace(state, phase=Phase.STAGED, other=target, since=after(state, now))


def prepare(state: State, target: str, now: float) -> State:
    """STAGED to PREPARED: trust both. Done already in every later phase of this rotation."""
    if _reached(state, target, Phase.PREPARED):
        return state
    _expect(state, target, Phase.STAGED, "prepare", "stage the new authority")
    return replace(state, phase=Phase.PREPARED, since=after(state, now))


def issue(state: State, target: str, now: float, drained_at: float) -> State:
    """PREPARED to ISSUING: the target signs; leaves of the old one live until `drained_at`."""
    if _reached(state, target, Phase.ISSUING):
        return state
    _expect(state, target, Phase.PREPARED, "issue", "prepare it, so that everybody trusts it")
    return _swapped(state, now, drained_at)


def retire(state: State, target: str, now: float, *, acknowledged: bool) -> State:
    """ISSUING to STEADY: drop the old one.

    Refused before its last leaf ends, unless it is `acknowledged` that nobody has one any more.
    """
    if state.phase is Phase.STEADY and state.issuing == target:
        return state
    _expect(state, target, Phase.ISSUING, "retire the old one", "issue from the new one")
    if now < state.drained_at and not acknowledged:
        raise CertificateError(
            f"authority {state.other} has issued certificates that live until "
            f"{datetime.fromtimestamp(state.drained_at, UTC):%Y-%m-%d %H:%M:%S} UTC: wait until "
            "then, or make sure that every proxy has renewed (acknowledged)"
        )
    retired = (*state.retired, state.other)[-MAX_RETIRED:]
    return State(state.issuing, since=after(state, now), retired=retired)


def abort(state: State, target: str, now: float, drained_at: float) -> State:
    """Gives the rotation up. In ISSUING the old authority signs again, and the target retires."""
    if state.issuing != target and state.other != target:
        return state
    if state.phase in (Phase.STAGED, Phase.PREPARED):
        retired = (*state.retired, state.other)[-MAX_RETIRED:]
        return State(state.issuing, since=after(state, now), retired=retired)
    if state.phase is Phase.ISSUING:
        return state if state.issuing != target else _swapped(state, now, drained_at)
    raise CertificateError(f"the rotation to {target} is complete: rotate to another authority")


def _swapped(state: State, now: float, drained_at: float) -> State:
    return replace(
        state,
        phase=Phase.ISSUING,
        issuing=state.other,
        other=state.issuing,
        since=after(state, now),
        drained_at=drained_at,
    )


def after(state: State, now: float) -> float:
    """When what follows this state began: now, or right after it where our clock is behind."""
    return max(now, state.since + TICK_S)


def _reached(state: State, target: str, phase: Phase) -> bool:
    """Whether the target has come to this phase or beyond it already."""
    if state.issuing == target:
        return True
    order = (Phase.STAGED, Phase.PREPARED, Phase.ISSUING)
    under_way = state.other == target and state.phase in (Phase.STAGED, Phase.PREPARED)
    return under_way and order.index(state.phase) >= order.index(phase)


def _expect(state: State, target: str, phase: Phase, what: str, first: str) -> None:
    if state.phase is Phase.STEADY:
        raise CertificateError(
            f"cannot {what}: no rotation to {target} is under way: {first} first"
        )
    if state.target != target:
        raise CertificateError(_under_way(state))
    if state.phase is not phase:
        raise CertificateError(
            f"cannot {what}: the rotation to {target} is {state.phase}: {first} first"
        )


def _under_way(state: State) -> str:
    return (
        f"a rotation to {state.target} is under way ({state.phase}): "
        "finish it or abort it before another one"
    )
