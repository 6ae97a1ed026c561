"""Both our ends against the h2 library's, in memory; and any bytes, split anywhere."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.h2 import ClientConnection, Options, errors, frames
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from tests.support.h2_codec import BODY, HELLO, Listener, Server
from tests.support.h2spec import GET, POST, block, request

Pairs = list[tuple[bytes, bytes]]

token = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).map(
    lambda name: b"x-" + name.encode()
)
value = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=60
).map(str.encode)  # fmt: skip
pairs = st.lists(st.tuples(token, value), max_size=6)
body_bytes = st.sampled_from([0, 1, 100, 16384, 70_000])


def library(*, client: bool) -> H2Connection:
    return H2Connection(H2Configuration(client_side=client, header_encoding=None))


class OfLibrary:
    """What the library's end has heard of a stream."""

    def __init__(self, connection: H2Connection) -> None:
        self.connection = connection
        self.blocks: list[Pairs] = []
        self.body = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        for event in self.connection.receive_data(data):
            if isinstance(event, RequestReceived | ResponseReceived | TrailersReceived):
                assert event.headers is not None
                self.blocks.append([(bytes(n), bytes(v)) for n, v in event.headers])
            elif isinstance(event, DataReceived):
                self.body += event.data or b""
                size = event.flow_controlled_length or 0
                self.connection.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended = True
        return self.connection.data_to_send()


def send_all(connection: H2Connection, data: bytes, *, end: bool = True) -> bytes:
    """As far as the windows go; what is left."""
    while data:
        room = min(connection.local_flow_control_window(1), connection.max_outbound_frame_size)
        if not room:
            return data
        piece, data = data[:room], data[room:]
        connection.send_data(1, piece, end_stream=end and not data)
    return b""


@settings(max_examples=40)
@given(pairs, body_bytes, pairs, body_bytes, pairs)
def test_our_client_with_their_server(
    asked: Pairs, question_bytes: int, answered: Pairs, answer_bytes: int, trailers: Pairs
) -> None:
    question, answer = b"q" * question_bytes, b"a" * answer_bytes
    theirs, sink = OfLibrary(library(client=False)), Listener()
    theirs.connection.initiate_connection()
    said: list[bytes] = []
    ours = ClientConnection(sink, Options(), said.append)
    ours.start()
    head = Request(b"POST", b"/path", b"a.example", Headers.of(asked), -1)
    ours.send_head(ours.new_stream(), head, True, question)
    while said:
        data, said[:] = b"".join(said), []
        ours.feed(theirs.feed(data))
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/path")]
    assert theirs.blocks == [[*pseudo, (b":authority", b"a.example"), *asked]]
    assert (theirs.body, theirs.ended) == (question, True)
    theirs.connection.send_headers(1, [(b":status", b"200"), *answered])
    left = answer
    while left:
        left = send_all(theirs.connection, left, end=False)
        ours.feed(theirs.connection.data_to_send())
        theirs.feed(b"".join(said))
        said.clear()
    theirs.connection.send_headers(1, [(b"x-last", b"1"), *trailers], end_stream=True)
    ours.feed(theirs.connection.data_to_send())
    told = [event for event in sink.events if event[0] in ("response", "trailers")]
    assert told[0] == ["response", 1, 200, answered, answer, True]
    assert told[1] == ["trailers", 1, [(b"x-last", b"1"), *trailers]]
    assert ours.streams == 0


