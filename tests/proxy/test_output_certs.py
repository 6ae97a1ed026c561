"""Certificates in files, for programs that speak mutual TLS by themselves."""

from __future__ import annotations

import asyncio
import logging
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from certs.authority import Authority
from certs.errors import CertificateError
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem
from proxy import output_certs as module
from proxy.certificate_call import Svid
from proxy.identity import Identity, Outlet
from proxy.output_certs import CHAIN_FILE, KEY_FILE, ROOTS_FILE, OutputCerts
from proxy.tasks import spawn
from tests.support.wait import eventually_async

AUTHORITY = Authority.create("cluster.local", time.time())


class Told:
    """An identity that is told what roots there are."""

    def __init__(self) -> None:
        self.pem: bytes | None = b"roots 1"
        self.outlet: Outlet | None = None

    async def roots(self) -> bytes:
        if self.pem is None:
            raise CertificateError("there are none")
        return self.pem


def svid() -> Svid:
    key = generate_key()
    cart = SpiffeId.workload("cluster.local", "default", "cart")
    issued = AUTHORITY.issue(key.public_key(), cart, 3600.0, time.time())
    return Svid(key, chain_from_pem(issued.pems[0].encode()))


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    """What it is told stands in tmp_path / "certs"."""
    identity = Told()
    outlet = OutputCerts(tmp_path / "certs", cast(Identity, identity))
    running = spawn(outlet.run(), "output certificates")
    yield identity
    running.cancel()
    await asyncio.wait([running])


async def give(told: Told, one: Svid | None) -> None:
    assert told.outlet is not None
    await told.outlet.give(one)


async def test_what_the_proxy_has_stands_in_files(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEEN_S", 0.01)
    folder = tmp_path / "certs"
    for one in (svid(), svid()):
        await give(told, one)
        assert (folder / KEY_FILE).read_bytes() == key_to_pem(one.key)
        assert chain_from_pem((folder / CHAIN_FILE).read_bytes()) == one.chain
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    told.pem = b"roots 2"
    await give(told, None)
    assert (folder / ROOTS_FILE).read_bytes() == b"roots 2"
    assert (folder / KEY_FILE).read_bytes() == key_to_pem(one.key)


async def test_what_is_new_counts_only_when_programs_have_read_it(
    told: Told, tmp_path: Path
) -> None:
    await give(told, svid())  # the first one: nobody has another
    new = svid()
    giving = spawn(give(told, new), "giving")
    chain = tmp_path / "certs" / CHAIN_FILE
    await eventually_async(lambda: chain_from_pem(chain.read_bytes()) == new.chain)
    assert not giving.done()
    giving.cancel()


async def test_roots_count_then_too_and_the_same_ones_at_once(told: Told, tmp_path: Path) -> None:
    await give(told, svid())
    await give(told, None)
    told.pem = b"roots 2"
    giving = spawn(give(told, None), "giving")
    roots = tmp_path / "certs" / ROOTS_FILE
    await eventually_async(lambda: roots.read_bytes() == b"roots 2")
    assert not giving.done()
    giving.cancel()


async def test_what_can_not_be_written_is_said_and_tried_again(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    told.pem = None
    with caplog.at_level(logging.ERROR):
        await give(told, svid())
    assert "there are none" in caplog.text
    told.pem = b"roots"
    await eventually_async((tmp_path / "certs" / CHAIN_FILE).exists)


async def test_the_key_goes_with_the_proxy(tmp_path: Path) -> None:
    identity = Told()
    outlet = OutputCerts(tmp_path, cast(Identity, identity))
    running = spawn(outlet.run(), "output certificates")
    await give(identity, svid())
    running.cancel()
    await asyncio.wait([running])
    assert (tmp_path / CHAIN_FILE).exists()
    assert not (tmp_path / KEY_FILE).exists()
