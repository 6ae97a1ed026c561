"""Records that carry nothing for us: a peer that sends them without end must not hold the loop."""

from __future__ import annotations

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
