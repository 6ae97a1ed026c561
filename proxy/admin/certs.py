"""`/certs`: the certificates in force, with their names and how long they last."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from proxy.admin.reply import Query, Reply, json_reply
from proxy.admin.view import AdminView
from proxy.config.model import DataSource, Secret

if TYPE_CHECKING:
    from cryptography import x509

_SECONDS_PER_DAY = 86400


def certs(view: AdminView, query: Query) -> Reply:
    del query
    now_s = view.now_s()
    shown = [_secret(each, now_s) for each in view.secrets()]
    return json_reply({"certificates": [each for each in shown if each]})


def _secret(secret: Secret, now_s: float) -> dict[str, Any]:
    """`envoy.admin.v3.Certificate`, with the secret's name for what has no path."""
    shown: dict[str, Any] = {}
    if secret.validation is not None and secret.validation.trusted_ca is not None:
        shown["ca_cert"] = _details(secret.name, secret.validation.trusted_ca, now_s)
    if secret.certificate is not None:
        shown["cert_chain"] = _details(secret.name, secret.certificate.chain, now_s)
    return shown


def _details(name: str, source: DataSource, now_s: float) -> list[dict[str, Any]]:
    from cryptography import x509  # 10 MB that only this page needs

    path = f"<inline: {name}>" if source.origin == "inline" else source.origin
    try:
        certificates = x509.load_pem_x509_certificates(source.data)
    except ValueError as error:
        return [{"path": path, "error": str(error)}]
    return [{"path": path, **_facts(certificate, now_s)} for certificate in certificates]


def _facts(certificate: x509.Certificate, now_s: float) -> dict[str, Any]:
    left_s = certificate.not_valid_after_utc.timestamp() - now_s
    return {
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": _names(certificate),
        "days_until_expiration": str(max(0, int(left_s // _SECONDS_PER_DAY))),
        "valid_from": _timestamp(certificate.not_valid_before_utc),
        "expiration_time": _timestamp(certificate.not_valid_after_utc),
    }


def _names(certificate: x509.Certificate) -> list[dict[str, str]]:
    from cryptography import x509

    kinds: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "dns",
        x509.UniformResourceIdentifier: "uri",
        x509.IPAddress: "ip_address",
    }
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [{kinds[type(name)]: str(name.value)} for name in names if type(name) in kinds]


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
