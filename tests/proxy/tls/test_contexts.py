"""TLS contexts out of the model: what they verify, and which resource an error names."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from proxy.config import model
from proxy.tls.contexts import TlsConfigError, client_context, server_context
from proxy.tls.peer import requested_server_name
from tests.support.pki import Authority
from tests.support.tls import certificate, handshake, python_client, uri, validation

ROOT, OTHER_ROOT = Authority(), Authority("another root")
WEB = "spiffe://td/ns/default/sa/web"
PAIR = ROOT.issue(uris=(WEB,))
CERTIFICATE = certificate(PAIR)
OTHER_CERTIFICATE = certificate(ROOT.issue(uris=(WEB,)))


def secrets(**fields: Any) -> Mapping[str, model.Secret]:
    return {
        "default": model.Secret("default", certificate=CERTIFICATE),
        "ROOTCA": model.Secret("ROOTCA", validation=validation(ROOT)),
        **fields,
    }


SDS = model.CommonTls(
    certificate_sds=model.SdsRef("default"), validation_sds=model.SdsRef("ROOTCA")
)


def common(**fields: Any) -> model.CommonTls:
    return replace(model.CommonTls(certificates=(CERTIFICATE,)), **fields)


def test_mutual_tls_by_sds() -> None:
    """As Istio configures it: one workload's secrets at both ends."""
    server = server_context(model.DownstreamTls(replace(SDS, alpn=("istio",)), True), secrets())
    tls = replace(SDS, alpn=("istio",), validation=model.ValidationContext(match_sans=(uri(WEB),)))
    client = client_context(model.UpstreamTls(tls, "outbound_.80_._.web.shop"), secrets())

    client_side, server_side = handshake(
        client.ssl_context, server.ssl_context, client.server_hostname
    )

    assert client.verify(client_side) is None
    assert server.verify(server_side) is None
    assert server_side.getpeercert() is not None
    assert client_side.selected_alpn_protocol() == "istio"
    assert requested_server_name(server_side) == "outbound_.80_._.web.shop"


def test_what_is_offered_unless_the_configuration_says_it() -> None:
    made: dict[tuple[object, ...], ssl.SSLContext] = {}
    tls = model.CommonTls()
    open_minded = client_context(model.UpstreamTls(tls), {}, made, ("h2",))
    assert open_minded.offering(("h2",)) is open_minded.ssl_context
    assert open_minded.offering(("http/1.1",)) is not open_minded.ssl_context
    assert open_minded.offering(("http/1.1",)) is open_minded.offering(("http/1.1",))
    other = client_context(model.UpstreamTls(tls), {}, made)
    assert other.offering(("h2",)) is open_minded.ssl_context  # shared by what it is made of
    own = client_context(model.UpstreamTls(replace(tls, alpn=("istio",))), {}, made, ("h2",))
    assert own.offering(("http/1.1",)) is own.ssl_context


def test_the_name_of_the_request_must_be_in_the_certificate() -> None:
    client = client_context(model.UpstreamTls(common(validation=validation(ROOT))), {})
    server = server_context(model.DownstreamTls(common()), {})
    client_side, _ = handshake(client.ssl_context, server.ssl_context)
    assert client.verify(client_side, WEB) is None
    assert client.verify(client_side, "other.test") == "the certificate is not for other.test"


def test_names_of_the_default_and_of_the_secret_both_count() -> None:
    secret = model.Secret("ROOTCA", validation=validation(ROOT, uri("spiffe://td/other")))
    tls = replace(SDS, validation=model.ValidationContext(match_sans=(uri(WEB),)))
    client = client_context(model.UpstreamTls(tls), secrets(ROOTCA=secret))
    server = server_context(model.DownstreamTls(common()), {})
    client_side, _ = handshake(client.ssl_context, server.ssl_context)
    assert client.verify(client_side) is None


def test_the_secrets_ca_wins_over_the_default() -> None:
    tls = replace(SDS, validation=validation(OTHER_ROOT))
    client = client_context(model.UpstreamTls(tls), secrets())
    handshake(client.ssl_context, server_context(model.DownstreamTls(common()), {}).ssl_context)


def test_a_wrong_name_is_refused_with_what_was_shown() -> None:
    tls = common(validation=validation(ROOT, uri("spiffe://td/ns/default/sa/db")))
    client = client_context(model.UpstreamTls(tls), {})
    server = server_context(model.DownstreamTls(common()), {})
    client_side, _ = handshake(client.ssl_context, server.ssl_context)
    assert client.verify(client_side) == f"the certificate's names do not match: {WEB}"


