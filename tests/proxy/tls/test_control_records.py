"""Records that carry nothing for us: a peer that sends them without end must not hold the loop."""

from __future__ import annotations

import contextlib
import socket
import threading

from proxy.config import model
from proxy.tls.contexts import server_context
from proxy.tls.session import Session
from tests.support.pki import Authority
from tests.support.tls import certificate, python_client
from tests.support.tls_records import RecordMaker

ROOT = Authority()
SERVER = ROOT.issue(dns=("server.test",))
MUCH = bytes(4 << 20)
# What stands in a record beside its content: its type, and the tag of AES-GCM.
RECORDS, FULL, KEY_UPDATE = len(MUCH) // 16384, 16384 + 17, 5 + 17


def open_session(ours: socket.socket, theirs: socket.socket) -> tuple[Session, RecordMaker]:
    common = model.CommonTls(certificates=(certificate(SERVER),))
    session = server_context(model.DownstreamTls(common), {}).session()
    session.attach(ours.fileno())
    peer: list[RecordMaker] = []
    thread = threading.Thread(target=lambda: peer.append(RecordMaker(theirs, python_client(ROOT))))
    thread.start()
    while not session.shake():
        pass
    thread.join()
    return session, peer[0]


def test_each_new_key_of_the_peer_is_a_read_of_its_own() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session, peer = open_session(ours, theirs)
        updates = b"".join(peer.key_update(answer=bool(n % 2)) for n in range(100))
        theirs.sendall(updates + peer.data(b"hello"))
        reads = 1
        while (heard := session.read()) == b"":
            reads += 1
        assert heard == b"hello"
        assert reads > 100


def test_a_wish_for_new_keys_while_a_record_is_cut_in_two() -> None:
    """The answer has to wait until the rest of the record has gone; both directions go on."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        theirs.connect(listening.getsockname())
        ours, _ = listening.accept()
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
            session, peer = open_session(ours, theirs)
            ours.setblocking(False)
            sent = session.write(MUCH)
            assert sent < len(MUCH) and session.blocked
            theirs.sendall(peer.key_update(answer=True) + peer.data(b"hello"))
            while not session.read():
                pass
            heard = bytearray()
            theirs.setblocking(False)
            for words in (MUCH, b"more"):  # the answer goes with what is said next
                while sent < len(words):
                    with contextlib.suppress(BlockingIOError):
                        heard += theirs.recv(1 << 20)
                    sent = session.write(words, sent)
                sent = 0
            theirs.setblocking(True)
            while sizes(heard).count(FULL) < RECORDS or KEY_UPDATE not in sizes(heard):
                heard += theirs.recv(1 << 20)


def sizes(records: bytes | bytearray) -> list[int]:
    """Of those that are whole (RFC 8446 section 5.1)."""
    found, at = [], 0
    while at + 5 <= len(records):
        size = int.from_bytes(records[at + 3 : at + 5], "big")
        at += 5 + size
        if at <= len(records):
            found.append(size)
    return found
