"""What `weft ca show` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from certs import steps
from certs.authority import Authority
from certs.cli import show
from certs.errors import CertificateError
from certs.store import open_store

NOW = 1_800_000_000.0


def test_shows_every_root_and_which_one_signs(tmp_path: Path) -> None:
    open_store(tmp_path, "cluster.local", NOW)
    new = Authority.create("cluster.local", NOW)
    steps.stage(tmp_path, NOW, new)
    steps.prepare(tmp_path, new.id, NOW)
    signing, other = show(tmp_path, NOW).split("\n\n")
    assert "subject:      CN=Weft root CA,O=cluster.local\n" in signing
    assert "trust domain: cluster.local\n" in signing
    assert "expires:      2037-01-12 08:00:00 UTC (3650 days)\n" in signing
    assert signing.endswith("signs:        yes")
    assert other.endswith("signs:        no, trusted only")


def test_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="has no certificate authority"):
        show(tmp_path, NOW)
    assert list(tmp_path.iterdir()) == []
