"""Join tokens and revocations of several replicas: spent once, revoked everywhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certs import sealed_box
from certs.errors import CertificateError
from certs.issue_log import Issued
from certs.sealed_box import SealedBox
from certs.store import open_store
from controlplane.ca.live import LiveAuthority
from controlplane.ca.revocations import REVOKED_FILE, Revocations
from controlplane.ca.shared_revocations import SharedRevocations
from controlplane.ca.shared_tokens import SharedTokens
from controlplane.ca.token_file import TokenRecord, token_to_json
from controlplane.ca.tokens import JoinTokens, Refusal
from controlplane.errors import StartError
from controlplane.sources.store.sealed import SealedValues
from tests.support.shared_store import Member, Room
from tests.support.wait import eventually_async

NOW = 1_800_000_000.0
WHO = "spiffe://td/ns/default/sa/thief"


@dataclass(slots=True)
class Replica:
    store: Member
    tokens: JoinTokens
    shared_tokens: SharedTokens
    revocations: Revocations
    shared: SharedRevocations
    path: Path
    heard: int = 0

    def changed(self) -> None:
        self.heard += 1


async def replica(room: Room, path: Path) -> Replica:
    live = LiveAuthority(open_store(path, "td", NOW))
    store = room.member()
    sealed = SealedValues(SealedBox(b"open sesame"))
    tokens, shared = SharedTokens(store, sealed), SharedRevocations(store, sealed, path)
    revocations = Revocations(path, live, lambda: NOW, shared)
    join = JoinTokens(path / "join-tokens.json", "td", tokens)
    made = Replica(store, join, tokens, revocations, shared, path)
    shared.follow(revocations.hear, made.changed)
    await store.open()
    return made


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing is no concern here."""
    monkeypatch.setattr(sealed_box, "_COST", 1 << 4)


@pytest.fixture
async def both(tmp_path: Path) -> tuple[Replica, Replica]:
    room = Room()
    return await replica(room, tmp_path / "one"), await replica(room, tmp_path / "two")


async def test_a_token_is_spent_once_among_all(both: tuple[Replica, Replica]) -> None:
    one, two = both
    made = await asyncio.to_thread(one.tokens.create, "default", "cart", 60.0, False, NOW)
    assert two.tokens.identify(made.token, NOW) == made.identity
    tries = [
        asyncio.to_thread(each.tokens.spend, made.token, key, NOW)
        for each, key in ((one, b"key of one"), (two, b"key of two"))
    ]
    found = await asyncio.gather(*tries)
    assert sorted(map(str, found)) == sorted([str(made.identity), str(Refusal.USED)])
    assert not (one.path / "join-tokens.json").exists()


async def test_a_token_is_deleted_everywhere(both: tuple[Replica, Replica]) -> None:
    one, two = both
    made = await asyncio.to_thread(one.tokens.create, "default", "cart", 60.0, True, NOW)
    assert await asyncio.to_thread(two.tokens.delete, made.sha256[:12], NOW)
    for each in both:
        assert each.tokens.identify(made.token, NOW) is Refusal.UNKNOWN
        assert each.tokens.live(NOW) == ()


async def test_whoever_may_write_to_the_store_can_make_no_token(
    both: tuple[Replica, Replica],
) -> None:
    one, two = both
    made = await asyncio.to_thread(one.tokens.create, "default", "cart", 60.0, True, NOW)
    (name,) = await one.store.read("join-tokens/")
    (sealed,) = (await one.store.read("join-tokens/")).values()
    forged = TokenRecord(hashlib.sha256(b"mine").hexdigest(), WHO, NOW + 60, True)
    await one.store.commit({"join-tokens/" + forged.sha256: token_to_json(forged)})
    await one.store.commit({"join-tokens/" + "0" * 64: sealed})
    assert two.tokens.authenticate("mine", NOW) is Refusal.UNKNOWN
    assert list(two.shared_tokens.records) == [name.removeprefix("join-tokens/")]
    assert two.tokens.authenticate(made.token, NOW) == made.identity


async def test_tokens_that_are_over_go_with_the_next_one(both: tuple[Replica, Replica]) -> None:
    one, two = both
    first = await asyncio.to_thread(one.tokens.create, "default", "cart", 60.0, True, NOW)
    later = NOW + 61
    await asyncio.to_thread(two.tokens.create, "default", "cart", 60.0, True, later)
    assert len(one.shared_tokens.records) == len(two.shared_tokens.records) == 1
    assert one.tokens.authenticate(first.token, later) is Refusal.UNKNOWN


