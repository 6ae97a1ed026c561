"""envoy-tls: the certificates of Envoy's own tests. What a file's name, its configuration for
`openssl` and the revocation lists say of it must be what a handshake with it brings.

Most have ended meanwhile: then the reason must be that, and all the rest is looked at with
`allow_expired_certificate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from proxy.config import model, spiffe_bundles
from proxy.config.decode_tls import secret
from proxy.config.decode_validation import validation
from proxy.config.rejected import Rejected
from proxy.tls.contexts import ClientTls, client_context, server_context
from proxy.tls.failure import TlsFailed
from tests.conformance.suite import Result
from tests.support.pki import Authority
from tests.support.tls import certificate, shake_hands

REFUSED_KEYS = ("rsa_1024", "secp224r1")  # Envoy takes RSA from 2048 bits, P-256, P-384 and P-521
TYPES = {"DNS": "DNS", "URI": "URI", "IP": "IP_ADDRESS", "email": "EMAIL"}
SERVER = certificate(Authority("server").issue(dns=("server.test",)))
# X.509-SVID: no SPIFFE id, or more than a leaf may be.
NO_SVIDS = ("non_spiffe", "no_", "san_dns", "san_ip", "san_multiple", "san_othername")


def run(cases: Path, stride: int = 1) -> Iterator[Result]:
    for name, check in list(_checks(cases))[::stride]:
        yield Result(name, check())


def _checks(cases: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    data = cases / "test" / "common" / "tls" / "test_data"
    leaves = [path for path in sorted(data.glob("*_cert.pem")) if _key(path) is not None]
    for path in leaves:
        yield f"pair/{path.stem}", partial(_pair, path)
    for path in sorted(data.glob("*.p12")):
        yield f"pkcs12/{path.stem}", partial(_pkcs12, path)
    for path in leaves:
        if not _has(path, REFUSED_KEYS) and _password(path) is None:
            yield f"chain/{path.stem}", partial(_chain, path, data)
            yield f"validity/{path.stem}", partial(_validity, path, data)
            yield f"names/{path.stem}", partial(_names, path, data)
            yield f"spiffe/{path.stem}", partial(_spiffe, path, data)
            yield f"crl/{path.stem}", partial(_crl, path, data, data / "ca_cert.crl")
    yield "crl/not_a_crl", partial(_not_a_crl, data)
    for path in sorted(cases.glob("**/trust_bundles_*.json")):
        yield f"bundles/{path.stem}", partial(_bundle, path)


def _has(path: Path, words: tuple[str, ...]) -> bool:
    return any(word in path.stem for word in words)


def _key(path: Path) -> Path | None:
    for name in (path.name.replace("_cert.pem", "_key.pem"), path.stem + "_key.pem"):
        if (path.parent / name).exists():
            return path.parent / name
    return None


def _password(path: Path) -> Path | None:
    return path.parent / "password_protected_password.txt" if "password" in path.stem else None


def _pair(path: Path) -> str:
    """Certificate and key are read, or refused for their kind."""
    message = secret_pb2.Secret(name="s")
    message.tls_certificate.certificate_chain.filename = str(path)
    message.tls_certificate.private_key.filename = str(_key(path))
    if (password := _password(path)) is not None:
        message.tls_certificate.password.filename = str(password)
    return _as_expected(message, refused=_has(path, REFUSED_KEYS))


def _pkcs12(path: Path) -> str:
    message = secret_pb2.Secret(name="s")
    message.tls_certificate.pkcs12.filename = str(path)
    if (password := _password(path)) is not None:
        message.tls_certificate.password.filename = str(password)
    return _as_expected(message, refused=_has(path, REFUSED_KEYS))


def _as_expected(message: secret_pb2.Secret, refused: bool) -> str:
    try:
        found = secret(message).certificate
        assert found is not None
        server_context(model.DownstreamTls(model.CommonTls(certificates=(found,))), {})
    except Rejected as error:
        return "" if refused else f"refused: {error}"
    return "taken" if refused else ""


# --------------------------------------------------------------------------- handshakes


@lru_cache
def _client(path: Path) -> ClientTls:
    key = _key(path)
    assert key is not None
    shown = model.TlsCertificate(
        model.DataSource(path.read_bytes()), model.DataSource(key.read_bytes())
    )
    common = model.CommonTls(certificates=(shown,))
    return client_context(model.UpstreamTls(common, max_session_keys=0), {})


def _outcome(path: Path, context: model.ValidationContext) -> TlsFailed | None:
    """Of a client that shows the certificate alone to a server that judges so."""
    common = model.CommonTls(certificates=(SERVER,), validation=context)
    server = server_context(model.DownstreamTls(common, True), {})
    try:
        shake_hands(_client(path).session(), server.session())
    except TlsFailed as failure:
        return failure
    return None


def _roots(data: Path) -> model.ValidationContext:
    return model.ValidationContext(model.DataSource((data / "ca_cert.pem").read_bytes()))


def _lenient(data: Path) -> model.ValidationContext:
    return replace(_roots(data), allow_expired=True)


def _leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def _trusted(path: Path) -> bool:
    """Signed by the test CA, which signs its own, and good for signing a handshake."""
    leaf, root = _leaf(path), _leaf(path.parent / "ca_cert.pem")
    try:
        leaf.verify_directly_issued_by(root)
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except (InvalidSignature, ValueError):
        return False
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature


def _told(failure: TlsFailed | None) -> str:
    return "let in" if failure is None else f"refused: {failure.why}"


def _chain(path: Path, data: Path) -> str:
    failure = _outcome(path, _lenient(data))
    if _trusted(path) == (failure is None) and (
        failure is None or failure.statistic == "fail_verify_error"
    ):
        return ""
    return _told(failure)


def _validity(path: Path, data: Path) -> str:
    """Who has ended, or whose root has, is refused for that."""
    ends = min(_leaf(path).not_valid_after_utc, _leaf(data / "ca_cert.pem").not_valid_after_utc)
    failure = _outcome(path, _roots(data))
    if not _trusted(path):
        return "" if failure is not None else _told(failure)
    if ends > datetime.now(UTC):
        return "" if failure is None else _told(failure)
    return "" if failure is not None and "expired on" in failure.why else _told(failure)


def _names(path: Path, data: Path) -> str:
    """Each name of its configuration lets it in, and another of that type does not."""
    if not _trusted(path):
        return ""
    for kind, value in _configured(path):
        for wanted, fits in ((value.replace("*", "x"), True), ("no." + value + ".no", False)):
            matcher = model.SanMatcher(kind, model.StringMatcher("exact", wanted))  # type: ignore[arg-type]
            failure = _outcome(path, replace(_lenient(data), match_sans=(matcher,)))
            if fits != (failure is None):
                return f"{kind} {wanted}: {_told(failure)}"
            if failure is not None and failure.statistic != "fail_verify_san":
                return _told(failure)
    return ""


def _configured(path: Path) -> Iterator[tuple[str, str]]:
    file = path.with_suffix(".cfg")
    text = file.read_text() if file.exists() else ""
    for kind, value in re.findall(r"(?m)^(DNS|URI|IP|email)(?:\.\d+)? *= *(\S+)$", text):
        yield TYPES[kind], value


def _spiffe(path: Path, data: Path) -> str:
    """Its trust domain has the test CA as its root, and no other trust domain has one."""
    leaf = _leaf(path)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    is_svid = bool(uris) and uris[0].startswith("spiffe://") and not _has(path, NO_SVIDS)
    domain = uris[0].removeprefix("spiffe://").partition("/")[0] if is_svid else "lyft.com"
    root = model.DataSource((data / "ca_cert.pem").read_bytes())
    for name, good in ((domain, is_svid and _trusted(path)), ("elsewhere.test", False)):
        context = model.ValidationContext(
            trust_domains=(model.TrustDomain(name, root),), allow_expired=True
        )
        failure = _outcome(path, context)
        if good != (failure is None):
            return f"{name}: {_told(failure)}"
    return ""


def _crl(path: Path, data: Path, crl: Path) -> str:
    listed = {one.serial_number for one in x509.load_pem_x509_crl(crl.read_bytes())}
    revoked = _leaf(path).serial_number in listed
    context = replace(_lenient(data), crl=model.DataSource(crl.read_bytes()))
    failure = _outcome(path, context)
    if not _trusted(path):
        return "" if failure is not None else _told(failure)
    if revoked:
        return "" if failure is not None and "is revoked" in failure.why else _told(failure)
    return "" if failure is None else _told(failure)


def _not_a_crl(data: Path) -> str:
    message = common_pb2.CertificateValidationContext()
    message.trusted_ca.filename = str(data / "ca_cert.pem")
    message.crl.filename = str(data / "not_a_crl.crl")
    try:
        validation(message, "v")
    except Rejected:
        return ""
    return "taken"


def _bundle(path: Path) -> str:
    """All of them lack something."""
    message = common_pb2.CertificateValidationContext()
    message.custom_validator_config.name = "envoy.tls.cert_validator.spiffe"
    source = model.DataSource(path.read_bytes())
    try:
        domains = spiffe_bundles.trust_domains(source)
    except ValueError:
        return ""
    try:
        server_context(
            model.DownstreamTls(
                model.CommonTls(
                    certificates=(SERVER,),
                    validation=model.ValidationContext(trust_domains=domains),
                )
            ),
            {},
        )
    except Exception as error:
        return "" if "cannot" in str(error) or "trusted_ca" in str(error) else str(error)
    return "taken"
