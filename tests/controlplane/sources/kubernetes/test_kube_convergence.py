"""Whatever happens to watches and lists, what is held becomes what there is. Always."""

from __future__ import annotations

import asyncio
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from controlplane.sources.kubernetes.answers import ApiError, Broken
from tests.support.kube_cluster import Cluster
from tests.support.kube_direct import Reflected, gone

NAMES = st.sampled_from("abc")
FAILURES = st.sampled_from(
    (
        ConnectionRefusedError("refused"),
        TimeoutError(),
        ApiError(500, "InternalError", "etcd"),
        ApiError(429, "TooManyRequests", "slow down", 1.0),
        ApiError(504, "ResourceVersionTooLarge", "Too large resource version"),
        ApiError(401, "Unauthorized", "Unauthorized"),
        ApiError(403, "Forbidden", "forbidden"),
        Broken("half an answer"),
        gone(),
    )
)


class Convergence(RuleBasedStateMachine):
    """Rules are what people, the server and the network do; the loop runs a little after each."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.cluster = Cluster()
        self.kind = self.cluster.named("services")

    @initialize(streaming=st.booleans(), served=st.booleans(), names=st.sets(NAMES))
    def begin(self, streaming: bool, served: bool, names: set[str]) -> None:
        self.cluster.streaming_lists = served
        for name in sorted(names):
            self.put(name)
        self.one = self.runner.run(self._started(streaming))

    async def _started(self, streaming: bool) -> Reflected:
        return Reflected.start(self.cluster, streaming=streaming)

    def turns(self, count: int) -> None:
        async def some() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.runner.run(some())

    def put(self, name: str) -> None:
        document = {"metadata": {"name": name}, "spec": {"at": self.cluster.revision}}
        key = ("default", name)
        if key in self.cluster.objects("services"):
            self.cluster.update(self.kind, key, document)
        else:
            self.cluster.create(self.kind, "default", document)

    def delete(self, name: str) -> None:
        if ("default", name) in self.cluster.objects("services"):
            self.cluster.delete(self.kind, ("default", name))

    @rule(
        changes=st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=6),
        way=st.sampled_from(("as they were", "shuffled", "shuffled and twice", "broken off")),
        seed=st.integers(0, 9999),
    )
    def changes_come(self, changes: list[tuple[str, bool]], way: str, seed: int) -> None:
        """Many at once, on their way in any order, twice, or only some before all breaks."""
        for name, there in changes:
            (self.put if there else self.delete)(name)
        chance = random.Random(seed)
        if way != "as they were":
            self.cluster.rearrange(lambda events: chance.sample(events, len(events)))
        if way == "shuffled and twice":
            self.cluster.rearrange(lambda events: [*events, *chance.sample(events, len(events))])
        self.turns(chance.randrange(6))
        if way == "broken off":
            self.cluster.cut(cleanly=False, pending=False)

    @rule(turns=st.integers(0, 20))
    def time_passes(self, turns: int) -> None:
        self.turns(turns)

    @rule(cleanly=st.booleans(), pending=st.booleans())
    def watches_end(self, cleanly: bool, pending: bool) -> None:
        """A clean end is behind all that was told; what a broken one had under way is lost."""
        self.cluster.cut(cleanly=cleanly, pending=pending or cleanly)

    @rule()
    def etcd_is_compacted(self) -> None:
        self.cluster.compact()

    @rule()
    def watches_expire(self) -> None:
        self.cluster.expire_watches()

    @rule()
    def bookmark(self) -> None:
        self.cluster.bookmark()

    @rule(error=FAILURES)
    def a_request_fails(self, error: Exception) -> None:
        self.one.api.fail.append(error)

    def teardown(self) -> None:
        if hasattr(self, "one"):
            self.runner.run(self.one.settle(2000))
            self.runner.run(self.one.stop())
        self.runner.close()


Convergence.TestCase.settings = settings(max_examples=30, stateful_step_count=18, deadline=None)
TestConvergence = Convergence.TestCase
