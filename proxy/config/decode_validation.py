"""Decodes how a peer's certificate is to be judged: `CertificateValidationContext`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_spiffe_validator_config_pb2

from proxy.config import pem, spiffe_bundles
from proxy.config.decode_common import data_source, type_name, unpack, unsupported_type
from proxy.config.decode_matchers import string_matcher
from proxy.config.model import DataSource, SanMatcher, TrustDomain, ValidationContext
from proxy.config.rejected import Rejected

San = Literal["URI", "DNS", "EMAIL", "IP_ADDRESS", "OTHER_NAME"]
SAN_TYPES: Mapping[int, San] = {
    common_pb2.SubjectAltNameMatcher.EMAIL: "EMAIL",
    common_pb2.SubjectAltNameMatcher.DNS: "DNS",
    common_pb2.SubjectAltNameMatcher.URI: "URI",
    common_pb2.SubjectAltNameMatcher.IP_ADDRESS: "IP_ADDRESS",
}
# Where systems keep the roots that they trust; the first that is there is taken.
SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/openssl@3/cert.pem",
)
SHA256_BYTES = 32
_Context = common_pb2.CertificateValidationContext
_Spiffe = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig


def validation(message: _Context, path: str) -> ValidationContext:
    sans = _sans(message, path)
    domains: tuple[TrustDomain, ...] = ()
    if message.HasField("custom_validator_config"):
        where = f"{path}.custom_validator_config"
        domains = _spiffe(message.custom_validator_config, where)
    roots = _roots(message, path)
    pinned = bool(message.verify_certificate_hash or message.verify_certificate_spki)
    merged_later = path.endswith("default_validation_context")
    if sans and roots is None and not domains and not merged_later:
        raise Rejected(path, "subject alternative names are never trusted without trusted_ca")
    crl = _crl(message.crl, f"{path}.crl") if message.HasField("crl") else None
    if crl is not None and roots is None and not domains and not merged_later:
        raise Rejected(f"{path}.crl", "there is no trusted_ca whose certificates it could revoke")
    if message.allow_expired_certificate and not (roots or domains or pinned or merged_later):
        why = "there is no trusted_ca, so nothing is verified"
        raise Rejected(f"{path}.allow_expired_certificate", why)
    return ValidationContext(
        trusted_ca=roots,
        match_sans=sans,
        crl=crl,
        only_verify_leaf_crl=message.only_verify_leaf_cert_crl,
        hashes=_digests(message.verify_certificate_hash, f"{path}.verify_certificate_hash", _hex),
        spkis=_digests(message.verify_certificate_spki, f"{path}.verify_certificate_spki", _base64),
        allow_expired=message.allow_expired_certificate,
        accept_untrusted=message.trust_chain_verification == _Context.ACCEPT_UNTRUSTED,
        max_verify_depth=_depth(message),
        trust_domains=domains,
    )


def _depth(message: _Context) -> int | None:
    return message.max_verify_depth.value if message.HasField("max_verify_depth") else None


def _sans(message: _Context, path: str) -> tuple[SanMatcher, ...]:
    sans: list[SanMatcher] = []
    for i, each in enumerate(message.match_typed_subject_alt_names):
        where = f"{path}.match_typed_subject_alt_names[{i}]"
        matcher = string_matcher(each.matcher, f"{where}.matcher")
        if each.san_type == common_pb2.SubjectAltNameMatcher.OTHER_NAME:
            if not each.oid:
                raise Rejected(f"{where}.oid", "an OTHER_NAME is known by it, so it must be set")
            sans.append(SanMatcher("OTHER_NAME", matcher, each.oid))
        else:
            sans.append(SanMatcher(SAN_TYPES[each.san_type], matcher))
    for i, old in enumerate(message.match_subject_alt_names):
        # The deprecated field has no type: Envoy matches every type of name with it.
        matcher = string_matcher(old, f"{path}.match_subject_alt_names[{i}]")
        sans.extend(SanMatcher(each, matcher) for each in SAN_TYPES.values())
    return tuple(sans)


def _roots(message: _Context, path: str) -> DataSource | None:
    if message.HasField("trusted_ca"):
        found = data_source(message.trusted_ca, f"{path}.trusted_ca")
        wrong = pem.roots_problem(found.data)
        if wrong is not None:
            raise Rejected(f"{path}.trusted_ca", wrong)
        return found
    if not message.HasField("system_root_certs"):
        return None
    for name in SYSTEM_ROOTS:
        if Path(name).is_file():
            return DataSource(Path(name).read_bytes(), name)
    raise Rejected(f"{path}.system_root_certs", f"none of {', '.join(SYSTEM_ROOTS)} is there")


def _crl(message: base_pb2.DataSource, path: str) -> DataSource:
    found = data_source(message, path)
    wrong = pem.crl_problem(found.data)
    if wrong is not None:
        raise Rejected(path, wrong)
    return found


def _digests(values: Iterable[str], path: str, decode: Callable[[str], bytes]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for i, value in enumerate(values):
        try:
            digest = decode(value)
        except ValueError as error:
            raise Rejected(f"{path}[{i}]", f"cannot be read: {error}") from None
        if len(digest) != SHA256_BYTES:
            raise Rejected(f"{path}[{i}]", f"a SHA-256 has 32 bytes, this has {len(digest)}")
        found.append(digest)
    return tuple(found)


def _hex(value: str) -> bytes:
    """With or without colons between the bytes, in either case."""
    return bytes.fromhex(value.replace(":", ""))


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(error) from None


def _spiffe(message: extension_pb2.TypedExtensionConfig, path: str) -> tuple[TrustDomain, ...]:
    where = f"{path}.typed_config"
    if type_name(message.typed_config) != _Spiffe.DESCRIPTOR.full_name:
        raise unsupported_type(message.typed_config, where, (_Spiffe.DESCRIPTOR.full_name,))
    config = unpack(_Spiffe, message.typed_config, where)
    if config.HasField("trust_bundles"):  # Envoy: it wins over trust_domains
        source = data_source(config.trust_bundles, f"{where}.trust_bundles")
        try:
            domains = spiffe_bundles.trust_domains(source)
        except ValueError as error:
            raise Rejected(f"{where}.trust_bundles", str(error)) from None
        _check_bundles(domains, f"{where}.trust_bundles")
        return domains
    return _trust_domains(config, where)


def _trust_domains(config: _Spiffe, path: str) -> tuple[TrustDomain, ...]:
    domains: dict[str, TrustDomain] = {}
    for i, each in enumerate(config.trust_domains):
        where = f"{path}.trust_domains[{i}]"
        if each.name in domains:
            raise Rejected(f"{where}.name", f"the trust domain {each.name} stands there twice")
        bundle = data_source(each.trust_bundle, f"{where}.trust_bundle")
        domains[each.name] = TrustDomain(each.name, bundle)
        _check_bundles((domains[each.name],), f"{where}.trust_bundle")
    return tuple(domains.values())


def _check_bundles(domains: tuple[TrustDomain, ...], path: str) -> None:
    for domain in domains:
        wrong = pem.roots_problem(domain.bundle.data)
        if wrong is not None:
            raise Rejected(path, f"{domain.name}: {wrong}")
