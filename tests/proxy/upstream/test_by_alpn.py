"""A connection whose protocol the handshake tells."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.upstream.connect import _ByAlpn
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.http2 import UpstreamH2
from tests.support.fake_loop import FakeLoop, FakeTransport
from tests.support.hosts import House


class Negotiated(FakeTransport):
    """TLS that has told a protocol."""

    def __init__(self, alpn: str) -> None:
        super().__init__(FakeLoop(), asyncio.Protocol())
        self._alpn = alpn

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "tls":
            return SimpleNamespace(alpn=self._alpn)
        return super().get_extra_info(name, default)


@pytest.mark.parametrize(("alpn", "kind"), [("h2", UpstreamH2), ("", UpstreamH1)])
def test_what_is_chosen_counts_as_begun_when_the_handshake_was(alpn: str, kind: type) -> None:
    house = House()
    house.ask()
    pool = house.openings[0]
    before = _ByAlpn(pool)
    house.cluster.retire_connections()
    after = _ByAlpn(pool)
    for one in (before, after):
        one.connection_made(Negotiated(alpn))
        assert isinstance(one.chosen, kind)
    assert before.chosen is not None and after.chosen is not None
    assert before.chosen.generation != house.cluster.generation
    assert after.chosen.generation == house.cluster.generation