def test_a_server_of_another_ca_is_refused() -> None:
    client = client_context(model.UpstreamTls(common(validation=validation(OTHER_ROOT))), {})
    server = server_context(model.DownstreamTls(common()), {})
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client.ssl_context, server.ssl_context)


def test_without_trusted_ca_nothing_is_verified() -> None:
    client = client_context(model.UpstreamTls(model.CommonTls()), {})
    server = server_context(model.DownstreamTls(common()), {})
    client_side, _ = handshake(client.ssl_context, server.ssl_context)
    assert client.server_hostname == ""
    assert client.verify(client_side) is None


def test_a_shown_certificate_must_be_good_even_if_not_required() -> None:
    server = server_context(model.DownstreamTls(common(validation=validation(ROOT))), {})
    stranger = python_client(ROOT, OTHER_ROOT.issue(uris=(WEB,)))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger, server.ssl_context)
    handshake(python_client(ROOT), server.ssl_context)


@pytest.mark.parametrize(
    ("server", "client", "expected"),
    [
        (("TLSv1_2", "TLSv1_2"), ("TLSv1_2", "TLSv1_3"), "TLSv1.2"),
        (("TLSv1_2", "TLSv1_3"), ("TLSv1_3", "TLSv1_3"), "TLSv1.3"),
        (("TLSv1_3", "TLSv1_3"), ("TLSv1_2", "TLSv1_2"), None),
    ],
)
def test_versions(server: Any, client: Any, expected: str | None) -> None:
    at_server = common(min_version=server[0], max_version=server[1])
    at_client = common(min_version=client[0], max_version=client[1])
    contexts = (
        client_context(model.UpstreamTls(at_client), {}).ssl_context,
        server_context(model.DownstreamTls(at_server), {}).ssl_context,
    )
    if expected is None:
        with pytest.raises(ssl.SSLError):
            handshake(*contexts)
    else:
        assert handshake(*contexts)[0].version() == expected


def test_ciphers_with_envoys_groups() -> None:
    ciphers = ("[ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-RSA-AES256-GCM-SHA384]",)
    tls = common(ciphers=ciphers, max_version="TLSv1_2")
    server = server_context(model.DownstreamTls(tls), {})
    client_side, _ = handshake(python_client(ROOT), server.ssl_context)
    cipher = client_side.cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def encrypted(password: bytes) -> model.DataSource:
    key = serialization.load_pem_private_key(PAIR.key.encode(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    return model.DataSource(pem, "tls.key")


def test_an_encrypted_key() -> None:
    locked = replace(
        CERTIFICATE, private_key=encrypted(b"open"), password=model.DataSource(b"open\n")
    )
    server = server_context(model.DownstreamTls(common(certificates=(locked,))), {})
    handshake(python_client(ROOT), server.ssl_context)


ENCRYPTED = replace(CERTIFICATE, private_key=encrypted(b"open"))
PAIR_MISMATCH = replace(CERTIFICATE, private_key=OTHER_CERTIFICATE.private_key)
NO_CA = model.ValidationContext(match_sans=(uri(WEB),))
BAD_CA = model.ValidationContext(model.DataSource(b"nothing"))


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (model.CommonTls(), "has no certificate"),
        (replace(SDS, certificate_sds=model.SdsRef("gone")), "secret 'gone' is not there"),
        (replace(SDS, certificate_sds=model.SdsRef("ROOTCA")), "'ROOTCA' holds no tls_certificate"),
        (replace(SDS, validation_sds=model.SdsRef("default")), "'default' holds no validation"),
        (common(certificates=(PAIR_MISMATCH,)), "private key inline: key values mismatch"),
        (common(certificates=(ENCRYPTED,)), "private key tls.key: the private key is encrypted"),
        (
            common(certificates=(replace(ENCRYPTED, password=model.DataSource(b"wrong")),)),
            "private key tls.key: ",
        ),
        (common(ciphers=("ECDHE-RSA-AES128-GCM-SHA256", "NO-SUCH")), "cipher suites: NO-SUCH"),
        (common(ciphers=("HIGH",)), "cipher suites: HIGH"),
        (common(validation=NO_CA), "names to match but no trusted_ca"),
        (common(validation=BAD_CA), "trusted_ca: "),
        (common(), "require_client_certificate without trusted_ca"),
    ],
)
def test_bad_material_is_named(tls: model.CommonTls, message: str) -> None:
    with pytest.raises(TlsConfigError, match=message):
        server_context(model.DownstreamTls(tls, require_client_certificate=True), secrets())
