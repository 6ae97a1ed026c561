"""A DNS server on loopback whose zone the test writes, and that it stops and starts."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from typing import Any, Self

import dnslib

Zone = dict[tuple[str, str], list[str]]
PATIENT = 1000  # tries, of which c-ares gives each some seconds


class DnsServer(asyncio.DatagramProtocol):
    """zone: (name, "A" or "AAAA") to addresses; a name without any does not exist. failing: names
    that are answered SERVFAIL. ttl_s: of all records. asked: how often each was asked for."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.failing: set[str] = set()
        self.ttl_s = 60
        self.asked: Counter[tuple[str, str]] = Counter()
        self.port = 0
        self._transport: Any = None

    async def start(self) -> None:
        """Again on the port that it had before."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", self.port)
        )
        self.port = self._transport.get_extra_info("sockname")[1]

    def stop(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dnslib.DNSRecord.parse(data)
        name, kind = str(question.q.qname).rstrip("."), dnslib.QTYPE[question.q.qtype]
        self.asked[name, kind] += 1
        reply = question.reply()
        if name in self.failing:
            reply.header.rcode = dnslib.RCODE.SERVFAIL
        elif not any(known == name for known, _ in self.zone):
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        make = dnslib.AAAA if kind == "AAAA" else dnslib.A
        for address in self.zone.get((name, kind), ()) if not reply.header.rcode else ():
            reply.add_answer(dnslib.RR(name, question.q.qtype, rdata=make(address), ttl=self.ttl_s))
        self._transport.sendto(reply.pack(), addr)


class SilentDns:
    """Where questions arrive and nobody answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._ignored = b""  # an answer to another question
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def question(self) -> str:
        """The name that the next question is about."""
        data, asker = await asyncio.get_running_loop().sock_recvfrom(self._socket, 512)
        self._socket.connect(asker)
        asked = dnslib.DNSRecord.parse(data)
        asked.header.id ^= 1
        self._ignored = asked.reply().pack()
        return str(asked.q.qname).rstrip(".")

    @property
    def gone(self) -> bool:
        """Nobody has the port any more from which the last question came."""
        try:
            self._socket.send(self._ignored)
        except ConnectionRefusedError:
            return True
        return False

    def drain(self) -> int:
        """How many questions were there."""
        for count in itertools.count():
            try:
                self._socket.recv(512)
            except BlockingIOError:
                return count
        raise AssertionError("there is always an end")
