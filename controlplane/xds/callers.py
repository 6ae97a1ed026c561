"""Notes what gRPC's own clients call, so that it can be told what they do without."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.xds.proxyless import Proxyless
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push
from protos.types import LDS, RDS


class Callers:
    """Implements the streams' Observer. on_news: what is to be told may be more now."""

    __slots__ = ("_on_news", "_proxyless")

    def __init__(self, proxyless: Proxyless, on_news: Callable[[], None]) -> None:
        self._proxyless = proxyless
        self._on_news = on_news

    def changed(self, connection: Connection) -> None:
        if connection.node.dialect != "grpc":
            return
        held = connection.machine.subscriptions
        named = [name for url in (LDS, RDS) if url in held for name in held[url].names]
        if self._proxyless.note(connection.node, named):
            self._on_news()

    def pushed(self, connection: Connection, push: Push) -> None:
        """What is sent was asked for."""

    def rejected(self, connection: Connection, answer: Answer) -> None:
        """The status of resources has it."""

    def converged(self, connection: Connection, after_s: float) -> None:
        """Nothing new is called."""
