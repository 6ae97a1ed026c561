"""The TCP connection behind a CONNECT that ends here: what exchange and host get to hear."""

from __future__ import annotations

from proxy.http.headers import Headers
from proxy.http.message import UNTIL_CLOSE, Request
from proxy.upstream import retry
from proxy.upstream.dial import DialFailure
from proxy.upstream.tcp import UpstreamTcp
from proxy.upstream.tunnel import TcpTunnel
from tests.support.fake_loop import FakeTransport
from tests.support.hosts import Asked, House

CONNECT = Request(b"CONNECT", b"", b"x:443", Headers(), UNTIL_CLOSE)


class Dug:
    """A tunnel whose connection comes to be when the test says so."""

    def __init__(self, first: bytes = b"") -> None:
        self.house = House()
        self.asked = Asked(self.house.cluster.breakers["DEFAULT"], CONNECT)
        self.dialled: list[UpstreamTcp] = []
        cluster, host = self.house.cluster, self.house.hosts[0]
        self.tunnel = TcpTunnel(cluster, host, self.asked, self.dialled.append, first)

    def open(self) -> FakeTransport:
        tcp = self.dialled[0]
        transport = FakeTransport(self.house.loop, tcp)
        tcp.connection_made(transport)
        tcp.opened(self.house.loop.now)
        return transport

    def ask(self) -> FakeTransport:
        """Open, and the head sent."""
        transport = self.open()
        self.tunnel.send_request(self.asked, CONNECT, False)
        return transport


def test_that_there_is_a_connection_is_the_answer() -> None:
    dug = Dug()
    transport = dug.open()
    assert dug.asked.heard == ["connected"] and not transport.reading
    dug.tunnel.send_request(dug.asked, CONNECT, False)
    assert dug.asked.heard[-1] == "response 200" and not transport.written


def test_bytes_pass_as_they_are() -> None:
    dug = Dug(first=b"PROXY UNKNOWN\r\n")
    transport = dug.ask()
    dug.tunnel.send_data(dug.asked, b"there")
    transport.receive(b"back")
    assert bytes(transport.written) == b"PROXY UNKNOWN\r\nthere"
    assert dug.asked.heard[-1] == "data"


def test_what_the_host_says_first_comes_behind_the_head() -> None:
    dug = Dug()
    transport = dug.open()
    transport.reading = True
    transport.receive(b"220 hello\r\n")
    assert "data" not in dug.asked.heard
    dug.tunnel.send_request(dug.asked, CONNECT, False)
    assert dug.asked.heard == ["connected", "response 200", "data"]


def test_each_side_may_end_first() -> None:
    dug = Dug()
    transport = dug.ask()
    dug.tunnel.end_request(dug.asked, None)
    assert transport.wrote_eof and not transport.closing
    transport.receive_eof()
    assert dug.asked.heard[-1] == "end"


def test_no_connection() -> None:
    dug = Dug()
    dug.dialled[0].failed(DialFailure(retry.CONNECT_FAILURE, "refused", False), 0.0)
    assert dug.asked.heard == ["reset connection failure"]
    assert dug.house.cluster.breakers["DEFAULT"].connections == 0


def test_it_breaks() -> None:
    dug = Dug()
    transport = dug.ask()
    transport.lose(ConnectionResetError())
    assert dug.asked.heard[-1] == "reset connection termination"
    assert dug.house.cluster.breakers["DEFAULT"].connections == 0


def test_giving_up_while_it_connects() -> None:
    dug = Dug()
    dug.tunnel.abandon(dug.asked)
    transport = dug.open()
    assert dug.asked.heard == [] and transport.aborted


def test_a_host_that_reads_slowly() -> None:
    dug = Dug()
    transport = dug.ask()
    transport.stuck = True
    limit = dug.house.cluster.config.per_connection_buffer_limit_bytes
    dug.tunnel.send_data(dug.asked, b"x" * (limit + 1))
    assert dug.asked.heard[-1] == "writable False"
    transport.release()
    assert dug.asked.heard[-1] == "writable True"
    dug.tunnel.pause_reading(dug.asked)
    assert not transport.reading
    dug.tunnel.resume_reading(dug.asked)
    assert transport.reading
