"""FilterChainMatch in Envoy's order of precedence, criterion by criterion."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import CidrRange, FilterChainMatch
from proxy.connection import ConnectionInfo
from proxy.listen.chain_match import ChainMatchError, ChainTable


def connection(
    local: tuple[str, int] = ("10.0.0.1", 80),
    remote: tuple[str, int] = ("10.9.9.9", 5555),
    sni: str = "",
    alpn: tuple[str, ...] = (),
) -> ConnectionInfo:
    return ConnectionInfo(remote, local, local, sni=sni, offered_alpn=alpn)


def chosen(
    chains: dict[str, FilterChainMatch],
    transport_protocol: str = "raw_buffer",
    default: str | None = "default",
    **facts: Any,
) -> str | None:
    table = ChainTable([(match, name) for name, match in chains.items()], default)
    return table.find(connection(**facts), transport_protocol)


def prefixes(*ranges: str) -> tuple[CidrRange, ...]:
    parted = (each.partition("/") for each in ranges)
    return tuple(CidrRange(address, int(length)) for address, _, length in parted)


Match = FilterChainMatch
NAMES = {
    "exact": Match(server_names=("www.example.com",)),
    "near": Match(server_names=("*.example.com",)),
    "far": Match(server_names=("*.com",)),
    "none": Match(),
}
DESTINATIONS = {
    "wide": Match(prefix_ranges=prefixes("10.0.0.0/8")),
    "narrow": Match(prefix_ranges=prefixes("10.1.0.0/16", "fd00::/8")),
    "none": Match(),
}
PORTS = {
    "80 for a.test": Match(destination_port=80, server_names=("a.test",)),
    "any port": Match(),
}
PROTOCOLS = {
    "istio": Match(transport_protocol="tls", application_protocols=("istio", "h2")),
    "tls": Match(transport_protocol="tls"),
    "plain http": Match(transport_protocol="raw_buffer", application_protocols=("http/1.1",)),
}
SOURCES = {
    "one port": Match(source_prefix_ranges=prefixes("10.9.0.0/16"), source_ports=(7, 8)),
    "net": Match(source_prefix_ranges=prefixes("10.9.0.0/16")),
    "any": Match(),
}
ORDER = {
    "by port": Match(destination_port=80),
    "by address": Match(prefix_ranges=prefixes("10.0.0.1/32")),
    "by name": Match(server_names=("a.test",)),
}

CASES: list[tuple[dict[str, FilterChainMatch], dict[str, Any], str]] = [
    (NAMES, {"sni": "www.example.com"}, "exact"),
    (NAMES, {"sni": "api.example.com"}, "near"),
    (NAMES, {"sni": "a.b.example.com"}, "near"),
    (NAMES, {"sni": "example.com"}, "far"),
    (NAMES, {"sni": "com"}, "none"),
    (NAMES, {"sni": ""}, "none"),
    (DESTINATIONS, {"local": ("10.1.2.3", 80)}, "narrow"),
    (DESTINATIONS, {"local": ("10.2.2.3", 80)}, "wide"),
    (DESTINATIONS, {"local": ("fd12::1", 80)}, "narrow"),
    (DESTINATIONS, {"local": ("192.0.2.1", 80)}, "none"),
    (DESTINATIONS, {"local": ("::ffff:10.1.2.3", 80)}, "narrow"),
    (PORTS, {"local": ("10.0.0.1", 81)}, "any port"),
    (PORTS, {"sni": "a.test"}, "80 for a.test"),
    # No way back: port 80 was chosen, and none of its chains knows the name.
    (PORTS, {"sni": "b.test"}, "default"),
    (PROTOCOLS, {"transport_protocol": "tls", "alpn": ("x", "h2")}, "istio"),
    (PROTOCOLS, {"transport_protocol": "tls", "alpn": ("x",)}, "tls"),
    (PROTOCOLS, {"alpn": ("http/1.1",)}, "plain http"),
    (PROTOCOLS, {"alpn": ("h2c",)}, "default"),
    (SOURCES, {"remote": ("10.9.1.1", 8)}, "one port"),
    (SOURCES, {"remote": ("10.9.1.1", 9)}, "net"),
    (SOURCES, {"remote": ("10.8.1.1", 7)}, "any"),
    (ORDER, {"sni": "a.test"}, "by port"),
    (ORDER, {"sni": "a.test", "local": ("10.0.0.1", 81)}, "by address"),
    (ORDER, {"sni": "a.test", "local": ("10.0.0.2", 81)}, "by name"),
    (ORDER, {"local": ("10.0.0.2", 81)}, "default"),
    ({"only": Match()}, {"sni": "anything", "local": ("", 0)}, "only"),
    ({}, {}, "default"),
]


@pytest.mark.parametrize(("chains", "facts", "expected"), CASES)
def test_precedence(
    chains: dict[str, FilterChainMatch], facts: dict[str, Any], expected: str
) -> None:
    assert chosen(chains, **facts) == expected


def test_no_chain_and_no_default() -> None:
    assert chosen({"a": Match(destination_port=1)}, default=None) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Match(), Match()),
        (Match(server_names=("a.test", "b.test")), Match(server_names=("B.test",))),
        (
            Match(prefix_ranges=prefixes("10.1.2.3/8")),
            Match(prefix_ranges=prefixes("10.0.0.0/8")),
        ),
    ],
)
def test_chains_that_cannot_be_told_apart(first: Match, second: Match) -> None:
    with pytest.raises(ChainMatchError, match="overlapping matching rules"):
        chosen({"first": first, "second": second})


@pytest.mark.parametrize("name", ["w*.example.com", "*", "*.*.com"])
def test_partial_wildcards(name: str) -> None:
    with pytest.raises(ChainMatchError, match="partial wildcards"):
        chosen({"x": Match(server_names=(name,))})
