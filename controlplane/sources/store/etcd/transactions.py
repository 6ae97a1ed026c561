"""Many changes as one transaction of etcd, whatever the server's --max-txn-ops.

etcd counts the operations of each level of nested transactions, and takes from the bound what the
level above has (`checkTxnRequest`): with 64 transactions of 64 operations there is room for 4,096
within the default of 128. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from controlplane.sources.store.values import Values
from protos.gen.etcd import rpc_pb2 as pb

PER_TRANSACTION = 64
MAX_CHANGES = PER_TRANSACTION * PER_TRANSACTION
MAX_BYTES = 1_400_000
"""The server's --max-request-bytes is 1.5 MiB by default."""


def transaction(
    prefix: str, values: Values, leases: Mapping[str, int], expected: Values
) -> pb.TxnRequest:
    """leases: by the names that end with them. expected: what must be there; if it is not, the
    answer has those values. ValueError: it is more than etcd takes at once."""
    operations = [_operation(prefix, name, one, leases) for name, one in values.items()]
    if len(operations) > MAX_CHANGES:
        raise ValueError(
            f"{len(operations)} objects are more than etcd takes at once ({MAX_CHANGES}): "
            "apply them in parts"
        )
    request = pb.TxnRequest(
        compare=[_compare(prefix, name, value) for name, value in expected.items()],
        success=_nested(operations),
        failure=[
            pb.RequestOp(request_range=pb.RangeRequest(key=_key(prefix, name))) for name in expected
        ],
    )
    if (size := request.ByteSize()) > MAX_BYTES:
        raise ValueError(
            f"{size} bytes are more than etcd takes at once ({MAX_BYTES}): apply them in parts"
        )
    return request


def put_if_absent(prefix: str, values: Mapping[str, bytes], lease: int) -> Iterator[pb.TxnRequest]:
    """Each value where there is none, on its own; as few calls as etcd's bounds allow."""
    made, size = pb.TxnRequest(), 0
    for name, value in values.items():
        one = transaction(prefix, {name: value}, {name: lease}, {name: None})
        size += one.ByteSize()
        if made.success and (len(made.success) == PER_TRANSACTION or size > MAX_BYTES):
            yield made
            made, size = pb.TxnRequest(), one.ByteSize()
        made.success.append(pb.RequestOp(request_txn=one))
    if made.success:
        yield made


def found_instead(prefix: str, expected: Collection[str], answer: pb.TxnResponse) -> Values:
    """What there is under the names, of an answer that did not succeed."""
    found: dict[str, bytes | None] = dict.fromkeys(expected)
    for each in answer.responses:
        for pair in each.response_range.kvs:
            found[pair.key.decode().removeprefix(prefix)] = pair.value
    return found


def _nested(operations: list[pb.RequestOp]) -> list[pb.RequestOp]:
    if len(operations) <= PER_TRANSACTION:
        return operations
    parts = range(0, len(operations), PER_TRANSACTION)
    return [
        pb.RequestOp(request_txn=pb.TxnRequest(success=operations[at : at + PER_TRANSACTION]))
        for at in parts
    ]


def _operation(
    prefix: str, name: str, value: bytes | None, leases: Mapping[str, int]
) -> pb.RequestOp:
    key = _key(prefix, name)
    if value is None:
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
    put = pb.PutRequest(key=key, value=value, lease=leases.get(name, 0))
    return pb.RequestOp(request_put=put)


def _compare(prefix: str, name: str, value: bytes | None) -> pb.Compare:
    key = _key(prefix, name)
    if value is None:
        return pb.Compare(key=key, target=pb.Compare.CREATE, create_revision=0)
    return pb.Compare(key=key, target=pb.Compare.VALUE, value=value)


def _key(prefix: str, name: str) -> bytes:
    return f"{prefix}{name}".encode()
