"""The last good configuration on disk: whole or not at all, and never a private key."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from protos.types import CDS, EDS, SDS
from proxy.xds import persist
from proxy.xds.raw import Raw
from tests.support.envoy_resources import cluster, endpoints, trust_bundle
from tests.support.pki import Authority

RAWS = (
    Raw(EDS, "a", "2", endpoints("a", 1).SerializeToString(), 5.0),
    Raw(CDS, "a", "1", cluster("a").SerializeToString(), 5.0),
)


def certificate() -> secret_pb2.Secret:
    pair = Authority().issue(dns=("a",))
    message = secret_pb2.Secret(name="default")
    message.tls_certificate.certificate_chain.inline_string = pair.certificate
    message.tls_certificate.private_key.inline_string = pair.key
    return message


def test_what_was_saved_is_loaded_with_owners_first(tmp_path: Path) -> None:
    state = tmp_path / "state"
    persist.save(state, "node", RAWS)
    assert (state / persist.FILE).stat().st_mode & 0o777 == 0o600
    found = persist.load(state, "node")
    assert found.problem == ""
    assert [(raw.type_url, raw.name, raw.version) for raw in found.resources] == [
        (CDS, "a", "1"),
        (EDS, "a", "2"),
    ]
    assert found.resources[0].body == RAWS[1].body


def test_private_keys_are_never_written() -> None:
    bundle = trust_bundle("ROOTCA", Authority().pem)
    ticket = secret_pb2.Secret(name="t")
    ticket.generic_secret.secret.inline_string = "hush"
    raws = [
        Raw(SDS, "default", "1", certificate().SerializeToString(), 0.0),
        Raw(SDS, "t", "1", ticket.SerializeToString(), 0.0),
        Raw(SDS, "broken", "1", b"\xff", 0.0),
        Raw(SDS, "ROOTCA", "1", bundle.SerializeToString(), 0.0),
    ]
    data = persist.encode("node", raws)
    assert b"PRIVATE KEY" not in data
    assert b"hush" not in data
    assert [raw.name for raw in persist.decode("node", data, 0.0).resources] == ["ROOTCA"]


def test_another_node_or_no_file_is_no_configuration(tmp_path: Path) -> None:
    assert persist.load(tmp_path, "node") == persist.LastGood()
    persist.save(tmp_path, "other", RAWS)
    found = persist.load(tmp_path, "node")
    assert found.resources == ()
    assert "node other" in found.problem


@pytest.mark.parametrize("position", ["head", "digest", "payload"])
def test_a_torn_or_changed_file_is_no_configuration(position: str) -> None:
    data = bytearray(persist.encode("node", RAWS))
    data[{"head": 3, "digest": 30, "payload": len(data) - 4}[position]] ^= 1
    found = persist.decode("node", bytes(data), 0.0)
    assert found.resources == ()
    assert found.problem


@pytest.mark.parametrize("length", [0, 10, 40, 90, 200])
def test_a_cut_file_is_no_configuration(length: int) -> None:
    found = persist.decode("node", persist.encode("node", RAWS)[:length], 0.0)
    assert found.resources == ()
    assert found.problem
