"""Several replicas behind one name: connections go to those that accept, in turn."""

from __future__ import annotations

import itertools
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.relay import Relay


class Balancer(Relay):
    """As a Relay, to the ports of `planes` (`mtls_address` or `address`), as they are now."""

    def __init__(self, planes: list[ControlPlane], address: str) -> None:
        self._planes, self._address = planes, address
        self._turns = itertools.count()
        super().__init__(0)

    def _connected(self) -> socket.socket:
        turn = next(self._turns)
        for number in range(len(self._planes)):
            plane = self._planes[(turn + number) % len(self._planes)]
            with suppress(OSError, KeyError, ValueError):
                host, _, port = plane.serving[self._address].rpartition(":")
                return socket.create_connection((host, int(port)), 10)
        raise ConnectionRefusedError("no replica accepts")


class Behind:
    """What a part of a mesh knows of its control plane: one name, and the administrator's files."""

    def __init__(self, planes: list[ControlPlane]) -> None:
        self._planes = planes
        self._doors = {name: Balancer(planes, name) for name in ("address", "mtls_address")}

    @property
    def serving(self) -> dict[str, Any]:
        return {name: f"127.0.0.1:{door.port}" for name, door in self._doors.items()}

    @property
    def port(self) -> int:
        return self._doors["address"].port

    @property
    def state(self) -> Path:
        return self._planes[0].state

    @property
    def root_pem(self) -> bytes:
        return self._planes[0].root_pem

    def join_token(self, service_account: str) -> str:
        return self._planes[0].join_token(service_account)

    def close(self) -> None:
        for door in self._doors.values():
            door.cut()
