"""The control plane cannot be reached: for longer than half a leaf's life, and until its end.

Leaves live for seconds. The way to the control plane is cut and mended, so that no test waits for a
process to start.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part, synced
from tests.support.load import load
from tests.support.process import ProxyProcess
from tests.support.relay import Relay, relay
from tests.support.rotating import CONFIG, Server
from tests.support.wait import eventually
from weft import loopback

pytestmark = pytest.mark.timeout(120)

TTL_S = 8
AWAY_S = 0.53 * TTL_S
OURS = r"spiffe://cluster.local/ns/default/sa/\w+"
FRESH_S = 6
"""So much is left of both leaves when the way is cut."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """The control plane as proxies find it that only know the way over the relays."""

    plane: ControlPlane
    tls: Relay
    mtls: Relay

    @property
    def port(self) -> int:
        return self.tls.port

    @property
    def serving(self) -> dict[str, str]:
        return {"mtls_address": f"127.0.0.1:{self.mtls.port}"}

    @property
    def root_pem(self) -> bytes:
        return self.plane.root_pem

    @property
    def state(self) -> Path:
        return self.plane.state

    def join_token(self, account: str) -> str:
        return self.plane.join_token(account)

    def cut(self) -> None:
        self.tls.cut()
        self.mtls.cut()

    def mend(self) -> None:
        self.tls.mend()
        self.mtls.mend()


class Mesh:
    """A caller's sidecar and a server's. `fresh:8081` takes a new connection for each request."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        config = directory / "mesh"
        config.mkdir()
        (config / "mesh.yaml").write_text(CONFIG)
        self.caller = Part("caller-1", (), {"app": "caller"})
        self.server = Server("backend-1", (), {"app": "backend"})
        for part in (self.caller, self.server):
            (config / f"{part.name}.json").write_text(part.entry())
        ttl = ("--certificate-ttl", str(TTL_S))
        plane = stack.enter_context(ControlPlane(config, directory / "state", *ttl))
        mtls_port = int(plane.serving["mtls_address"].rpartition(":")[2])
        ways = [stack.enter_context(relay(port)) for port in (plane.port, mtls_port)]
        self.plane = Beyond(plane, *ways)
        stack.enter_context(self.server.running())
        seen = cast(ControlPlane, self.plane)
        self.sidecars = [
            stack.enter_context(part.weft(seen, directory)) for part in (self.caller, self.server)
        ]
        eventually(lambda: synced(plane, 2), 60, "both proxies in sync")
        for host in ("web:8080", "fresh:8081"):  # a sidecar holds what it has called
            eventually(partial(self.serves, host), 60, f"an answer of {host} through the mesh")

    def serves(self, host: str) -> bool:
        return self.ask(host) == 200

    def ask(self, host: str) -> int:
        return loopback.get_now(self.caller.outbound, "/", host).status

    def each(self, name: str) -> list[int]:
        """A statistic of both sidecars."""
        return [sidecar.stats().get(f"identity.{name}", 0) for sidecar in self.sidecars]

    def renewed_since(self, before: list[int]) -> bool:
        return all(now > then for now, then in zip(self.each("renewals"), before, strict=True))

    def cut_when_fresh(self) -> None:
        """With a connection to `web` that was made with these leaves."""
        eventually(lambda: min(self.each("expires_in_s")) >= FRESH_S, 60, "two fresh leaves")
        eventually(partial(self.serves, "web:8080"), 60, "an answer of web")
        self.plane.cut()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path_factory.mktemp("expiry"), stack)


def test_a_renewal_opens_one_connection(mesh: Mesh) -> None:
    """That of the discovery stream with the new certificate; upon the one before, it was asked for
    and, upon the new one, what the proxy holds is reported."""
    before, opened = mesh.each("renewals"), mesh.plane.mtls.accepted
    eventually(lambda: mesh.renewed_since(before), 60, "renewal by both")
    # One that had only just been renewed may still have been on its way to reconnect.
    renewed = sum(mesh.each("renewals")) - sum(before)
    assert mesh.plane.mtls.accepted - opened <= renewed + 1


def test_away_for_longer_than_half_a_life_nothing_fails_and_all_is_renewed(mesh: Mesh) -> None:
    with (
        load(mesh.caller.outbound, "fresh:8081", per_second=20, connections=2) as anew,
        load(mesh.caller.outbound, "web:8080", per_second=50) as kept,
    ):
        mesh.cut_when_fresh()
        before = mesh.each("renewals")
        away_until = time.monotonic() + AWAY_S
        eventually(lambda: time.monotonic() >= away_until, what="half a life")
        assert mesh.each("renewals") == before
        assert min(mesh.each("renewal_failures")) > 0
        mesh.plane.mend()
        eventually(lambda: mesh.renewed_since(before), 60, "renewal by both")
        anew.more(5)
        assert anew.failures + kept.failures == []
    assert min(mesh.each("expires_in_s")) >= FRESH_S - 1
    assert not any("EXPIRED" in sidecar.log for sidecar in mesh.sidecars)


def test_away_until_the_end_it_is_announced_and_both_peers_name_the_certificate(mesh: Mesh) -> None:
    mesh.cut_when_fresh()
    eventually(lambda: all(mesh.each("renewal_overdue")), 60, "both to be overdue")
    assert max(mesh.each("expires_in_s")) < TTL_S / 3
    eventually(lambda: all("EXPIRED" in sidecar.log for sidecar in mesh.sidecars), 60, "the end")
    for sidecar in mesh.sidecars:
        (serial,) = set(found(rf"serial=(\w+) of {OURS} EXPIRED", sidecar))
        last = sidecar.log[: sidecar.log.index("EXPIRED")]
        assert f"WARNING weft.identity certificate serial={serial} of" in last
        assert "and is not renewed" in last
    caller, server = mesh.sidecars
    (serial,) = set(found(rf"serial=(\w+) of {OURS} EXPIRED", server))
    # Asked again and again: X.509 counts a certificate's last second in, our log does not.
    theirs = rf"the_certificate_expired_on_\S+/sa/backend,_serial_{serial}"
    eventually(lambda: mesh.ask("fresh:8081") == 503 and found(theirs, caller), 30, "its word")
    ours = rf"certificate expired; ours is \S+/sa/backend, serial {serial}"
    eventually(lambda: mesh.ask("fresh:8081") == 503 and found(ours, server), 30, "the server's")
    assert mesh.ask("web:8080") == 200  # the connections that there are live on


def found(pattern: str, sidecar: ProxyProcess) -> list[str]:
    return re.findall(pattern, sidecar.log, re.MULTILINE)
