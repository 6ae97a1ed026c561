"""Decodes TLS contexts of both sides and the secrets (SDS) that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from google.protobuf.message import Message

from proxy.config import pem
from proxy.config.decode_common import (
    data_source,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.decode_source import source
from proxy.config.decode_validation import validation
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import (
    CommonTls,
    DataSource,
    DownstreamTls,
    SdsRef,
    Secret,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.config.model.tls import StaplePolicy
from proxy.config.rejected import Rejected

M = TypeVar("M", bound=Message)
Version = Literal["TLSv1_2", "TLSv1_3"]

_VERSIONS: Mapping[int, Version] = {
    common_pb2.TlsParameters.TLSv1_2: "TLSv1_2",
    common_pb2.TlsParameters.TLSv1_3: "TLSv1_3",
}
_STAPLING: Mapping[int, StaplePolicy] = {
    tls_pb2.DownstreamTlsContext.LENIENT_STAPLING: "LENIENT_STAPLING",
    tls_pb2.DownstreamTlsContext.STRICT_STAPLING: "STRICT_STAPLING",
    tls_pb2.DownstreamTlsContext.MUST_STAPLE: "MUST_STAPLE",
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
    return DownstreamTls(
        common,
        message.require_client_certificate.value,
        session_timeout_s=_session_timeout(message),
        stateless_resumption=not message.disable_stateless_session_resumption,
        stateful_resumption=not message.disable_stateful_session_resumption,
        prefer_client_ciphers=message.prefer_client_ciphers,
        ocsp_staple_policy=_STAPLING[message.ocsp_staple_policy],
    )


def _session_timeout(message: tls_pb2.DownstreamTlsContext) -> int | None:
    return message.session_timeout.seconds if message.HasField("session_timeout") else None


def upstream(socket: base_pb2.TransportSocket, path: str) -> UpstreamTls | None:
    """The TLS to a cluster; None is plaintext (`raw_buffer`)."""
    message = _context(socket, tls_pb2.UpstreamTlsContext, path)
    if message is None:
        return None
    common = _common(message.common_tls_context, f"{path}.typed_config.common_tls_context")
    if len(common.certificates) > 1:
        raise Rejected(f"{path}.typed_config", "a client may have one TLS certificate only")
    return UpstreamTls(
        common,
        message.sni,
        auto_host_sni=message.auto_host_sni,
        auto_sni_san_validation=message.auto_sni_san_validation,
        max_session_keys=value_or(message, "max_session_keys", 1),
    )


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
        curves=tuple(message.tls_params.ecdh_curves),
        signature_algorithms=tuple(message.tls_params.signature_algorithms),
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
    if message.HasField("pkcs12"):
        return _from_pkcs12(message, path)
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
    return TlsCertificate(chain, key, password, _ocsp_staple(message, path))


def _ocsp_staple(message: common_pb2.TlsCertificate, path: str) -> DataSource | None:
    if not message.HasField("ocsp_staple"):
        return None
    where = f"{path}.ocsp_staple"
    if message.ocsp_staple.HasField("inline_string"):
        raise Rejected(
            f"{where}.inline_string", "an OCSP response is binary (DER): use inline_bytes"
        )
    return data_source(message.ocsp_staple, where)


def _from_pkcs12(message: common_pb2.TlsCertificate, path: str) -> TlsCertificate:
    if message.HasField("certificate_chain") or message.HasField("private_key"):
        raise Rejected(f"{path}.pkcs12", "certificate_chain or private_key is set, too")
    source = data_source(message.pkcs12, f"{path}.pkcs12")
    password = None
    if message.HasField("password"):
        password = data_source(message.password, f"{path}.password").data.strip()
    try:
        chain, key = pem.from_pkcs12(source.data, password)
    except ValueError as error:
        raise Rejected(f"{path}.pkcs12", str(error)) from None
    wrong = pem.pair_problem(chain, key, None)
    if wrong is not None:
        raise Rejected(f"{path}.pkcs12", wrong)
    own = (DataSource(chain, source.origin), DataSource(key, source.origin))
    return TlsCertificate(*own, ocsp_staple=_ocsp_staple(message, path))


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
