"""Services as clients see them, one object for all clients who see the same: what is made of it is
made once, then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.emit import clients
from controlplane.emit.clients import Client
from controlplane.mesh.model import Service

MAX_UNLIKE = 16
"""Views of one service that are compared; they are few, or nearly as many as clients."""


class Views:
    """Of the services that are there now."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[Service, list[Service]]] = {}

    def use(self, services: Iterable[Service]) -> None:
        """These are there now."""
        known = self._known
        self._known = {
            id(one): found for one in services if (found := known.get(id(one))) is not None
        }

    def seen(self, service: Service, client: Client) -> Service | None:
        """None if it may not know the service."""
        found = clients.seen_by(service, client)
        if found is None:
            return None
        _, views = self._known.setdefault(id(service), (service, []))
        for view in views:  # what two of them have in common is the same object, mostly
            if view == found:
                return view
        if len(views) < MAX_UNLIKE:
            views.append(found)
        return found

    def views(self) -> Iterator[Service]:
        for _, views in self._known.values():
            yield from views
