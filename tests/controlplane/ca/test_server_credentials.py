"""The control plane's serving certificate: its names, and its renewal under running ports."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from certs.authority import Authority
from certs.keys import key_from_pem
from certs.profiles import ROOT_LIFETIME_S
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_svid, matches_key, validity
from controlplane.ca.server_credentials import SERVER_NAME, TTL_S, ServingCertificate
from tests.support.ca import RunningCa, running_ca

NOW = 1_800_000_000.0
SELF = SpiffeId.workload("td", "weft-system", "weft-controlplane")


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_names() -> None:
    serving = ServingCertificate(
        Authority.create("td", NOW),
        dns_names=["mesh.example", "localhost"],
        ip_addresses=["10.1.2.3", "127.0.0.1"],
        clock=Clock(NOW),
    )
    secret = serving.current()
    (leaf,) = chain_from_pem(secret.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert check_svid((leaf,)) == serving.identity == SELF
    assert names.get_values_for_type(x509.DNSName) == ["localhost", SERVER_NAME, "mesh.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "10.1.2.3",
    ]
    assert matches_key(leaf, key_from_pem(secret.key_pem).public_key())


def test_renewal_at_half_life() -> None:
    clock = Clock(NOW)
    serving = ServingCertificate(Authority.create("td", NOW), clock=clock)
    first = serving.current()
    clock.now = NOW + 0.49 * TTL_S
    assert serving.current() is first
    clock.now = NOW + 0.51 * TTL_S
    second = serving.current()
    assert second.not_after == int(clock.now + TTL_S)
    assert serving.current() is second


def test_what_cannot_be_renewed_serves_on_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(NOW)
    serving = ServingCertificate(Authority.create("td", NOW), clock=clock)
    first = serving.current()
    clock.now = NOW + ROOT_LIFETIME_S + 1
    with caplog.at_level(logging.ERROR, "weft.controlplane.ca"):
        assert serving.current() is first
    assert "cannot be renewed" in caplog.text


async def served_by(port: int) -> Certificate:
    """The certificate that a new connection to the port sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der)


async def test_running_ports_serve_the_renewed_certificate(tmp_path: Path) -> None:
    start = time.time() - 13 * 3600
    clock = Clock(start)
    async with running_ca(tmp_path, clock=clock, started_at=start) as ca:
        await _check_both(ca, int(start + TTL_S))
        clock.now = time.time()
        await _check_both(ca, int(clock.now + TTL_S))
        # Renewed once for both, and kept.
        assert len({await served_by(port) for port in (ca.port, ca.port, ca.mtls_port)}) == 1


async def _check_both(ca: RunningCa, not_after: int) -> None:
    for port in (ca.port, ca.mtls_port):
        assert validity(await served_by(port))[1] == not_after
