"""Filter chains that would match the same connections: refused as by Envoy 1.40, which was asked
about each of these."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from proxy.config.decode_lds import listener
from proxy.config.rejected import Rejected


def ranges(*starts: str) -> list[CidrRange]:
    found = [CidrRange(address_prefix=one) for one in starts]
    for one in found:
        one.prefix_len.value = 8
    return found


def of(*matches: FilterChainMatch) -> Listener:
    made = Listener(name="l")
    made.address.socket_address.address = "127.0.0.1"
    for match in matches:
        chain = made.filter_chains.add(filter_chain_match=match)
        chain.filters.add().typed_config.Pack(TcpProxy(stat_prefix="a", cluster="a"))
    return made


MATCH = FilterChainMatch


@pytest.mark.parametrize(
    "matches",
    [
        (MATCH(server_names=["a", "b"]), MATCH(server_names=["b", "c"])),
        (MATCH(server_names=["A"]), MATCH(server_names=["a", "b"])),
        (MATCH(server_names=["a", "a"]),),
        (MATCH(prefix_ranges=ranges("10.0.0.1", "10.0.0.0")),),
        (MATCH(application_protocols=["h2", "h2"]),),
        (MATCH(source_ports=[1, 2]), MATCH(source_ports=[2])),
    ],
    ids=["names", "case", "name twice", "range twice", "protocol twice", "ports"],
)
def test_both_match_some(matches: tuple[FilterChainMatch, ...]) -> None:
    last = len(matches) - 1
    with pytest.raises(Rejected, match=r"overlaps with filter_chains\[0\]") as found:
        listener(of(*matches))
    assert str(found.value).startswith(f"filter_chains[{last}].filter_chain_match: ")


def test_the_more_specific_one_is_another() -> None:
    found = listener(of(MATCH(server_names=["a"]), MATCH(), MATCH(source_ports=[1])))
    assert len(found.filter_chains) == 3
