"""A way to a TCP port that can be cut and mended in a moment: the network between two processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE_BYTES = 65536


class Relay:
    """`port` leads to `target` until `cut`, and again from `mend` on. While it is cut connections
    are refused, and those that there were have ended. `accepted`: how many there were."""

    def __init__(self, target: int) -> None:
        self.accepted = 0
        self._target = target
        self._is_cut = False
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self._door = self._open(0)
        self.port: int = self._door.getsockname()[1]

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            ends, self._ends = self._ends, []
        self._shut(self._door)
        for end in ends:
            self._shut(end)

    def mend(self) -> None:
        self._is_cut = False
        self._door = self._open(self.port)

    def _open(self, port: int) -> socket.socket:
        door = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(door,), daemon=True).start()
        return door

    def _accept(self, door: socket.socket) -> None:
        with suppress(OSError), door:
            while True:
                near, _ = door.accept()
                self.accepted += 1
                try:
                    far = self._connected()
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    if self._is_cut:  # while we went to the target
                        near.close()
                        far.close()
                        return
                    self._ends += near, far
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._target))

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                sink.sendall(piece)
        self._shut(source)
        self._shut(sink)
        source.close()

    @staticmethod
    def _shut(one: socket.socket) -> None:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(target: int) -> Iterator[Relay]:
    made = Relay(target)
    try:
        yield made
    finally:
        made.cut()
