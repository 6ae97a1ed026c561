"""All pods, by name, by address and by labels.

There may be tens of thousands, and one of them changes all the time: a table is made of the one
before, and says what is new (`changed`). Tables never change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeVar

from controlplane.kinds.pod import Pod, PodStatus
from controlplane.translate.differences import differences
from controlplane.translate.report import Report
from controlplane.translate.scopes import Planned

K = TypeVar("K")

Name = tuple[str, str]
"""Namespace and name; ("", address) stands for whoever is there."""
_NO_STATUS = PodStatus()
Kin = tuple[str, tuple[tuple[str, str], ...]]
"""Namespace and labels: pods of one Deployment have the same."""
Mark = Name | tuple[str, tuple[str, str]]
"""A name, an address, or namespace and one label."""


class PodTable:
    """population: namespace and labels of each kin, the same object while there is no other.
    changed: names and addresses of pods that are not as in the table before, which has the token
    `follows`, and their labels with the namespace."""

    __slots__ = (
        "_addresses",
        "_kins",
        "_marks",
        "_names",
        "_unstarted",
        "changed",
        "follows",
        "pods",
        "population",
        "token",
    )

    def __init__(self, pods: tuple[Pod, ...] = ()) -> None:
        self.pods = pods
        self.token = object()
        self.follows: object = None
        self.changed: frozenset[Mark] = frozenset()
        self.population: tuple[Planned, ...] = ()
        self._names: dict[Name, Pod] = {}
        self._unstarted: dict[Name, Pod] = {}
        self._addresses: dict[str, dict[Name, Pod]] = {}
        self._kins: dict[Kin, dict[Name, Pod]] = {}
        self._marks: Mapping[tuple[str, str, str], Sequence[Kin]] = {}

    def get(self, namespace: str, name: str) -> Pod | None:
        return self._names.get((namespace, name))

    def at(self, name: Name) -> Pod | None:
        """The pod of that name, or at that address: of several the first by name. What is in a
        node's own network has no address of its own."""
        if name[0]:
            return self._names.get(name)
        there = self._addresses.get(name[1])
        return there[min(there)] if there else None

    def selected(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """Those with every label of `selector`, by name; none for an empty one."""
        lists = [self._marks.get((namespace, *label), ()) for label in selector.items()]
        kins = (kin for kin in min(lists, key=len, default=()) if selected_by(kin, selector))
        found = [pod for kin in kins for pod in self._kins[kin].values()]
        return tuple(sorted(found, key=_name))

    def kin_of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Pod, ...]:
        """Those with exactly these labels, by name."""
        return tuple(sorted(self._kins.get(_kin(namespace, labels), {}).values(), key=_name))

    def marks_in(self, namespaces: Container[str]) -> Iterable[Mark]:
        """Of the pods there."""
        pods = (pod for pod in self.pods if pod.namespace in namespaces)
        return (mark for pod in pods for mark in _all_marks(pod))

    @property
    def unstarted(self) -> tuple[Pod, ...]:
        """Those of which no API server knows, by name: they stand in a manifest only."""
        return tuple(self._unstarted[name] for name in sorted(self._unstarted))

    @classmethod
    def of(cls, last: PodTable | None, pods: tuple[Pod, ...]) -> PodTable:
        """pods: by name."""
        made = cls(pods)
        last = last or cls()
        went, came = differences(last.pods, pods)
        made.follows = last.token
        made._names, made._addresses = dict(last._names), dict(last._addresses)
        made._kins, made._unstarted = dict(last._kins), dict(last._unstarted)
        for pod in went:
            made._leave(pod)
        for pod in came:
            made._enter(pod)
        made.changed = frozenset(mark for pod in (*went, *came) for mark in _all_marks(pod))
        made._meet(last)
        return made

    def _leave(self, pod: Pod) -> None:
        name = _name(pod)
        del self._names[name]
        self._unstarted.pop(name, None)
        _put(self._kins, kin_of(pod), name, None)
        for address in _own_addresses(pod):
            _put(self._addresses, address, name, None)

    def _enter(self, pod: Pod) -> None:
        name = _name(pod)
        self._names[name] = pod
        if pod.status == _NO_STATUS:
            self._unstarted[name] = pod
        _put(self._kins, kin_of(pod), name, pod)
        for address in _own_addresses(pod):
            _put(self._addresses, address, name, pod)

    def _meet(self, last: PodTable) -> None:
        """Marks and population are the last one's while no kin has come or gone."""
        if self._kins.keys() == last._kins.keys():
            self.population, self._marks = last.population, last._marks
            return
        kins = sorted(self._kins)
        marks: dict[tuple[str, str, str], list[Kin]] = defaultdict(list)
        for kin in kins:
            for label in kin[1]:
                marks[kin[0], *label].append(kin)
        self._marks = marks
        self.population = tuple((namespace, dict(labels)) for namespace, labels in kins)


def tell_unstarted(pods: Iterable[Pod], report: Report) -> None:
    """pods: those that stand in a manifest only."""
    for pod in pods:
        message = "without a status it has no address: it counts for selectors, and serves nothing"
        report.info(pod, pod.position, "NoEffect", message)


def kin_of(pod: Pod) -> Kin:
    return _kin(pod.namespace, pod.metadata.labels)


def _kin(namespace: str, labels: Mapping[str, str]) -> Kin:
    return namespace, tuple(sorted(labels.items()))


def selected_by(kin: Kin, selector: Mapping[str, str]) -> bool:
    return selector.items() <= set(kin[1])


def _name(pod: Pod) -> Name:
    return pod.namespace, pod.name


def _own_addresses(pod: Pod) -> tuple[str, ...]:
    return () if pod.spec.host_network else pod.addresses


def _all_marks(pod: Pod) -> Iterable[Mark]:
    yield _name(pod)
    yield from ((pod.namespace, label) for label in pod.metadata.labels.items())
    yield from (("", address) for address in _own_addresses(pod))


def _put(table: dict[K, dict[Name, Pod]], key: K, name: Name, pod: Pod | None) -> None:
    """In a new inner table, as others may have the old one; an empty one is taken out."""
    inner = dict(table.get(key, {}))
    if pod is None:
        inner.pop(name, None)
    else:
        inner[name] = pod
    if inner:
        table[key] = inner
    else:
        table.pop(key, None)
