"""What replicas tell each other comes back as it was, and what is none of it is refused."""

from __future__ import annotations

import json
import zlib

import pytest

from certs.errors import CertificateError
from controlplane.rotation import words
from controlplane.rotation.progress import ProxyProgress
from controlplane.rotation.words import (
    Member,
    members_of,
    members_to_bytes,
    progress_from_bytes,
    progress_to_bytes,
    report_from_bytes,
    report_of,
    report_to_bytes,
)

ONE = Member("sidecar~10.0.0.1~a.b~b", "spiffe://td/ns/b/sa/a", 1_800_000_000.5, connected=True)
TWO = Member("z", "spiffe://td/ns/b/sa/z", 1.0, connected=False)


def test_it_comes_back() -> None:
    assert members_of(members_to_bytes((TWO, ONE))) == (ONE, TWO)
    lacking = [ProxyProgress(f"n{n}", "i", "refused", "x" * 500) for n in range(600)]
    found = report_from_bytes(report_to_bytes(report_of("prepared a b", lacking)))
    assert (found.at, len(found.lacking), found.more) == ("prepared a b", words.MAX_NAMED, 100)
    assert found.lacking[0] == ProxyProgress("n0", "i", "refused", "x" * words.MAX_DETAIL)
    every = (ProxyProgress("n", "i", "done"), ProxyProgress("m", "i", "away", "why"))
    assert progress_from_bytes(progress_to_bytes(every)) == every


def packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [b"", b"x", packed({}), packed([1]), packed([["a", "b", "soon", 1]]), packed(["a", [[1]], 0])],
    ids=["empty", "bytes", "object", "number", "time", "short"],
)
def test_what_is_no_such_thing_is_refused(value: bytes) -> None:
    for read in (members_of, report_from_bytes, progress_from_bytes):
        with pytest.raises(CertificateError):
            read(value)


def test_what_would_grow_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MAX_BYTES", 1000)
    with pytest.raises(CertificateError, match="too long"):
        members_of(packed([["a" * 2000, "b", 1.0, True]]))
    state = packed(["at", [["n", "i", "maybe", ""]], 0])
    with pytest.raises(CertificateError, match="is no state"):
        report_from_bytes(state)
