"""Who is here, who may come back, and who will not."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from certs.authority import Authority
from controlplane.ca.sds import SdsSecrets
from controlplane.resources import assemble
from controlplane.rotation import roster as roster_module
from controlplane.rotation.roster import ROSTER_FILE, UNKNOWN_LIFE_S, Roster
from controlplane.xds.service import Connection
from controlplane.xds.sotw import SotwStream
from tests.support.live import live
from tests.support.mesh import node
from tests.support.meshed import CART, SHOP, Meshed

NOW = 1_800_000_000.0
AUTHORITY = Authority.create("cluster.local", NOW)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def roster(tmp_path: Path, clock: Clock) -> Roster:
    return Roster(tmp_path / ROSTER_FILE, clock)


@pytest.fixture
def sds() -> SdsSecrets:
    return SdsSecrets(live(AUTHORITY), None, lambda: NOW)


def test_who_goes_without_a_word_is_missed_until_its_certificate_ends(
    roster: Roster, sds: SdsSecrets, clock: Clock
) -> None:
    proxy = Meshed("a", sds, roster, leaf_of=AUTHORITY, now=NOW)
    assert list(roster.connected()) == [proxy.key]
    assert roster.absent() == ()
    clock.now = NOW + 100
    proxy.go()
    assert not roster.connected()
    (missed,) = roster.absent()
    assert (missed.node_id, missed.seen_at, missed.until) == (proxy.id, NOW + 100, NOW + 600)
    clock.now = NOW + 600
    assert roster.absent() == ()


def test_who_ends_its_stream_in_order_or_is_sent_away_is_not_missed(
    roster: Roster, sds: SdsSecrets
) -> None:
    Meshed("a", sds, roster, now=NOW).go(in_order=True)
    unwanted = Meshed("b", sds, roster, now=NOW)
    unwanted.connection.unwanted = "it is revoked"
    unwanted.go()
    assert roster.absent() == ()


def test_who_comes_by_token_is_missed_for_as_long_as_leaves_live(
    roster: Roster, sds: SdsSecrets
) -> None:
    Meshed("a", sds, roster, now=NOW).go()
    assert roster.absent()[0].until == NOW + UNKNOWN_LIFE_S


def test_of_several_streams_of_a_node_the_youngest_counts(roster: Roster, sds: SdsSecrets) -> None:
    first = Meshed("a", sds, roster, now=NOW)
    second = Meshed("a", sds, roster, now=NOW + 1)
    roster.changed(first.connection)
    assert roster.connected()[first.key] is second.connection
    first.go()
    assert roster.connected()[first.key] is second.connection
    assert roster.absent() == ()


def test_the_older_stream_counts_again_when_the_youngest_has_gone(
    roster: Roster, sds: SdsSecrets
) -> None:
    older = Meshed("a", sds, roster, leaf_of=AUTHORITY, now=NOW)
    younger = Meshed("a", sds, roster, leaf_of=AUTHORITY, now=NOW + 1)
    younger.go()
    roster.changed(older.connection)
    assert roster.connected() == {older.key: older.connection}


def test_nobody_stands_for_a_proxy_of_another_identity(roster: Roster, sds: SdsSecrets) -> None:
    """Node ids are free: the younger stream of a stranger is another proxy with the same name."""
    victim = Meshed("a", sds, roster, now=NOW, acknowledges=False)
    stranger = Meshed("a", sds, roster, now=NOW + 1, stranger=True)
    assert victim.id == stranger.id
    assert roster.connected()[victim.key] is victim.connection
    assert roster.connected()[stranger.key] is stranger.connection
    victim.go()
    assert [one.identity for one in roster.absent()] == [str(CART)]
    stranger.go()
    Meshed("a", sds, roster, now=NOW + 2, stranger=True)
    assert [one.identity for one in roster.absent()] == [str(CART)]


def test_many_names_of_one_identity_push_nobody_else_off(
    roster: Roster,
    sds: SdsSecrets,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(roster_module, "MAX_OF_ONE_IDENTITY", 3)
    monkeypatch.setattr(roster_module, "MAX_PROXIES", 4)
    for name in ("a", "b"):
        Meshed(name, sds, roster, now=NOW).go()
    for number in range(9):
        Meshed(f"x{number}", sds, roster, now=NOW, stranger=True).go()
    found = [(one.node_id.split("~")[2], one.identity) for one in roster.absent()]
    assert found == [
        ("a.default", str(CART)),
        ("b.default", str(CART)),
        ("x7.default", str(SHOP)),
        ("x8.default", str(SHOP)),
    ]
    assert caplog.text.count("more proxies went away without a word") == 1


def test_it_is_kept_over_a_restart(
    roster: Roster, sds: SdsSecrets, clock: Clock, tmp_path: Path
) -> None:
    Meshed("here", sds, roster, leaf_of=AUTHORITY, now=NOW)
    Meshed("away", sds, roster, leaf_of=AUTHORITY, now=NOW).go()
    everybody = roster.snapshot()
    assert everybody is not None
    roster.save(everybody)
    assert roster.snapshot() is None
    again = Roster(tmp_path / ROSTER_FILE, clock)
    assert [one.node_id.split("~")[2] for one in again.absent()] == ["away.default", "here.default"]
    back = Meshed("here", sds, again, leaf_of=AUTHORITY, now=NOW)
    assert back.id not in [one.node_id for one in again.absent()]
    assert again.snapshot() is not None


@pytest.mark.parametrize("spoiled", ["", "{}", "[1]", '[{"node_id": "a"}]'])
def test_a_spoiled_file_is_named(
    tmp_path: Path, clock: Clock, spoiled: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ROSTER_FILE).write_text(spoiled)
    with caplog.at_level(logging.WARNING):
        assert Roster(tmp_path / ROSTER_FILE, clock).absent() == ()
    assert ("proxies.json is not used" in caplog.text) == (spoiled != "{}")


def test_a_disk_that_cannot_be_written_is_named_and_tried_again(
    tmp_path: Path, clock: Clock, sds: SdsSecrets, caplog: pytest.LogCaptureFixture
) -> None:
    roster = Roster(tmp_path / "missing" / ROSTER_FILE, clock)
    Meshed("a", sds, roster, now=NOW)
    everybody = roster.snapshot()
    assert everybody is not None
    roster.save(everybody)
    assert "cannot be written" in caplog.text
    (tmp_path / "missing").mkdir()
    again = roster.snapshot()
    assert again is not None
    roster.save(again)
    assert len(json.loads((tmp_path / "missing" / ROSTER_FILE).read_text())) == 1


def test_clients_of_grpc_are_not_waited_for(roster: Roster) -> None:
    """Their certificates are those of the agent beside them, which is here for itself."""
    client = node("web", dialect="grpc")
    machine = SotwStream(assemble({}))
    connection = Connection(client, CART, "sotw", NOW, machine)
    roster.changed(connection)
    assert not roster.connected()
    connection.open = False
    roster.changed(connection)
    assert not roster.absent()
