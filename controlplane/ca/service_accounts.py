"""From the names in a Kubernetes service-account token to an identity of the mesh.

The token's subject is `system:serviceaccount:NAMESPACE:NAME`; Istio's identity of it is
`spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME`. Checks no signature: whoever calls has done so.
"""

from __future__ import annotations

from pathlib import Path

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from controlplane.ca.caller import Attestation, Caller, Unauthenticated

DEFAULT_AUDIENCE = "istio-ca"
"""What Istio's injected pods mount their token for (istio-token)."""
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds who it is."""

_SUBJECT = ("system", "serviceaccount")
_MAX_FACT = 300


def caller_of(subject: str, trust_domain: str, attested: Attestation) -> Caller | Unauthenticated:
    """The workload of a proven subject; refused if it is no service account's."""
    system, _, rest = subject.partition(":")
    kind, _, names = rest.partition(":")
    namespace, _, name = names.partition(":")
    if (system, kind) != _SUBJECT or not namespace or not name:
        return Unauthenticated(
            f"token is of {subject[:_MAX_FACT]!a}, which is no service account", "token_subject"
        )
    try:
        identity = SpiffeId.workload(trust_domain, namespace, name)
    except CertificateError as error:
        return Unauthenticated(f"token's service account has no identity: {error}", "token_subject")
    return Caller(identity, admin=False, how="kubernetes", attested=attested)


def fact(value: object) -> str:
    """A foreign text for the log: '' unless it is a string; printable and short."""
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable() and " " not in value:
        return value[:_MAX_FACT]
    return "".join(c if c.isascii() and c.isprintable() and c != " " else "?" for c in value)[
        :_MAX_FACT
    ]
