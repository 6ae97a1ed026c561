"""A real Envoy takes the place of a sidecar, on either side of the greeter's call, and neither the
programs nor the other sidecar notice: configured by our control plane, with our certificates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part, greeter, messenger, synced
from tests.support.load import load
from tests.support.postcard import copy_postcard
from tests.support.process import ProxyProcess
from tests.support.wait import eventually
from weft import loopback

pytestmark = pytest.mark.timeout(300)

Kind = Literal["weft", "envoy"]
GREETER = "spiffe://cluster.local/ns/default/sa/greeter"
MESSENGER = "spiffe://cluster.local/ns/default/sa/messenger"
V1 = "cluster.outbound|8080|v1|messenger.default.svc.cluster.local."


@dataclass(frozen=True, slots=True)
class Pair:
    """Both workloads and their sidecars, running."""

    plane: ControlPlane
    caller: Part
    called: Part
    calling: ProxyProcess
    receiving: ProxyProcess


@pytest.fixture(params=[("weft", "envoy"), ("envoy", "weft")], ids=lambda kinds: "-to-".join(kinds))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    kinds: tuple[Kind, Kind] = request.param
    config = copy_postcard(tmp_path / "mesh")
    caller, called = greeter(), messenger(config)
    for part in (caller, called):
        (config / f"{part.name}.json").write_text(part.entry(), "utf-8")
    with ExitStack() as stack:
        plane = ControlPlane(config, tmp_path / "state", "--allow-sds-keys")
        stack.enter_context(plane)
        stack.enter_context(called.running())
        sidecars = [
            stack.enter_context(getattr(part, kind)(plane, tmp_path))
            for part, kind in zip((caller, called), kinds, strict=True)
        ]
        stack.enter_context(caller.running())
        eventually(lambda: synced(plane, 2), 60, "both proxies in sync")
        yield Pair(plane, caller, called, *sidecars)


def test_the_page_has_the_message_and_both_sides_know_each_other(pair: Pair) -> None:
    reply = loopback.get_now(pair.caller.app, "/")
    assert reply.status == 200
    assert "The sea is warm" in reply.text
    assert f"URI={GREETER}" in reply.text  # what the messenger's sidecar says of its peer
    agents = {proxy["identity"]: proxy["user_agent"] for proxy in pair.plane.status()["proxies"]}
    assert set(agents) == {GREETER, MESSENGER}
    assert sorted(agent.split()[0] for agent in agents.values()) == ["envoy", "weft"]
    handshakes = f"listener.127.0.0.1_{pair.called.inbound}.ssl.handshake"
    assert pair.receiving.stats()[handshakes] > 0
    assert pair.calling.stats()[V1 + "ssl.handshake"] > 0
    with load(pair.caller.outbound, "messenger:8080") as flowing:
        flowing.more(200)
        assert flowing.failures == []
    assert {one.version for one in flowing.answers} == {"v1"}
    assert_a_change_arrives(pair)
    for log in (pair.calling.log, pair.receiving.log, pair.plane.log):
        assert "Traceback" not in log


def assert_a_change_arrives(pair: Pair) -> None:
    """At the caller a route, at the called one its policy."""
    assert loopback.get_now(pair.called.inbound, "/").status == 0  # plain text, refused
    routes = pair.plane.config / "routes.yaml"
    moved = "- match: [{uri: {prefix: /old}}]\n      redirect: {uri: /new}\n    - route:"
    text = routes.read_text("utf-8").replace("- route:", moved, 1)
    routes.write_text(text.replace("mode: STRICT", "mode: PERMISSIVE"), "utf-8")

    def arrived() -> bool:
        moved = loopback.get_now(pair.caller.outbound, "/old", "messenger:8080").status == 301
        return moved and loopback.get_now(pair.called.inbound, "/").status == 200

    eventually(arrived, 60, "the redirect at the caller, plain text at the called")
    assert "The sea is warm" in loopback.get_now(pair.caller.app, "/").text
    eventually(lambda: synced(pair.plane, 2), 60, "both acknowledge the change")
