"""gRPC's framing and status words, as tables."""

from __future__ import annotations

import pytest

from proxy.http.grpc import MessageReader, RpcError, framed, status


@pytest.mark.parametrize("cut", range(1, 12))
def test_messages_in_any_pieces(cut: int) -> None:
    wire = framed(b"one") + framed(b"") + framed(b"three" * 3)
    reader = MessageReader(1000)
    found = [m for at in range(0, len(wire), cut) for m in reader.feed(wire[at : at + cut])]
    assert found == [b"one", b"", b"three" * 3]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\1\0\0\0\1x", "INTERNAL: the server sent a compressed message"),
        (b"\0\0\0\x03\xe9", "RESOURCE_EXHAUSTED: message of 1001 bytes is too long"),
    ],
)
def test_what_is_not_taken(wire: bytes, code: str) -> None:
    with pytest.raises(RpcError, match=code):
        MessageReader(1000).feed(wire)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([(":status", "200"), ("grpc-status", "0")], None),
        (
            [("grpc-status", "16"), ("grpc-message", "who%20are\nyou")],
            "UNAUTHENTICATED: who are you",
        ),
        ([("grpc-status", "7")], "PERMISSION_DENIED"),
        ([("grpc-status", "99")], "UNKNOWN"),
        ([("grpc-status", "x")], "UNKNOWN"),
        ([("grpc-status", "\xb2")], "UNKNOWN"),  # a digit, and no number
        ([("grpc-status", "9" * 5000)], "UNKNOWN"),
        ([(":status", "404")], "UNIMPLEMENTED: the server answered with HTTP status 404"),
        ([(":status", "503")], "UNAVAILABLE: the server answered with HTTP status 503"),
        ([], "UNKNOWN: the server answered with HTTP status nothing"),
    ],
)
def test_status(headers: list[tuple[str, str]], text: str | None) -> None:
    error = status(headers)
    assert (str(error) if error is not None else None) == text


@pytest.mark.parametrize(
    ("said", "pushback_s"),
    [("4000", 4.0), ("0", 0.0), ("-1", None), ("soon", None), ("", None), ("9" * 11, None)],
)
def test_when_the_server_wants_to_hear_again(said: str, pushback_s: float | None) -> None:
    error = status([("grpc-status", "8"), ("grpc-retry-pushback-ms", said)])
    assert error is not None
    assert error.pushback_s == pushback_s
