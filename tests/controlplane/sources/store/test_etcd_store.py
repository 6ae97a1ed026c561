"""Replicas on a real etcd: one order of changes, whatever happens to it or to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from controlplane.sources.store.etcd.client import Access, Away, EtcdClient
from controlplane.sources.store.etcd.store import EtcdStore
from controlplane.sources.store.place import EtcdPlace
from controlplane.sources.store.values import (
    Change,
    StoreAway,
    StoreConflict,
    StoreError,
    TooMuch,
)
from controlplane.tasks import spawn
from protos.gen.etcd import rpc_pb2 as pb
from tests.support.etcd import Etcd
from tests.support.pki import Authority
from tests.support.relay import relay
from tests.support.wait import eventually_async


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


class Replica:
    """A store on etcd and what it was told."""

    def __init__(self, endpoints: tuple[str, ...], prefix: str, lease_s: int = 15) -> None:
        self.client = EtcdClient(endpoints, Access(), call_timeout_s=20.0)
        self.away: list[str] = []
        place = EtcdPlace(endpoints, prefix, tls=False)
        self.store = EtcdStore(place, self.client, self.away.append, lease_s=lease_s)
        self.changes: list[Change] = []
        self.values: dict[str, bytes] = {}
        self.store.listen("", self._told)

    def _told(self, change: Change) -> None:
        self.changes.append(change)
        if change.whole:
            self.values.clear()
        for name, value in change.values.items():
            if value is None:
                self.values.pop(name, None)
            else:
                self.values[name] = value

    async def has(self, values: dict[str, bytes]) -> None:
        await eventually_async(lambda: self.values == values, 60, f"{values}")


class Replicas:
    def __init__(self, etcd: Etcd, prefix: str) -> None:
        self.etcd = etcd
        self.prefix = prefix
        self._all: list[Replica] = []

    async def begin(self, *endpoints: str, lease_s: int = 15) -> Replica:
        made = Replica(endpoints or (self.etcd.endpoint,), self.prefix, lease_s)
        self._all.append(made)
        await made.store.open()
        return made

    async def end(self) -> None:
        while self._all:
            await self._all.pop().store.close()


@pytest.fixture
async def replicas(etcd: Etcd, request: pytest.FixtureRequest) -> AsyncIterator[Replicas]:
    made = Replicas(etcd, f"{request.node.name}/")
    yield made
    await made.end()


async def test_all_replicas_are_told_the_same_changes_in_one_order(replicas: Replicas) -> None:
    one, two = await replicas.begin(), await replicas.begin()
    both = (one, two)
    await asyncio.gather(
        *(both[n % 2].store.commit({"a": b"%d" % n, f"b{n}": b"x"}) for n in range(40))
    )
    await one.store.commit({"b0": None})
    expected = {"a": one.values["a"], **{f"b{n}": b"x" for n in range(1, 40)}}
    for each in both:
        await each.has(expected)
    late = await replicas.begin()
    assert late.values == expected


async def test_many_objects_are_one_change(replicas: Replicas) -> None:
    one, two = await replicas.begin(), await replicas.begin()
    many = {f"objects/{n}": b"x" * 200 for n in range(1000)}
    await one.store.commit(many)
    assert one.values == many
    await two.has(many)
    assert [len(each.values) for each in two.changes] == [0, 1000]
    await two.store.commit(dict.fromkeys(many))
    assert two.values == {}
    with pytest.raises(TooMuch, match="more than etcd takes at once"):
        await one.store.commit({f"objects/{n}": b"" for n in range(5000)})
    with pytest.raises(TooMuch, match="apply them in parts"):
        await one.store.commit({"objects/a": b"x" * 1_500_000})


async def test_a_change_may_expect_what_is_there(replicas: Replicas) -> None:
    one = await replicas.begin()
    await one.store.commit({"a": b"1"}, expected={"a": None})
    with pytest.raises(StoreConflict) as caught:
        await one.store.commit({"a": b"2", "b": b"2"}, expected={"a": None})
    assert caught.value.values == {"a": b"1"}
    await one.store.commit({"a": b"2"}, expected={"a": b"1"})
    # As when an answer was lost and we ask again.
    await one.store.commit({"a": b"2"}, expected={"a": b"1"})
    assert one.values == {"a": b"2"}


async def test_what_is_transient_ends_with_its_replica(replicas: Replicas) -> None:
    one, two = await replicas.begin(), await replicas.begin()
    await one.store.commit({"w1": b"1", "w2": b"1"}, {"w1", "w2"})
    await one.store.commit({"o": b"1"})
    await two.store.commit({"w2": b"2"}, {"w2"})
    await one.store.close()
    await two.has({"o": b"1", "w2": b"2"})


async def test_a_lease_that_ran_out_is_begun_anew_with_what_hung_on_it(
    replicas: Replicas,
) -> None:
    one = await replicas.begin(lease_s=1)
    await one.store.commit({"w": b"1"}, {"w"})
    await one.client.revoke(one.store.lease)
    await eventually_async(lambda: {"w": None} in [each.values for each in one.changes], 60)
    await one.has({"w": b"1"})


async def test_much_that_ran_out_is_put_again_where_nobody_else_has(replicas: Replicas) -> None:
    one, two = await replicas.begin(lease_s=600), await replicas.begin()
    ours = {f"w{number}": b"1" for number in range(200)}
    await one.store.commit(ours, set(ours))
    await one.client.revoke(one.store.lease)
    await one.has({})
    await two.store.commit({"w7": b"2"}, {"w7"})
    await one.has({"w7": b"2"})
    one.changes.clear()
    one.store._transient["w7"] = b"1"  # as if we had not heard of it yet
    await one.store._lease._renew()
    await one.has({**ours, "w7": b"2"})
    assert len(one.changes) <= 4  # in the time that a lease has there is no call for each


async def test_what_was_compacted_meanwhile_is_listed(replicas: Replicas) -> None:
    one = await replicas.begin()
    with relay(replicas.etcd.port) as way:
        two = await replicas.begin(f"127.0.0.1:{way.port}")
        await one.store.commit({"a": b"1", "b": b"1"})
        await two.has({"a": b"1", "b": b"1"})
        way.cut()
        await eventually_async(lambda: two.away, 60, "away is told")
        await one.store.commit({"a": None})
        await one.store.commit({"c": b"1"})
        await asyncio.to_thread(replicas.etcd.compact)
        way.mend()
        await two.has({"b": b"1", "c": b"1"})
        assert [each.whole for each in two.changes] == [True, False, True]
        await replicas.end()


async def test_etcd_goes_and_comes_back(tmp_path: Path) -> None:
    with Etcd(tmp_path) as etcd:
        replicas = Replicas(etcd, "weft/")
        one, two = await replicas.begin(), await replicas.begin()
        await one.store.commit({"a": b"1"})
        await two.has({"a": b"1"})
        etcd.stop()
        with pytest.raises(StoreAway, match=r"can't be reached .*: nothing was changed, and what"):
            await one.store.commit({"a": b"2"})
        assert one.values == two.values == {"a": b"1"}
        await eventually_async(lambda: one.away[-1:] and two.away[-1:], 60, "away is told")
        etcd.start()
        await eventually_async(lambda: one.away[-1] == "" == two.away[-1], 60, "back is told")
        await one.store.commit({"a": b"3"})
        await two.has({"a": b"3"})
        await replicas.end()


async def test_the_next_endpoint_is_asked_when_one_is_away(
    replicas: Replicas,
) -> None:
    one = await replicas.begin("127.0.0.1:1", replicas.etcd.endpoint)
    await one.store.commit({"a": b"1"})
    assert one.values == {"a": b"1"}


async def test_no_etcd_there_says_what_to_do() -> None:
    client = EtcdClient(("127.0.0.1:1",), Access())
    place = EtcdPlace(("127.0.0.1:1",), "weft/", tls=False)
    store = EtcdStore(place, client, lambda why: None, open_within_s=0.2)
    with pytest.raises(StoreError, match=r"etcd://127.0.0.1:1/weft can't be reached .*start etcd"):
        await store.open()
    await store.close()


async def test_with_tls_and_a_user(tmp_path: Path) -> None:
    authority = Authority("etcd")
    pair = authority.issue(ips=("127.0.0.1",))
    certificate, key = pair.write(tmp_path, "etcd")
    options = ("--cert-file", str(certificate), "--key-file", str(key))
    roots = authority.pem.encode()
    with Etcd(tmp_path, *options, ca=roots) as etcd:
        # Messages of the same form: a name, and a password or a role.
        for method, words in (
            ("UserAdd", ("root", "top")),
            ("RoleAdd", ("root", "")),
            ("UserGrantRole", ("root", "root")),
            ("AuthEnable", ("", "")),
        ):
            asked = pb.AuthenticateRequest(name=words[0], password=words[1])
            await asyncio.to_thread(etcd.call, f"Auth/{method}", asked, pb.AuthenticateResponse)
        place = EtcdPlace((etcd.endpoint,), "weft/", tls=True)

        def store(ca: bytes, password: str, within_s: float = 60.0) -> EtcdStore:
            access = Access(tls=True, ca=ca, user="root", password=password)
            client = EtcdClient(place.endpoints, access)
            return EtcdStore(place, client, lambda why: None, open_within_s=within_s)

        one = store(roots, "top")
        await one.open()
        await one.commit({"a": b"1"}, {"a"})
        assert await one.read("") == {"a": b"1"}
        await one.close()

        wrong = store(roots, "bottom")
        with pytest.raises(StoreError, match=r"refuses us: authentication failed.*--store-user"):
            await wrong.open()
        await wrong.close()

        stranger = store(Authority("other").pem.encode(), "top", within_s=1.0)
        with pytest.raises(StoreError, match=r"can't be reached .TLS.: .*certificate"):
            await stranger.open()
        await stranger.close()


async def test_what_ran_out_twice_is_put_again_twice(replicas: Replicas) -> None:
    one = await replicas.begin(lease_s=1)
    await one.store.commit({"w": b"1"}, {"w"})
    for _ in range(2):
        one.changes.clear()
        await one.client.revoke(one.store.lease)
        await eventually_async(lambda: {"w": None} in [each.values for each in one.changes], 60)
        await one.has({"w": b"1"})
        one.store._forget_gone()  # as when the lease is renewed


async def test_a_watch_that_falls_silent_is_given_up() -> None:
    """Not the task that reads it: grpc.aio tells of a call that we cancel as if we were."""

    asked, never = asyncio.Event(), asyncio.Event()

    async def silent(requests: object, context: object) -> AsyncIterator[bytes]:
        asked.set()
        await never.wait()
        yield b""

    methods = {"Watch": grpc.stream_stream_rpc_method_handler(silent)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("etcdserverpb.Watch", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = EtcdClient((f"127.0.0.1:{port}",), Access())

    async def alive() -> None:
        await asked.wait()
        raise Away("it does not answer")

    async def read() -> None:
        async for _ in client.watch(pb.WatchCreateRequest(key=b"a"), alive):
            pass

    reading = spawn(read(), "watch")
    await asyncio.wait([reading], timeout=60)
    with pytest.raises(Away, match="no answer in time"):
        reading.result()
    await client.close()
    await server.stop(None)
