"""A DNS server on loopback whose zone the test writes, and that it stops and starts."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import dnslib

Zone = dict[tuple[str, str], list[str]]


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
