"""A resolver whose answers the test gives, and changes when it says so."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from proxy.config.model.discovery import DnsFamily
from proxy.upstream.resolver import Answer, ResolveFailed


class FakeDns:
    """answers: by name: an Answer, or None for a failure. The first is given until `turn`, then the
    second ... A name without any is never answered."""

    def __init__(self, **answers: list[Answer | None]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: dict[str, int] = defaultdict(int)

    async def resolve(self, name: str, family: DnsFamily) -> Answer:
        self.asked[name] += 1
        given = self.answers.get(name)
        if given is None:
            await asyncio.Event().wait()
        assert given is not None
        answer = given[0]
        if answer is None:
            raise ResolveFailed(name)
        return answer

    def turn(self, name: str) -> None:
        """From now on the next of the name's answers."""
        self.answers[name].pop(0)


def to(*addresses: str, ttl_s: float | None = None) -> Answer:
    return Answer(addresses, ttl_s)
