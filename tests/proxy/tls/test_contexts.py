"""TLS contexts out of the model: what they verify, and which resource an error names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from proxy.config import model
from proxy.tls.contexts import client_context, server_context
from proxy.tls.failure import TlsConfigError, TlsFailed
from proxy.tls.peer import certificate_facts
from proxy.tls.session import Session
from tests.support.pki import Authority
from tests.support.tls import (
    PythonSide,
    SessionSide,
    Side,
    certificate,
    handshake,
    python_client,
    python_handshake,
    shake_hands,
    uri,
    validation,
)

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

    at_client, at_server = handshake(client, server)

    assert at_server.peer_der == at_client.peer_der != b""
    assert (at_client.alpn, at_server.alpn) == ("istio", "istio")
    assert at_server.server_name == "outbound_.80_._.web.shop"
    assert (at_server.version, at_server.cipher) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert at_server.group == at_client.group == "X25519"


def test_what_is_offered_unless_the_configuration_says_it() -> None:
    made: dict[tuple[object, ...], SSL.Context] = {}
    tls = model.CommonTls()
    open_minded = client_context(model.UpstreamTls(tls), {}, made, ("h2",))
    assert len(made) == 1
    assert open_minded.make(("h2",)) is not open_minded.make(("http/1.1",))
    assert open_minded.make(("http/1.1",)) is open_minded.make(("http/1.1",))
    other = client_context(model.UpstreamTls(tls), {}, made)
    assert other.make(("h2",)) is open_minded.make(("h2",))  # shared by what it is made of
    server = server_context(model.DownstreamTls(common(alpn=("istio", "h2"))), {})
    own = client_context(model.UpstreamTls(replace(tls, alpn=("istio",))), {}, made, ("h2",))
    sides = own.session(("h2",)), server.session()
    shake_hands(*sides)
    assert sides[1].alpn == "istio"


def refused(client: Side | Session, server: Side | Session) -> TlsFailed:
    with pytest.raises(TlsFailed) as caught:
        shake_hands(client, server)
    return caught.value


def test_the_name_of_the_request_must_be_in_the_certificate() -> None:
    client = client_context(model.UpstreamTls(common(validation=validation(ROOT))), {})
    server = server_context(model.DownstreamTls(common()), {})
    shake_hands(client.session(wanted_name=WEB), server.session())
    failure = refused(client.session(wanted_name="other.test"), server.session())
    assert failure.statistic == "fail_verify_san"
    assert failure.why == f"the certificate is not for other.test, but for {WEB}"


def test_auto_sni_san_validation_asks_for_the_sni() -> None:
    tls = model.UpstreamTls(
        common(validation=validation(ROOT, uri("spiffe://td/nobody"))),
        "web.test",
        auto_sni_san_validation=True,
    )
    of_web = certificate(ROOT.issue(dns=("*.test",)))
    server = server_context(model.DownstreamTls(common(certificates=(of_web,))), {})
    client = client_context(tls, {})
    handshake(client, server)
    assert refused(client.session(server_name="b.example"), server.session()).why.startswith(
        "the certificate is not for b.example"
    )


def test_the_hosts_name_is_the_sni_if_asked_for() -> None:
    server = server_context(model.DownstreamTls(common()), {})
    for wanted, sni in ((True, "host.test"), (False, "")):
        tls = client_context(model.UpstreamTls(model.CommonTls(), auto_host_sni=wanted), {})
        sides = tls.session(host_name="host.test"), server.session()
        shake_hands(*sides)
        assert sides[1].server_name == sni


def test_names_of_the_default_and_of_the_secret_both_count() -> None:
    secret = model.Secret("ROOTCA", validation=validation(ROOT, uri("spiffe://td/other")))
    tls = replace(SDS, validation=model.ValidationContext(match_sans=(uri(WEB),)))
    client = client_context(model.UpstreamTls(tls), secrets(ROOTCA=secret))
    handshake(client, server_context(model.DownstreamTls(common()), {}))


def test_the_secrets_ca_wins_over_the_default() -> None:
    tls = replace(SDS, validation=validation(OTHER_ROOT))
    client = client_context(model.UpstreamTls(tls), secrets())
    handshake(client, server_context(model.DownstreamTls(common()), {}))


def test_without_trusted_ca_nothing_is_verified() -> None:
    client = client_context(model.UpstreamTls(model.CommonTls()), {})
    at_client, at_server = handshake(client, server_context(model.DownstreamTls(common()), {}))
    assert at_server.server_name == ""
    assert at_server.peer_der == b""
    assert at_client.peer_der != b""


def test_a_shown_certificate_must_be_good_even_if_not_required() -> None:
    server = server_context(model.DownstreamTls(common(validation=validation(ROOT))), {})
    stranger = python_client(ROOT, OTHER_ROOT.issue(uris=(WEB,)))
    assert refused(PythonSide(stranger), server.session()).statistic == "fail_verify_error"
    python_handshake(python_client(ROOT), server)


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
        client_context(model.UpstreamTls(at_client), {}),
        server_context(model.DownstreamTls(at_server), {}),
    )
    if expected is None:
        failure = refused(contexts[0].session(), contexts[1].session())
        assert (failure.statistic, failure.why) == ("connection_error", "unsupported protocol")
    else:
        assert handshake(*contexts)[0].version == expected


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "the peer speaks plain HTTP, not TLS"),
        (b"SSH-2.0-x and whatever follows", "what the peer says is no TLS"),
    ],
)
def test_what_is_no_tls_is_called_so(said: bytes, why: str) -> None:
    session = SessionSide(server_context(model.DownstreamTls(common()), {}).session())
    with pytest.raises(TlsFailed, match=why) as caught:
        session.shake(said)
    assert caught.value.statistic == "connection_error"


def test_ciphers_with_envoys_groups() -> None:
    ciphers = ("[ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-RSA-AES256-GCM-SHA384]",)
    tls = common(ciphers=ciphers, max_version="TLSv1_2")
    _, at_server = python_handshake(
        python_client(ROOT), server_context(model.DownstreamTls(tls), {})
    )
    assert at_server.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_curves_and_signature_algorithms() -> None:
    server = server_context(model.DownstreamTls(common(curves=("P-384", "P-256"))), {})
    client = client_context(model.UpstreamTls(model.CommonTls(curves=("P-384",))), {})
    assert handshake(client, server)[1].group == "P-384"
    other = client_context(model.UpstreamTls(model.CommonTls(curves=("X25519",))), {})
    assert refused(other.session(), server.session()).why == "no suitable key share"
    rsa_only = model.CommonTls(signature_algorithms=("rsa_pss_rsae_sha256",))
    deaf = client_context(model.UpstreamTls(rsa_only), {})
    assert refused(deaf.session(), server.session()).why == "no suitable signature algorithm"


def test_the_certificate_for_the_name_that_is_asked_for() -> None:
    some = [certificate(ROOT.issue(dns=(name,))) for name in ("a.test", "b.test", "*.c.test")]
    server = server_context(model.DownstreamTls(common(certificates=tuple(some))), {})
    client = client_context(model.UpstreamTls(model.CommonTls()), {})
    for asked, shown in (
        ("a.test", "a.test"), ("b.test", "b.test"), ("x.c.test", "*.c.test"),
        ("nobody.test", "a.test"), ("", "a.test"),
    ):  # fmt: skip
        sides = client.session(server_name=asked), server.session()
        shake_hands(*sides)
        assert certificate_facts(sides[0].peer_der).dns_sans == (shown,)


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
    python_handshake(python_client(ROOT), server)


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
        (common(curves=("P-256", "P-1")), "unknown ecdh_curves: P-256, P-1"),
        (common(signature_algorithms=("md5",)), "unknown signature_algorithms: md5"),
        (common(validation=NO_CA), "names to match but no trusted_ca"),
        (common(validation=BAD_CA), "trusted_ca: "),
        (common(), "require_client_certificate without trusted_ca"),
    ],
)
def test_bad_material_is_named(tls: model.CommonTls, message: str) -> None:
    with pytest.raises(TlsConfigError, match=message):
        server_context(model.DownstreamTls(tls, require_client_certificate=True), secrets())
