"""Which families are asked for in which order, and that c-ares and the system answer at all."""

from __future__ import annotations

import socket

import pytest

from proxy.config.model.discovery import DnsFamily, DnsResolver
from proxy.upstream.resolver import Answer, ByFamily, Records, ResolveFailed, Resolvers

FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Book:
    """What is known of one name, by family; a family that is missing fails."""

    def __init__(self, four: Records | None, six: Records | None) -> None:
        self.records = {FOUR: four, SIX: six}
        self.asked: list[int] = []

    async def ask(self, name: str, family: int) -> Records:
        self.asked.append(family)
        found = self.records[socket.AddressFamily(family)]
        if found is None:
            raise ResolveFailed(name)
        return found


V4: Records = (["10.0.0.1", "10.0.0.2", "10.0.0.1"], 30.0)
V6: Records = (["fd00::1"], 9.0)
NONE: Records = ([], None)


@pytest.mark.parametrize(
    "family, four, six, addresses, ttl_s, asked",
    [
        ("V4_ONLY", V4, V6, ("10.0.0.1", "10.0.0.2"), 30.0, [FOUR]),
        ("V6_ONLY", V4, V6, ("fd00::1",), 9.0, [SIX]),
        ("AUTO", V4, V6, ("fd00::1",), 9.0, [SIX]),
        ("AUTO", V4, NONE, ("10.0.0.1", "10.0.0.2"), 30.0, [SIX, FOUR]),
        ("AUTO", V4, None, ("10.0.0.1", "10.0.0.2"), 30.0, [SIX, FOUR]),
        ("V4_PREFERRED", V4, V6, ("10.0.0.1", "10.0.0.2"), 30.0, [FOUR]),
        ("V4_PREFERRED", NONE, V6, ("fd00::1",), 9.0, [FOUR, SIX]),
        ("ALL", V4, V6, ("10.0.0.1", "10.0.0.2", "fd00::1"), 9.0, [FOUR, SIX]),
        ("ALL", V4, None, ("10.0.0.1", "10.0.0.2"), 30.0, [FOUR, SIX]),
        ("AUTO", NONE, NONE, (), None, [SIX, FOUR]),
    ],
)
async def test_families(
    family: DnsFamily,
    four: Records | None,
    six: Records | None,
    addresses: tuple[str, ...],
    ttl_s: float | None,
    asked: list[int],
) -> None:
    book = Book(four, six)
    assert await ByFamily(book.ask).resolve("a.test", family) == Answer(addresses, ttl_s)
    assert book.asked == asked


@pytest.mark.parametrize("family", ["V4_ONLY", "AUTO", "ALL"])
async def test_nobody_answers(family: DnsFamily) -> None:
    with pytest.raises(ResolveFailed):
        await ByFamily(Book(None, None).ask).resolve("a.test", family)


async def test_an_address_is_not_asked_for() -> None:
    book = Book(None, None)
    assert await ByFamily(book.ask).resolve("10.9.9.9", "V6_ONLY") == Answer(("10.9.9.9",))
    assert book.asked == []


@pytest.mark.parametrize("config", [DnsResolver(), DnsResolver(system=True)])
async def test_the_real_ones(config: DnsResolver) -> None:
    resolvers = Resolvers()
    resolver = resolvers.get(config)
    assert resolvers.get(config) is resolver
    assert (await resolver.resolve("localhost", "V4_ONLY")).addresses == ("127.0.0.1",)
    with pytest.raises(ResolveFailed):
        await resolver.resolve("x" * 80 + ".test", "V4_ONLY")
    resolvers.close()
