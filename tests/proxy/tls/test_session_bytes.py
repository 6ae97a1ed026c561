"""TLS sessions under bytes of every kind: cut anywhere nothing changes, and garbage ends them with
a reason and no other exception."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proxy.config import model
from proxy.tls.contexts import client_context, server_context
from proxy.tls.failure import TlsFailed
from tests.support.pki import Authority
from tests.support.tls import SessionSide, certificate, handshake

COMMON = model.CommonTls(certificates=(certificate(Authority().issue(dns=("a",))),))
SERVER = server_context(model.DownstreamTls(COMMON), {})
CLIENT = client_context(model.UpstreamTls(model.CommonTls(), max_session_keys=0), {})


def cut(data: bytes, random: Random) -> list[bytes]:
    """At record headers and within them, too."""
    parts, at = [], 0
    while at < len(data):
        size = random.choice((1, 3, 5, 7, 100, 1500, 16389, 70_000))
        parts.append(data[at : at + size])
        at += size
    return parts


def test_records_cut_anywhere() -> None:
    random = Random(7)
    for _ in range(40):
        client, server = handshake(CLIENT, SERVER)
        said = [random.randbytes(random.randrange(1, 40_000)) for _ in range(4)]
        wire = b"".join(map(client.encrypt, said))
        heard = b"".join(map(server.decrypt, cut(wire, random)))
        assert heard == b"".join(said)
        assert server.decrypt(client.encrypt(b"end")) == b"end"  # and in step again


@given(st.binary(min_size=1, max_size=300))
def test_garbage_for_a_handshake(data: bytes) -> None:
    session = SessionSide(SERVER.session())
    try:
        assert not session.shake(data)
    except TlsFailed as failure:
        assert failure.why


def test_a_record_that_was_changed_ends_the_connection() -> None:
    random = Random(11)
    for _ in range(60):
        client, server = handshake(CLIENT, SERVER)
        wire = bytearray(client.encrypt(b"x" * random.randrange(1, 500)))
        wire[random.randrange(len(wire))] ^= random.randrange(1, 256)
        try:
            heard = server.decrypt(bytes(wire)) + server.decrypt(b"")
        except TlsFailed as failure:
            assert failure.statistic == "connection_error"
        else:
            assert heard == b""  # a longer length: the rest is waited for


def test_what_comes_after_the_end_is_not_heard() -> None:
    client, server = handshake(CLIENT, SERVER)
    assert server.decrypt(client.close_notify()) == b""
    assert server.ended
    record = b"\x17\x03\x03\x40\x00" + bytes(0x4000)
    for part in (record, record[:100], record * 3):
        assert server.decrypt(part) == b""
    assert client.decrypt(server.encrypt(b"ours goes on")) == b"ours goes on"
