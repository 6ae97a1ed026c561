"""Decodes TLS contexts of both sides and the secrets (SDS) that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from google.protobuf.message import Message

from proxy.config import pem
from proxy.config.decode_common import data_source, type_name, unpack, unsupported_type
from proxy.config.decode_matchers import string_matcher
from proxy.config.decode_source import source
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import (
    CommonTls,
    DownstreamTls,
    SanMatcher,
    SdsRef,
    Secret,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.config.rejected import Rejected

M = TypeVar("M", bound=Message)
Version = Literal["TLSv1_2", "TLSv1_3"]
San = Literal["URI", "DNS", "EMAIL", "IP_ADDRESS"]

_VERSIONS: Mapping[int, Version] = {
    common_pb2.TlsParameters.TLSv1_2: "TLSv1_2",
    common_pb2.TlsParameters.TLSv1_3: "TLSv1_3",
}
_SAN_TYPES: Mapping[int, San] = {
    common_pb2.SubjectAltNameMatcher.EMAIL: "EMAIL",
    common_pb2.SubjectAltNameMatcher.DNS: "DNS",
    common_pb2.SubjectAltNameMatcher.URI: "URI",
    common_pb2.SubjectAltNameMatcher.IP_ADDRESS: "IP_ADDRESS",
}
_RAW = raw_buffer_pb2.RawBuffer


def downstream(socket: base_pb2.TransportSocket, path: str) -> DownstreamTls | None:
    """The TLS of a filter chain; None is plaintext (`raw_buffer`)."""
    message = _context(socket, tls_pb2.DownstreamTlsContext, path)
    if message is None:
        return None
    where = f"{path}.typed_config.common_tls_context"
    common = _common(message.common_tls_context, where)
    if not common.certificates and common.certificate_sds is None:
        raise Rejected(where, "a server needs a TLS certificate")
    wanted = message.require_client_certificate.value
    return DownstreamTls(common, wanted)


def upstream(socket: base_pb2.TransportSocket, path: str) -> UpstreamTls | None:
    """The TLS to a cluster; None is plaintext (`raw_buffer`)."""
    message = _context(socket, tls_pb2.UpstreamTlsContext, path)
    if message is None:
        return None
    common = _common(message.common_tls_context, f"{path}.typed_config.common_tls_context")
    if len(common.certificates) > 1:
        raise Rejected(f"{path}.typed_config", "a client may have one TLS certificate only")
    return UpstreamTls(common, message.sni)


def _context(socket: base_pb2.TransportSocket, kind: type[M], path: str) -> M | None:
    where = f"{path}.typed_config"
    found = type_name(socket.typed_config)
    if found == _RAW.DESCRIPTOR.full_name:
        unpack(_RAW, socket.typed_config, where)
        return None
    if found != kind.DESCRIPTOR.full_name:
        names = (kind.DESCRIPTOR.full_name, _RAW.DESCRIPTOR.full_name)
        raise unsupported_type(socket.typed_config, where, names)
    return unpack(kind, socket.typed_config, where)


def _common(message: tls_pb2.CommonTlsContext, path: str) -> CommonTls:
    params = f"{path}.tls_params"
    low = message.tls_params.tls_minimum_protocol_version
    high = message.tls_params.tls_maximum_protocol_version
    minimum = _version(low, "TLSv1_2", f"{params}.tls_minimum_protocol_version")
    maximum = _version(high, "TLSv1_3", f"{params}.tls_maximum_protocol_version")
    if minimum > maximum:
        raise Rejected(params, "the minimum version is above the maximum version")
    inline, validation_sds = _validation_of(message, path)
    return CommonTls(
        certificates=tuple(
            _certificate(each, f"{path}.tls_certificates[{i}]")
            for i, each in enumerate(message.tls_certificates)
        ),
        certificate_sds=_certificate_sds(message, path),
        validation=inline,
        validation_sds=validation_sds,
        alpn=tuple(message.alpn_protocols),
        min_version=minimum,
        max_version=maximum,
        ciphers=tuple(message.tls_params.cipher_suites),
    )


def _version(number: int, default: Version, path: str) -> Version:
    if number == common_pb2.TlsParameters.TLS_AUTO:
        return default
    if number not in _VERSIONS:
        raise Rejected(path, f"a TLS version below 1.2 is {UNSUPPORTED}")
    return _VERSIONS[number]


def _certificate_sds(message: tls_pb2.CommonTlsContext, path: str) -> SdsRef | None:
    refs = message.tls_certificate_sds_secret_configs
    where = f"{path}.tls_certificate_sds_secret_configs"
    if not refs:
        return None
    if message.tls_certificates:
        raise Rejected(where, "tls_certificates is set too; only one of the two may be")
    if len(refs) > 1:
        raise Rejected(f"{where}[1]", f"a second certificate by SDS is {UNSUPPORTED}")
    return _sds_ref(refs[0], f"{where}[0]")


def _validation_of(
    message: tls_pb2.CommonTlsContext, path: str
) -> tuple[ValidationContext | None, SdsRef | None]:
    kind = message.WhichOneof("validation_context_type")
    if kind == "validation_context":
        return validation(message.validation_context, f"{path}.validation_context"), None
    if kind == "validation_context_sds_secret_config":
        ref = message.validation_context_sds_secret_config
        return None, _sds_ref(ref, f"{path}.{kind}")
    if kind == "combined_validation_context":
        combined, where = message.combined_validation_context, f"{path}.{kind}"
        inline = validation(
            combined.default_validation_context, f"{where}.default_validation_context"
        )
        ref = combined.validation_context_sds_secret_config
        return inline, _sds_ref(ref, f"{where}.validation_context_sds_secret_config")
    return None, None


def _sds_ref(message: secret_pb2.SdsSecretConfig, path: str) -> SdsRef:
    """Without `sds_config` the secret is one of `static_resources.secrets`."""
    if not message.HasField("sds_config"):
        return SdsRef(message.name, static=True)
    return SdsRef(message.name, path=source(message.sds_config, f"{path}.sds_config"))


def _certificate(message: common_pb2.TlsCertificate, path: str) -> TlsCertificate:
    if not message.HasField("certificate_chain") or not message.HasField("private_key"):
        raise Rejected(path, "certificate_chain and private_key must both be set")
    password = None
    if message.HasField("password"):
        password = data_source(message.password, f"{path}.password")
    chain = data_source(message.certificate_chain, f"{path}.certificate_chain")
    key = data_source(message.private_key, f"{path}.private_key")
    wrong = pem.pair_problem(chain.data, key.data, password.data.strip() if password else None)
    if wrong is not None:
        raise Rejected(path, wrong)
    return TlsCertificate(chain, key, password)


def validation(message: common_pb2.CertificateValidationContext, path: str) -> ValidationContext:
    trusted = message.trusted_ca if message.HasField("trusted_ca") else None
    sans = [
        SanMatcher(
            _san_type(each.san_type, f"{path}.match_typed_subject_alt_names[{i}].san_type"),
            string_matcher(each.matcher, f"{path}.match_typed_subject_alt_names[{i}].matcher"),
        )
        for i, each in enumerate(message.match_typed_subject_alt_names)
    ]
    for i, old in enumerate(message.match_subject_alt_names):
        # The deprecated field has no type: Envoy matches every type of name with it.
        matcher = string_matcher(old, f"{path}.match_subject_alt_names[{i}]")
        sans.extend(SanMatcher(each, matcher) for each in _SAN_TYPES.values())
    if sans and trusted is None and not path.endswith("default_validation_context"):
        raise Rejected(path, "subject alternative names are never trusted without trusted_ca")
    found = None if trusted is None else data_source(trusted, f"{path}.trusted_ca")
    if found is not None and (wrong := pem.roots_problem(found.data)) is not None:
        raise Rejected(f"{path}.trusted_ca", wrong)
    return ValidationContext(found, tuple(sans))


def _san_type(number: int, path: str) -> San:
    if number not in _SAN_TYPES:
        raise Rejected(path, f"OTHER_NAME is {UNSUPPORTED}")
    return _SAN_TYPES[number]


def secret(message: secret_pb2.Secret, path: str = "") -> Secret:
    """One SDS resource: a certificate with its key, or a validation context."""
    where = f"{path}." if path else ""
    kind = message.WhichOneof("type")
    if kind == "tls_certificate":
        found = _certificate(message.tls_certificate, f"{where}tls_certificate")
        return Secret(message.name, certificate=found)
    if kind == "validation_context":
        context = validation(message.validation_context, f"{where}validation_context")
        return Secret(message.name, validation=context)
    raise Rejected(path, "tls_certificate or validation_context must be set")