async def test_what_one_had_before_goes_over_once(tmp_path: Path) -> None:
    alone = JoinTokens(tmp_path / "one" / "join-tokens.json", "td")
    open_store(tmp_path / "one", "td", NOW)
    made = alone.create("default", "cart", 60.0, True, NOW)
    live = LiveAuthority(open_store(tmp_path / "one", "td", NOW))
    Revocations(tmp_path / "one", live, lambda: NOW).revoke(WHO, "gone")
    room = Room()
    one = await replica(room, tmp_path / "one")
    for _ in range(2):
        await one.shared_tokens.take_over(tmp_path / "one" / "join-tokens.json")
        await one.shared.take_over(tmp_path / "one" / REVOKED_FILE)
    two = await replica(room, tmp_path / "two")
    await two.shared.take_over(tmp_path / "two" / REVOKED_FILE)
    assert two.tokens.authenticate(made.token, NOW) == made.identity
    assert [each.what for each in two.revocations.all()] == [WHO]


async def test_a_revocation_counts_everywhere(both: tuple[Replica, Replica]) -> None:
    one, two = both
    await asyncio.to_thread(one.revocations.revoke, WHO, "gone")
    await eventually_async(lambda: two.heard, 60, "the other one hears of it")
    assert two.revocations.why_not(WHO) == f"{WHO} is revoked: gone"
    await asyncio.to_thread(two.revocations.restore, WHO)
    await eventually_async(lambda: not one.revocations.why_not(WHO), 60, "and that it is over")


async def test_two_at_the_same_time_do_not_overwrite_each_other(
    both: tuple[Replica, Replica],
) -> None:
    one, two = both
    payloads = [{"revoked": [{"what": what, "reason": "", "at": NOW}]} for what in ("a1", "b2")]
    await one.store.close()  # it is not told for a while
    await asyncio.to_thread(two.shared.replace, payloads[0])
    with pytest.raises(CertificateError, match="at the same time: try again"):
        await asyncio.to_thread(one.shared.replace, payloads[1])


