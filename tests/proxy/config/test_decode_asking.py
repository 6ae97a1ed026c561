"""Listeners whose connections ask for better ones: for which addresses."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from proxy.config.decode_lds import listener
from proxy.config.model import CidrRange
from proxy.config.rejected import Rejected


def asking(said: dict[str, Any]) -> Listener:
    made = Listener(name="0.0.0.0_80")
    made.address.socket_address.address = "0.0.0.0"
    made.address.socket_address.port_value = 80
    relay = made.filter_chains.add().filters.add(name="tcp")
    relay.typed_config.Pack(TcpProxy(stat_prefix="a", cluster="a"))
    made.metadata.filter_metadata["weft.on_demand"].update(said)
    return made


def test_ranges_are_where_it_asks() -> None:
    found = listener(asking({"ranges": ["10.96.0.0/16", "fd00::/64"]}))
    assert found.asks
    assert found.asks_within == (CidrRange("10.96.0.0", 16), CidrRange("fd00::", 64))
    everywhere = listener(asking({}))
    assert everywhere.asks
    assert everywhere.asks_within == ()


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"ranges": ["10.96.0.1/16"]}, "ranges[0]: `10.96.0.1/16` is no range of IPs"),
        ({"ranges": "10.96.0.0/16"}, "ranges: wants a list"),
        ({"ports": [80]}, "ports: is not supported"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(said: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Rejected) as caught:
        listener(asking(said), "L")
    assert f"L.metadata.filter_metadata[weft.on_demand].{wrong}" in str(caught.value)
