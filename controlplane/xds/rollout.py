"""Make before break: which resources a stream may see while it goes from one snapshot to the next.

    stage  visible                                       pushed          goes on when answered
    0      clusters, endpoints, secrets: old and new     CDS EDS SDS     CDS, EDS
    1      listeners: new; routes: old and new           LDS RDS VHDS    LDS RDS VHDS
    2      everything: new (what is gone, goes)          all             -

Envoy withholds the ACK of a cluster until it is warm, so waiting for it means that no route ever
names a cluster that cannot serve yet. A NACK is an answer too. It knows no subscriptions.
"""

from __future__ import annotations

from controlplane.resources import NOTHING, TYPES, Resources, Snapshot
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS

_STAGES = ((CDS, EDS, SDS), (LDS, RDS, VHDS), TYPES)
_GATES: tuple[tuple[str, ...], ...] = ((), (CDS, EDS), (LDS, RDS, VHDS))


class Rollout:
    """Starts complete: the first snapshot is visible as a whole. complete: all of the target is."""

    __slots__ = ("_differs", "_stage", "_target", "_visible", "complete")

    def __init__(self, snapshot: Snapshot) -> None:
        self._target = snapshot
        self._visible = {type_url: snapshot.of(type_url) for type_url in TYPES}
        self._stage = len(_STAGES)
        self._differs: tuple[str, ...] = ()
        self.complete = True

    @property
    def target(self) -> Snapshot:
        return self._target

    def visible(self, type_url: str) -> Resources:
        return self._visible.get(type_url, NOTHING)

    def begin(self, snapshot: Snapshot) -> None:
        """Heads for `snapshot` from whatever is visible now, also in the middle of a rollout."""
        self._target = snapshot
        visible, types = self._visible, snapshot.types
        self._differs = tuple([t for t in TYPES if types.get(t, NOTHING) is not visible[t]])
        self._stage = 0 if self._differs else len(_STAGES)
        self.complete = not self._differs

    def gate(self) -> tuple[str, ...]:
        """The types that must have no unanswered response before `step`."""
        return () if self.complete else _GATES[self._stage]

    def step(self) -> tuple[str, ...]:
        """Makes the next stage visible; answers the types to push now, in order (TYPES): those that
        are others than before, and endpoints with their clusters."""
        types, visible, target = _STAGES[self._stage], self._visible, self._target.types
        last = self._stage == len(_STAGES) - 1
        changed: list[str] = []
        there = True
        for type_url in self._differs:
            new, old = target.get(type_url, NOTHING), visible[type_url]
            if new is old:
                continue
            if type_url in types:
                keep_old = not last and type_url != LDS
                visible[type_url] = new.with_old(old) if keep_old else new
                changed.append(type_url)
            there = there and visible[type_url] is new
        self._stage += 1
        # Mostly nothing is gone, and what is new is all there is to come.
        self.complete = last or there
        if changed and changed[0] == CDS and EDS not in changed:
            changed.insert(1, EDS)
        return tuple(changed)