@settings(max_examples=40)
@given(pairs, body_bytes, pairs, body_bytes)
def test_our_server_with_their_client(
    asked: Pairs, question_bytes: int, answered: Pairs, answer_bytes: int
) -> None:
    question, answer = b"q" * question_bytes, b"a" * answer_bytes
    theirs = OfLibrary(library(client=True))
    theirs.connection.initiate_connection()
    server = Server(hello=b"")
    server.codec.feed(theirs.feed(b"".join([frames.frame(*said) for said in server.hello])))
    server.sink.answering = None
    pseudo = [(b":method", b"PUT"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
    theirs.connection.send_headers(1, [*pseudo, *asked], end_stream=not question)
    written = server.written
    left = question
    while True:
        left = send_all(theirs.connection, left)
        data = theirs.connection.data_to_send()
        if not data:
            break
        while data:
            server.codec.feed(data)
            data = theirs.feed(b"".join(written))
            written.clear()
    told = [event for event in server.sink.events if event[0] == "request"]
    assert told == [["request", 1, b"PUT", b"/", b"a", asked, question, True]]
    server.codec.send_head(1, Response(201, Headers.of(answered)), True, answer)
    while written:
        data, written[:] = b"".join(written), []
        server.codec.feed(theirs.feed(data))
    assert theirs.blocks == [[(b":status", b"201"), *answered]]
    assert (theirs.body, theirs.ended) == (answer, True)


# ---------------------------------------------------------------------- any bytes

WIRE = b"".join([
    HELLO,
    request(GET),
    frames.frame(frames.HEADERS, 0, 3, block(POST)[:4]),
    frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3, block(POST)[4:]),
    frames.frame(frames.DATA, frames.PADDED, 3, b"\x02some\0\0"),
    frames.window_update(0, 1000),
    frames.frame(frames.PING, 0, 0, b"12345678"),
    request([("x-trailer", "1")], 3),
    frames.settings([(frames.INITIAL_WINDOW_SIZE, 5)]),
    request(GET, 5),
    frames.window_update(5, 100),
    frames.frame(0x20, 0, 0, b"unknown"),
    request([*POST, ("content-length", "4")], 7, end=False),
    frames.frame(frames.DATA, 0, 7, b"bo"),
    frames.frame(frames.DATA, frames.END_STREAM, 7, b"dy"),
    request(POST, 9, end=False),
    frames.rst_stream(9, errors.CANCEL),
    frames.goaway(0, 0, b"bye"),
])  # fmt: skip


def told(pieces: list[bytes]) -> tuple[list[list[object]], list[object], int]:
    """The events, the frames written (but for how DATA is cut), and the code of a failure."""
    server = Server(hello=b"")
    written = [one for piece in pieces for one in server.fed(piece)]
    return server.sink.events, list(written), server.failed.code if server.failed else -1


WHOLE = told([WIRE])


@pytest.mark.parametrize("at", range(0, len(WIRE), 7))
def test_split_in_two_it_tells_the_same(at: int) -> None:
    events, written, failed = told([WIRE[:at], WIRE[at:]])
    assert (events, failed) == (WHOLE[0], WHOLE[2])
    assert len(written) == len(WHOLE[1])


def test_byte_by_byte_it_tells_the_same() -> None:
    events, _, failed = told([WIRE[at : at + 1] for at in range(len(WIRE))])
    assert (events, failed) == (WHOLE[0], WHOLE[2])
    bodies = [event[-2:] for event in events if event[0] == "request"]
    assert bodies[:4] == [[b"", True], [b"some", True], [b"", True], [b"body", True]]


@st.composite
def some_frame(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 11))
    stream_id = draw(st.sampled_from([0, 1, 1, 3, 3, 5, 2, 7, 1 << 31]))
    flags = draw(st.sampled_from([0, 1, 4, 5, 5, 8, 13, 0x25, 0xFF]))
    payload = draw(st.one_of(
        st.binary(max_size=20),
        st.sampled_from([block(GET), block(POST), b"\0\0\0\1", b"\0" * 8, b"\x88"]),
    ))  # fmt: skip
    return frames.frame(kind, flags, stream_id, payload)


@settings(max_examples=100)
@given(st.lists(some_frame(), max_size=12), st.data())
def test_any_frames_are_borne_and_split_alike(sent: list[bytes], data: st.DataObject) -> None:
    wire = HELLO + b"".join(sent)
    at = data.draw(st.integers(0, len(wire)))
    events, written, failed = told([wire])
    assert told([wire[:at], wire[at:]]) == (events, written, failed)
    assert len(written) <= 3 + 4 * len(sent)


@given(st.lists(some_frame(), max_size=12))
def test_any_frames_are_borne_by_a_client(sent: list[bytes]) -> None:
    said: list[bytes] = []
    client = ClientConnection(Listener(), Options(), said.append)
    client.start()
    client.feed(frames.settings([]))
    for _ in range(2):
        head = Request(b"GET", b"/", b"a", Headers())
        client.send_head(client.new_stream(), head, True)
    try:
        client.feed(b"".join(sent))
    except errors.ConnectionFailed:
        assert client.feed(b"anything") is None  # type: ignore[func-returns-value]
    assert sum(map(len, said)) < 2000 + len(BODY)
