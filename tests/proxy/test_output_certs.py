"""Certificates in files, for programs that speak mutual TLS by themselves."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from certs.errors import CertificateError
from proxy import output_certs as module
from proxy.config.model import DataSource, Secret, TlsCertificate
from proxy.identity import Identity
from proxy.output_certs import CHAIN_FILE, KEY_FILE, ROOTS_FILE, OutputCerts
from proxy.tasks import spawn
from tests.support.wait import eventually_async


class Told:
    """An identity that is told what to have."""

    def __init__(self) -> None:
        self.secret: Secret | None = None
        self.pem: bytes | None = b"roots 1"
        self.on_roots: Callable[[], None] = lambda: None
        self._listeners: list[Callable[[Secret], None]] = []

    def listen(self, callback: Callable[[Secret], None]) -> None:
        self._listeners.append(callback)

    async def roots(self) -> bytes:
        if self.pem is None:
            raise CertificateError("there are none")
        return self.pem

    def renew(self, number: int) -> None:
        chain, key = (DataSource(f"{what} {number}".encode()) for what in ("chain", "key"))
        self.secret = Secret("default", certificate=TlsCertificate(chain, key))
        for callback in self._listeners:
            callback(self.secret)


def contents(folder: Path) -> dict[str, str]:
    files = (folder / name for name in (ROOTS_FILE, KEY_FILE, CHAIN_FILE))
    return {path.name: path.read_text() for path in files if path.exists()}


async def test_what_the_proxy_has_stands_in_files_while_it_runs(tmp_path: Path) -> None:
    folder, identity = tmp_path / "a" / "certs", Told()
    running = spawn(OutputCerts(folder, cast(Identity, identity)).run(), "output certificates")
    for number in (1, 2):
        identity.renew(number)
        wanted = {
            ROOTS_FILE: "roots 1",
            KEY_FILE: f"key {number}",
            CHAIN_FILE: f"chain {number}",
        }
        await eventually_async(lambda wanted=wanted: contents(folder) == wanted)  # type: ignore[misc]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    identity.pem = b"roots 2"
    identity.on_roots()
    await eventually_async(lambda: contents(folder)[ROOTS_FILE] == "roots 2")
    running.cancel()
    await asyncio.wait([running])
    assert set(contents(folder)) == {ROOTS_FILE, CHAIN_FILE}


async def test_what_can_not_be_written_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    identity = Told()
    identity.pem = None
    running = spawn(OutputCerts(tmp_path, cast(Identity, identity)).run(), "output certificates")
    with caplog.at_level(logging.ERROR):
        identity.renew(1)
        await eventually_async(lambda: "there are none" in caplog.text)
    identity.pem = b"roots"
    await eventually_async(lambda: contents(tmp_path).get(CHAIN_FILE) == "chain 1")
    running.cancel()
    await asyncio.wait([running])
