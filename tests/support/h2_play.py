"""HTTP/2 in a `Playbook`: the far ends are the `h2` library, which shares nothing with ours.

with h2_play() as play:
    client = H2Client(play)
    stream = client.ask("/")
    up = H2Up(play)                       # the connection that the proxy asked for
    up.answer(up.asked()[0], 200, b"ok")
    assert client.answers[stream].body == b"ok"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from proxy.config import model
from tests.support.playbook import Peer, Playbook, cluster, listener, route, routes, snapshot

GOAWAY = 7
MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2 = model.HttpProtocolOptions(version="HTTP2")


def h2_play(*table: model.Route, **fields: Any) -> Playbook:
    """A playbook whose listener and cluster `a` speak HTTP/2. http: the cluster's options;
    cluster_fields: the rest of it."""
    http = fields.pop("http", HTTP2)
    made = cluster(http=http, **fields.pop("cluster_fields", {}))
    inside = listener(routes(*(table or (route(),))), codec="HTTP2", **fields)
    return Playbook(config=snapshot([inside], [made]))


Settings = dict[h2.settings.SettingCodes | int, int]


@dataclass
class Heard:
    """What came on one stream. reset: the error code, -1 while there is none."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    ended: bool = False
    reset: int = -1

    @property
    def status(self) -> int:
        return int(self.headers.get(b":status", b"0"))


class H2End:
    """One end that is not the proxy's. goaways: (last stream id, code) in order."""

    def __init__(self, peer: Peer, client: bool) -> None:
        self.peer = peer
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        config.validate_inbound_headers = True
        self.wire = h2.connection.H2Connection(config)
        self.streams: dict[int, Heard] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pings: list[bytes] = []
        self.acknowledges = True
        self._seen = 0
        self._rest = b""

    def say(self) -> None:
        """Sends what the library has to say, and hears what comes back, until nothing does."""
        while True:
            data = self.wire.data_to_send()
            if data:
                self.peer >> data
            if not self._hear():
                return

    def _hear(self) -> bool:
        written = self.peer.transport.written
        new = bytes(written[self._seen :])
        self._seen = len(written)
        for event in self.wire.receive_data(self._without_goaways(new)) if new else ():
            self._note(event)
        return bool(new)

    def _without_goaways(self, data: bytes) -> bytes:
        """The library would hear nothing more behind one; streams go on, though."""
        kept, at = [], 0
        data = self._rest + data
        if data.startswith(MAGIC):
            kept, at = [MAGIC], len(MAGIC)
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            if data[at + 3] == GOAWAY:
                last, code = data[at + 9 : at + 13], data[at + 13 : at + 17]
                self.goaways.append((int.from_bytes(last, "big"), int.from_bytes(code, "big")))
            else:
                kept.append(data[at:end])
            at = end
        self._rest = data[at:]
        return b"".join(kept)

    def _note(self, event: h2.events.Event) -> None:
        found: Any = event
        if isinstance(event, h2.events.PingAckReceived | h2.events.PingReceived):
            self.pings.append(found.ping_data)
            return
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        heard = self.streams.setdefault(stream_id, Heard())
        if isinstance(event, h2.events.RequestReceived | h2.events.ResponseReceived):
            heard.headers = dict(found.headers)
        elif isinstance(event, h2.events.DataReceived):
            heard.body += found.data
            if self.acknowledges and found.flow_controlled_length:
                self.wire.acknowledge_received_data(found.flow_controlled_length, stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            heard.trailers = dict(found.headers)
        elif isinstance(event, h2.events.StreamEnded):
            heard.ended = True
        elif isinstance(event, h2.events.StreamReset):
            heard.reset = int(found.error_code)


class H2Client(H2End):
    def __init__(self, play: Playbook, name: str = "in") -> None:
        super().__init__(play.client(name), client=True)
        self.wire.initiate_connection()
        self.say()

    def ask(self, path: str, body: bytes = b"", method: str = "GET", end: bool = True) -> int:
        """The number of the stream that asks."""
        stream_id = self.wire.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        self.wire.send_headers(stream_id, head, end_stream=end and not body)
        if body:
            self.wire.send_data(stream_id, body, end_stream=end)
        self.streams[stream_id] = Heard()
        self.say()
        return stream_id


class H2Up(H2End):
    """settings: what it tells first, by the library's codes."""

    def __init__(self, play: Playbook, settings: Settings | None = None) -> None:
        super().__init__(play.accept(), client=False)
        self.wire.initiate_connection()
        if settings:
            self.wire.update_settings(settings)
        self.say()

    def asked(self) -> list[int]:
        """The streams that wait for an answer."""
        self.say()
        return [number for number, heard in self.streams.items() if heard.reset < 0]

    def answer(
        self, stream_id: int, status: int = 200, body: bytes = b"", end: bool = True
    ) -> None:
        head = [(":status", str(status))]
        self.wire.send_headers(stream_id, head, end_stream=end and not body)
        if body:
            self.wire.send_data(stream_id, body, end_stream=end)
        if end:
            del self.streams[stream_id]
        self.say()
