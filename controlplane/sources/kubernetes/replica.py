"""What is known of the objects of one resource: which version of each was taken. Pure.

The same events may come twice, or in another order than they happened, and after a list some come
that the list has already told. Each object's own version decides:

    ADDED, MODIFIED   taken unless this version, or a newer one, was taken or deleted
    DELETED           taken unless a newer version was taken
    a list, page by page, or as events: taken if it is another version; at its end, what is held
                      and was not in it has been deleted

A watch goes on from `resume`. After a clean end that is the newest version seen; after a broken one
it is only what a list or a bookmark has vouched for, since an event may have been under way behind
a newer one. What is told twice costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from controlplane.sources.kubernetes.answers import Document, Event, metadata, place_of, version_of
from controlplane.sources.kubernetes.versions import comparable, is_newer, newest

MAX_TOMBSTONES = 4096

Name = tuple[str, str]
"""Namespace and name."""


class Change(NamedTuple):
    """document None: the object is gone."""

    name: Name
    document: Document | None


class _Held(NamedTuple):
    uid: str
    version: str


class _Found(NamedTuple):
    version: str
    there: bool


class Replica:
    __slots__ = ("_found", "_gone", "_held", "_latest", "_listed", "_vouched")

    def __init__(self) -> None:
        self._held: dict[Name, _Held] = {}
        self._found: dict[Name, _Found] = {}
        self._gone: OrderedDict[Name, str] = OrderedDict()
        self._listed = self._latest = ""
        self._vouched: str | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def names(self) -> tuple[Name, ...]:
        return tuple(self._held)

    @property
    def resume(self) -> str | None:
        """From where a watch goes on; None: list first."""
        return self._vouched

    def list_begins(self) -> None:
        """An earlier one that did not come to its end is forgotten."""
        self._found.clear()

    def page(self, documents: Iterable[Document]) -> list[Change]:
        """Some of the collection: what is new of it."""
        changes: list[Change] = []
        for document in documents:
            name, item = place_of(document), _held(document)
            if self._is_late(name, item.version):
                continue
            self._found[name] = _Found(item.version, True)
            if not item.version or self._held.get(name) != item:
                self._held[name] = item
                changes.append(Change(name, document))
        return changes

    def not_listed(self, document: Document) -> None:
        """Deleted while the list was on its way."""
        name, version = place_of(document), version_of(document)
        if not self._is_late(name, version):
            self._found[name] = _Found(version, False)

    def _is_late(self, name: Name, version: str) -> bool:
        """The same list has told something newer of it, as streaming lists may."""
        found = self._found.get(name)
        return found is not None and not is_newer(version, found.version)

    def list_ends(self, version: str) -> list[Change]:
        """It was the whole of the collection at `version`: what is gone."""
        there = {name for name, found in self._found.items() if found.there}
        gone = [name for name in self._held if name not in there]
        for name in gone:
            del self._held[name]
        self._found.clear()
        self._gone.clear()
        self._listed = self._latest = self._vouched = version
        return [Change(name, None) for name in gone]

    def happened(self, event: Event) -> Change | None:
        """An event of the watch; None: it says nothing new."""
        version = version_of(event.object)
        if event.type == "BOOKMARK":
            self._latest = newest(self._latest, version)
            self._vouched = self._latest
            return None
        self._latest = newest(self._latest, version)
        name = place_of(event.object)
        if event.type == "DELETED":
            return self._deleted(name, event.object, version)
        held = self._held.get(name)
        if not is_newer(version, self._floor(name) if held is None else held.version):
            return None
        self._held[name] = _held(event.object)
        self._gone.pop(name, None)
        return Change(name, event.object)

    def _deleted(self, name: Name, document: Document, version: str) -> Change | None:
        held = self._held.get(name)
        if held is not None and version != held.version and not is_newer(version, held.version):
            return None  # of an object of this name that was there before
        self._gone[name] = newest(self._gone.get(name, ""), version)
        self._gone.move_to_end(name)
        if len(self._gone) > MAX_TOMBSTONES:
            self._gone.popitem(last=False)
        if held is None:
            return None
        del self._held[name]
        return Change(name, None)

    def _floor(self, name: Name) -> str:
        """What an object that is not held must be newer than."""
        gone = self._gone.get(name, "")
        return newest(gone, self._listed) if comparable(self._listed) else gone

    def anew(self) -> None:
        """The same objects will come under another version of their kind: all are news."""
        self._held = dict.fromkeys(self._held, _Held("", ""))
        self._gone.clear()
        self._listed = self._latest = ""
        self._vouched = None

    def ended(self, *, cleanly: bool) -> None:
        """The watch is over."""
        if not comparable(self._latest):
            self._vouched = None  # nothing says that a watch from there would tell all
        elif cleanly:
            self._vouched = self._latest

    def expired(self) -> None:
        """410 Gone: `resume` is no use any more. What is held stays until the next list."""
        self._vouched = None


def _held(document: Document) -> _Held:
    return _Held(str(metadata(document).get("uid") or ""), version_of(document))
