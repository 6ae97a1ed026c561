"""How a store is named, and that many changes fit into one transaction of etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.sources.store.etcd.transactions import MAX_CHANGES, transaction
from controlplane.sources.store.place import EtcdPlace, SqlitePlace, StoreOptions, parse_place
from controlplane.sources.store.values import StoreError
from protos.gen.etcd import rpc_pb2 as pb

STATE = Path("/state")
CA = Path("ca.pem")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", SqlitePlace(STATE / "store.sqlite3")),
        ("sqlite:mine.db", SqlitePlace(Path("mine.db"))),
        ("etcd://localhost", EtcdPlace(("localhost:2379",), "weft/", tls=False)),
        ("etcd://127.0.0.1:1/a/b/", EtcdPlace(("127.0.0.1:1",), "a/b/", tls=False)),
        ("etcd://[::1]:2380/x", EtcdPlace(("[::1]:2380",), "x/", tls=False)),
        ("etcd://[::1]", EtcdPlace(("[::1]:2379",), "weft/", tls=False)),
        ("etcd://localhost,e2:99/x", EtcdPlace(("localhost:2379", "e2:99"), "x/", tls=True)),
        ("etcd://10.0.0.1/x", EtcdPlace(("10.0.0.1:2379",), "x/", tls=True)),
    ],
)
def test_places(text: str, place: SqlitePlace | EtcdPlace) -> None:
    assert parse_place(StoreOptions(text), STATE) == place


def test_a_named_authority_means_tls_here_too() -> None:
    place = parse_place(StoreOptions("etcd://localhost", ca=CA), STATE)
    assert place == EtcdPlace(("localhost:2379",), "weft/", tls=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (StoreOptions("postgres://x"), "expected sqlite:PATH or etcd://"),
        (StoreOptions("sqlite:"), "expected sqlite:PATH or etcd://"),
        (StoreOptions("etcd:localhost"), "expected sqlite:PATH or etcd://"),
        (StoreOptions("etcd://a:0/x"), "'a:0' is no HOST:PORT"),
        (StoreOptions("etcd://a:b/x"), "'a:b' is no HOST:PORT"),
        (StoreOptions("etcd://user:pw@a:1/x"), "'user:pw@a:1' is no HOST:PORT"),
        (StoreOptions("etcd://a,,b/x"), "'' is no HOST:PORT"),
        (StoreOptions("etcd://a/x y"), "a prefix has letters"),
        (StoreOptions(ca=CA), "--store-ca is for --store etcd://"),
        (StoreOptions("etcd://a", certificate=CA), "--store-certificate and --store-key go"),
        (StoreOptions("etcd://a", user="me"), "--store-user and --store-password-file go"),
    ],
)
def test_what_is_wrong_with_a_place_is_told(options: StoreOptions, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        parse_place(options, STATE)


def operations(request: pb.TxnRequest, left: int) -> int:
    """As etcd counts them (checkTxnRequest): each level takes from what those above have left."""
    most = max(len(request.compare), len(request.success), len(request.failure))
    assert most <= left
    deeper = (one.request_txn for one in request.success if one.HasField("request_txn"))
    inside = [operations(each, left - most) for each in deeper]
    return sum(inside) if inside else len(request.success)


@pytest.mark.parametrize("count", [1, 64, 65, 128, 129, 1000, MAX_CHANGES])
def test_a_transaction_keeps_to_the_servers_bound(count: int) -> None:
    request = transaction("p/", {str(n): b"x" for n in range(count)}, {}, {})
    assert operations(request, 128) == count


def test_more_than_that_is_refused() -> None:
    with pytest.raises(ValueError, match="4097 objects are more than etcd takes at once"):
        transaction("p/", {str(n): None for n in range(MAX_CHANGES + 1)}, {}, {})
