"""TLS contexts and secrets out of protobuf: what is read, and what is refused where."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from proxy.config import decode_validation, spiffe_bundles
from proxy.config.decode_tls import downstream, secret, upstream
from proxy.config.decode_validation import validation
from proxy.config.model import DataSource, ValidationContext
from proxy.config.rejected import Rejected
from tests.support.pki import Authority

ROOT = Authority()
PAIR = ROOT.issue(uris=("spiffe://td/web",))
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
CA = {"trusted_ca": {"inline_string": ROOT.pem}}
CERTIFICATE = {
    "certificate_chain": {"inline_string": PAIR.certificate},
    "private_key": {"inline_string": PAIR.key},
}


def context(fields: dict[str, Any], path: str = "v") -> ValidationContext:
    message = json_format.ParseDict(fields, common_pb2.CertificateValidationContext())
    return validation(message, path)


def socket(kind: str, fields: dict[str, Any]) -> Any:
    from envoy.config.core.v3 import base_pb2

    typed = {"@type": TLS + kind, **fields}
    return json_format.ParseDict({"name": "tls", "typed_config": typed}, base_pb2.TransportSocket())


def test_everything_of_a_validation_context() -> None:
    digest = hashlib.sha256(b"x").digest()
    shown = digest.hex().upper()
    found = context(
        {
            **CA,
            "crl": {"inline_string": ROOT.crl()},
            "only_verify_leaf_cert_crl": True,
            "verify_certificate_hash": [
                digest.hex(),
                ":".join(shown[at : at + 2] for at in range(0, 64, 2)),
            ],
            "verify_certificate_spki": [base64.b64encode(digest).decode()],
            "allow_expired_certificate": True,
            "trust_chain_verification": "ACCEPT_UNTRUSTED",
            "max_verify_depth": 2,
            "match_typed_subject_alt_names": [
                {"san_type": "OTHER_NAME", "oid": "1.2.3", "matcher": {"exact": "x"}}
            ],
        }
    )
    assert found.hashes == (digest, digest)
    assert found.spkis == (digest,)
    assert found.crl is not None
    assert found.only_verify_leaf_crl and found.allow_expired and found.accept_untrusted
    assert found.max_verify_depth == 2
    assert found.match_sans[0].oid == "1.2.3"


def spiffe(fields: dict[str, Any]) -> dict[str, Any]:
    typed = {"@type": TLS + "SPIFFECertValidatorConfig", **fields}
    return {"custom_validator_config": {"name": "spiffe", "typed_config": typed}}


def test_trust_domains_of_the_spiffe_validator() -> None:
    bundle = {"inline_string": ROOT.pem}
    found = context(spiffe({"trust_domains": [{"name": "td", "trust_bundle": bundle}]}))
    assert [(one.name, one.bundle.data) for one in found.trust_domains] == [
        ("td", ROOT.pem.encode())
    ]


# There must be one even where a map stands for them (Envoy).
BESIDE = {"trust_domains": [{"name": "td", "trust_bundle": {"inline_string": ROOT.pem}}]}


def test_what_is_revoked_stands_beside_trust_domains_without_a_trusted_ca() -> None:
    """As a control plane sends it to federated meshes."""
    domain = {"name": "td", "trust_bundle": {"inline_string": ROOT.pem}}
    found = context(spiffe({"trust_domains": [domain]}) | {"crl": {"inline_string": ROOT.crl()}})
    assert found.crl is not None
    assert b"X509 CRL" in found.crl.data


def bundle_map(**key: Any) -> str:
    der = ssl.PEM_cert_to_DER_cert(ROOT.pem)
    good = {"kty": "EC", "use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}
    jwt = {"kty": "EC", "use": "jwt-svid", "kid": "a"}
    key = {name: value for name, value in {**good, **key}.items() if value is not None}
    return json.dumps({"trust_domains": {"td": {"sequence_number": 1, "keys": [key, jwt]}}})


def test_a_map_of_bundles() -> None:
    found = context(spiffe(BESIDE | {"trust_bundles": {"inline_string": bundle_map()}}))
    (domain,) = found.trust_domains
    assert domain.name == "td"
    parsed = x509.load_pem_x509_certificate(domain.bundle.data)
    assert parsed == x509.load_pem_x509_certificate(ROOT.pem.encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no JSON"),
        ("[]", "has no trust_domains"),
        ('{"trust_domains": {}}', "has no trust_domains"),
        ('{"trust_domains": {"td": {"keys": []}}}', "td: has no keys"),
        (bundle_map(use=None), "td: a key does not say its use"),
        (bundle_map(x5c=None), "td: a key for x509-svid has no x5c"),
        (bundle_map(use="jwt-svid"), "td: none of its keys is for x509-svid"),
        (bundle_map(x5c=["?"]), "td: x5c: "),
        (bundle_map(x5c=["dGhpcw=="]), "td: holds no certificates that can be read"),
    ],
)
def test_bad_maps_of_bundles(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        context(spiffe(BESIDE | {"trust_bundles": {"inline_string": text}}))


def test_the_map_tells_where_it_came_from() -> None:
    (domain,) = spiffe_bundles.trust_domains(DataSource(bundle_map().encode(), "b.json"))
    assert domain.bundle.origin == "b.json (td)"


NAMES = [{"san_type": "URI", "matcher": {"exact": "spiffe://td/x"}}]


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"match_typed_subject_alt_names": NAMES}, "v", "never trusted without trusted_ca"),
        (
            {**CA, "match_typed_subject_alt_names": [{**NAMES[0], "san_type": "OTHER_NAME"}]},
            "v.match_typed_subject_alt_names[0].oid",
            "must be set",
        ),
        ({**CA, "crl": {"inline_string": "x"}}, "v.crl", "is no revocation list in PEM"),
        ({"crl": {"inline_string": ROOT.crl()}}, "v.crl", "there is no trusted_ca"),
        ({"allow_expired_certificate": True}, "v.allow_expired_certificate", "nothing is verified"),
        ({**CA, "verify_certificate_hash": ["ab"]}, "v.verify_certificate_hash[0]", "32 bytes"),
        ({**CA, "verify_certificate_hash": ["x"]}, "v.verify_certificate_hash[0]", "cannot be"),
        ({**CA, "verify_certificate_spki": ["*"]}, "v.verify_certificate_spki[0]", "cannot be"),
        (
            spiffe({}),
            "v.custom_validator_config.typed_config.trust_domains",
            "at least 1 item",
        ),
        (
            spiffe({"trust_domains": [{"name": "a", "trust_bundle": {"inline_string": "x"}}]}),
            "v.custom_validator_config.typed_config.trust_domains[0].trust_bundle",
            "a: holds no certificates",
        ),
        (
            spiffe(
                {
                    "trust_domains": [
                        {"name": "a", "trust_bundle": {"inline_string": ROOT.pem}} for _ in "ab"
                    ]
                }
            ),
            "v.custom_validator_config.typed_config.trust_domains[1].name",
            "stands there twice",
        ),
        (
            {"custom_validator_config": {"name": "x", "typed_config": {"@type": TLS + "Secret"}}},
            "v.custom_validator_config.typed_config",
            "SPIFFECertValidatorConfig",
        ),
    ],
)
def test_refused_validation_contexts(fields: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as caught:
        context(fields)
    assert caught.value.path == path


def test_the_systems_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    monkeypatch.setattr(decode_validation, "SYSTEM_ROOTS", (str(tmp_path / "no"), str(file)))
    with pytest.raises(Rejected, match="is there"):
        context({"system_root_certs": {}})
    file.write_text(ROOT.pem)
    found = context({"system_root_certs": {}, "match_typed_subject_alt_names": NAMES})
    assert found.trusted_ca == DataSource(ROOT.pem.encode(), str(file))


def test_both_sides() -> None:
    common = {
        "tls_certificates": [CERTIFICATE],
        "tls_params": {"ecdh_curves": ["P-256"], "signature_algorithms": ["rsa_pkcs1_sha256"]},
    }
    server = downstream(
        socket(
            "DownstreamTlsContext",
            {
                "common_tls_context": common,
                "session_timeout": "60s",
                "disable_stateless_session_resumption": True,
                "disable_stateful_session_resumption": True,
                "prefer_client_ciphers": True,
            },
        ),
        "s",
    )
    assert server is not None
    assert (server.session_timeout_s, server.prefer_client_ciphers) == (60, True)
    assert not server.stateless_resumption and not server.stateful_resumption
    assert server.common.curves == ("P-256",)
    assert server.common.signature_algorithms == ("rsa_pkcs1_sha256",)
    wishes = {"auto_host_sni": True, "auto_sni_san_validation": True, "max_session_keys": 3}
    client = upstream(socket("UpstreamTlsContext", {"sni": "a", **wishes}), "s")
    assert client is not None
    assert client.auto_host_sni and client.auto_sni_san_validation
    assert client.max_session_keys == 3


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        (
            "DownstreamTlsContext",
            {"session_ticket_keys": {"keys": [{"inline_bytes": "eA=="}]}},
            "session_ticket_keys",
        ),
        ("DownstreamTlsContext", {"require_sni": True}, "require_sni"),
        ("UpstreamTlsContext", {"allow_renegotiation": True}, "allow_renegotiation"),
        (
            "UpstreamTlsContext",
            {"common_tls_context": {"tls_params": {"compliance_policies": ["FIPS_202205"]}}},
            "common_tls_context.tls_params.compliance_policies",
        ),
        (
            "UpstreamTlsContext",
            {"common_tls_context": {"key_log": {"path": "x"}}},
            "common_tls_context.key_log",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    kind: str, fields: dict[str, Any], path: str
) -> None:
    side = downstream if kind.startswith("Down") else upstream
    with pytest.raises(Rejected, match="not supported") as caught:
        side(socket(kind, fields), "s")
    assert caught.value.path == f"s.typed_config.{path}"


def store(password: bytes) -> str:
    key = load_pem_private_key(PAIR.key.encode(), None)
    leaf = x509.load_pem_x509_certificate(PAIR.certificate.encode())
    packed = pkcs12.serialize_key_and_certificates(
        *(b"n", key, leaf, None),  # type: ignore[arg-type]
        BestAvailableEncryption(password),
    )
    return base64.b64encode(packed).decode()


def parsed(fields: dict[str, Any]) -> Message:
    return json_format.ParseDict({"name": "s", "tls_certificate": fields}, secret_pb2.Secret())


def test_a_pkcs12_store() -> None:
    fields = {"pkcs12": {"inline_bytes": store(b"open")}, "password": {"inline_string": "open\n"}}
    found = secret(parsed(fields)).certificate  # type: ignore[arg-type]
    assert found is not None
    assert found.chain.data == PAIR.certificate.encode()
    load_pem_private_key(found.private_key.data, None)
    with pytest.raises(Rejected, match="cannot be read"):
        secret(parsed({**fields, "password": {"inline_string": "shut"}}))  # type: ignore[arg-type]
    with pytest.raises(Rejected, match="is set, too"):
        secret(parsed({**fields, **CERTIFICATE}))  # type: ignore[arg-type]


def test_an_ocsp_response_comes_in_bytes() -> None:
    response = {"inline_bytes": base64.b64encode(b"\x30\x00").decode()}
    found = secret(parsed({**CERTIFICATE, "ocsp_staple": response})).certificate  # type: ignore[arg-type]
    assert found is not None and found.ocsp_staple is not None
    assert found.ocsp_staple.data == b"\x30\x00"
    with pytest.raises(Rejected, match="is binary") as caught:
        secret(parsed({**CERTIFICATE, "ocsp_staple": {"inline_string": "x"}}))  # type: ignore[arg-type]
    assert caught.value.path == "tls_certificate.ocsp_staple.inline_string"
    for number, name in enumerate(("LENIENT_STAPLING", "STRICT_STAPLING", "MUST_STAPLE")):
        fields = {"common_tls_context": {"tls_certificates": [CERTIFICATE]}}
        tls = socket("DownstreamTlsContext", {**fields, "ocsp_staple_policy": number})
        side = downstream(tls, "s")
        assert side is not None and side.ocsp_staple_policy == name