async def test_a_revocation_is_made_by_nobody_who_may_only_write_there(
    both: tuple[Replica, Replica], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = both
    await asyncio.to_thread(one.revocations.revoke, WHO, "gone")
    await eventually_async(lambda: two.revocations.why_not(WHO), 60)
    other = WHO.replace("thief", "cart")
    forged = {"revoked": [{"what": other, "reason": "", "at": NOW}]}
    await two.store.commit({"revoked": json.dumps(forged).encode()})
    name = "certificates-of-revoked/ab"
    await two.store.commit({name: json.dumps({"serial": "ab", "identity": WHO}).encode()})
    assert "do not count: it is not what Weft has sealed" in caplog.text
    assert f"{name} in etcd://room/weft does not count" in caplog.text
    for each in both:
        assert each.revocations.why_not(WHO)
        assert not each.revocations.why_not(other)
    assert one.shared.certificates == {}


async def test_what_was_found_before_a_certificate_came_takes_it_from_nobody(
    both: tuple[Replica, Replica],
) -> None:
    one, two = both
    first, second = (Issued(serial, WHO, "", NOW + 3600, NOW) for serial in ("ab", "cd"))
    two.shared.tell({"ab": first}, {})
    await eventually_async(lambda: "ab" in one.shared.certificates, 60, "the first")
    one.shared.tell({"cd": second}, {})  # as found before the first came
    await eventually_async(lambda: "cd" in two.shared.certificates, 60, "the second")
    assert two.shared.certificates == {"ab": first, "cd": second}
    one.shared.tell({"cd": second}, dict(one.shared.certificates))
    await eventually_async(lambda: two.shared.certificates == {"cd": second}, 60, "one is over")


async def test_what_counted_before_takes_a_certificate_from_nobody(
    both: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while this replica writes down that somebody else is revoked."""
    one, two = both
    written = threading.Event()
    monkeypatch.setattr(one.shared, "_keep", lambda: written.wait(60))
    await asyncio.to_thread(two.revocations.revoke, "ab12", "gone")
    await asyncio.to_thread(two.revocations.revoke, WHO, "gone, too")
    two.shared.tell({"cd": Issued("cd", WHO, "", NOW + 3600, NOW)}, {})
    await eventually_async(lambda: "cd" in one.shared.certificates, 60, "the certificate")
    written.set()
    await eventually_async(lambda: one.heard == 3, 60, "each of the two, and the certificate")
    assert list(one.shared.certificates) == list(two.shared.certificates) == ["cd"]


async def test_what_is_heard_waits_for_what_is_being_revoked(
    both: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the older one of two would count in the end."""
    one = both[0].revocations
    newer = {"revoked": [{"what": what, "reason": "", "at": NOW} for what in ("ab12", WHO)]}
    hearing = threading.Thread(target=one.hear, args=(newer, {}))

    def written(payload: dict[str, Any]) -> None:
        hearing.start()
        hearing.join(0.1)  # another replica's comes at once

    monkeypatch.setattr(both[0].shared, "replace", written)
    await asyncio.to_thread(one.revoke, "ab12", "gone")
    await asyncio.to_thread(hearing.join)
    assert [each.what for each in one.all()] == ["ab12", WHO]


@pytest.mark.parametrize("back", [True, False], ids=["an older one", "nothing"])
async def test_a_revocation_that_is_taken_away_in_the_store_is_put_back(
    both: tuple[Replica, Replica], back: bool
) -> None:
    one, two = both
    await asyncio.to_thread(one.revocations.revoke, WHO, "gone")
    older = (await one.store.read("revoked"))["revoked"]
    await eventually_async(lambda: two.heard, 60)
    await asyncio.to_thread(two.revocations.revoke, "ab12", "gone, too")
    newest = (await one.store.read("revoked"))["revoked"]
    await one.store.commit({"revoked": older if back else None})
    await eventually_async(lambda: one.store.there("revoked") == newest, 60, "what counts")
    for each in both:

        def all_count(each: Replica = each) -> bool:
            return {found.what for found in each.revocations.all()} == {WHO, "ab12"}

        await eventually_async(all_count, 60, "both count")


async def test_what_was_revoked_counts_after_a_restart_with_an_older_store(tmp_path: Path) -> None:
    room = Room()
    one = await replica(room, tmp_path / "one")
    await asyncio.to_thread(one.revocations.revoke, WHO, "gone")
    kept = tmp_path / "one" / "revoked.sealed"
    await eventually_async(kept.exists, 60, "what is kept")
    await one.store.close()
    emptied = Room()
    again = await replica(emptied, tmp_path / "one")
    await again.shared.take_over(tmp_path / "one" / REVOKED_FILE)
    assert again.revocations.why_not(WHO)
    await eventually_async(lambda: again.store.there("revoked"), 60, "it is put back")
    two = await replica(emptied, tmp_path / "two")
    await two.shared.take_over(tmp_path / "two" / REVOKED_FILE)
    assert two.revocations.why_not(WHO)


async def test_who_has_not_heard_of_a_revocation_yet_takes_none_back(
    both: tuple[Replica, Replica],
) -> None:
    """What it writes would be without it."""
    one, two = both
    await asyncio.to_thread(one.revocations.revoke, WHO, "gone")
    with suppress(CertificateError):
        await asyncio.to_thread(two.revocations.revoke, "ab12", "gone, too")
    await eventually_async(lambda: two.revocations.why_not(WHO), 60)
    assert one.revocations.why_not(WHO)


async def test_revocations_that_nobody_can_open_stop_a_start(tmp_path: Path) -> None:
    room = Room()
    room.values["revoked"] = b'{"revoked": []}'
    one = await replica(room, tmp_path / "one")
    with pytest.raises(StartError, match="is to be deleted"):
        await one.shared.take_over(tmp_path / "one" / REVOKED_FILE)


async def test_a_token_that_is_spent_stays_spent(both: tuple[Replica, Replica]) -> None:
    one, two = both
    made = await asyncio.to_thread(one.tokens.create, "default", "cart", 60.0, False, NOW)
    ((name, unspent),) = (await one.store.read("join-tokens/")).items()
    await asyncio.to_thread(one.tokens.spend, made.token, b"key", NOW)
    spent = one.store.there(name)
    await one.store.commit({name: unspent})
    await eventually_async(lambda: one.store.there(name) == spent, 60, "it is put back")
    for each in both:
        again = await asyncio.to_thread(each.tokens.spend, made.token, b"another key", NOW)
        assert again is Refusal.USED
    assert two.tokens.identify(made.token, NOW) == made.identity
