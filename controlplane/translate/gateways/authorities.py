"""Roots by which gateways verify others, and certificates that they show: references resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certs.credential import check_roots
from certs.errors import CertificateError
from controlplane.kinds.core import ROOTS, ConfigMap
from controlplane.kinds.gateway_api.gateway import Gateway, ListenerSet, Validation
from controlplane.kinds.gateway_api.references import Referring, SecretReference
from controlplane.kinds.objects import Object
from controlplane.mesh.gateways import Mode, SecretName, ServerTls
from controlplane.translate.credentials import Credentials
from controlplane.translate.gateways.grants import Grants
from controlplane.translate.gateways.listeners import State
from controlplane.translate.gateways.words import Fault

_TERMINATE = ("HTTPS", "TLS")
MODE_OPTION = "gateway.istio.io/tls-terminate-mode"
"""Istio's option of a listener's tls."""

MODES: Mapping[str, Mode] = {
    mode: mode for mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_SIMPLE", "ISTIO_MUTUAL")
}


class Authorities:
    __slots__ = ("_config_maps", "_grants", "credentials")

    def __init__(
        self, config_maps: Iterable[ConfigMap], credentials: Credentials, grants: Grants
    ) -> None:
        self._config_maps: Mapping[tuple[str, str], ConfigMap] = {
            (item.namespace, item.name): item for item in config_maps
        }
        self.credentials = credentials
        self._grants = grants

    # ------------------------------------------------------------------ roots

    def roots(self, asking: Object, reference: Referring, namespace: str) -> str | Fault:
        """PEM of what `reference` names: the ca.crt of a ConfigMap, or of a Secret."""
        if reference.group or reference.kind not in ("ConfigMap", "Secret"):
            named = f"{reference.group or 'core'}/{reference.kind}"
            return Fault("InvalidKind", f"roots stand in a ConfigMap or a Secret, not {named}")
        if not self._grants.allows(asking, reference, namespace):
            message = f"no ReferenceGrant in {namespace!r} allows to refer to {reference.name!r}"
            return Fault("RefNotPermitted", message)
        if reference.kind == "Secret":
            return self._of_secret(namespace, reference.name)
        found = self._config_maps.get((namespace, reference.name))
        pem = found.data.get(ROOTS, "") if found is not None else ""
        if not pem:
            message = f"there is no ConfigMap {namespace}/{reference.name} with {ROOTS}"
            return Fault("InvalidCACertificateRef", message)
        try:
            check_roots(pem.encode())
        except CertificateError as error:
            message = f"{ROOTS} of the ConfigMap {namespace}/{reference.name}: {error}"
            return Fault("InvalidCACertificateRef", message)
        return pem

    def _of_secret(self, namespace: str, name: str) -> str | Fault:
        found = self.credentials.find(namespace, name)
        if found is None or not found.roots:
            message = self.credentials.why_not(namespace, name, "roots")
            return Fault("InvalidCACertificateRef", message)
        return found.roots.decode()

    # ------------------------------------------------------------------ listeners

    def secure(self, state: State, validation: Validation | None) -> None:
        """Gives a listener that ends TLS its certificates, or says what is wrong with them."""
        tls = state.listener.tls
        if state.listener.protocol not in _TERMINATE or tls is None or tls.mode != "Terminate":
            return
        wanted = tls.options.get(MODE_OPTION, "SIMPLE")
        if wanted not in MODES:
            known = ", ".join(MODES)
            state.accepted = Fault("UnsupportedValue", f"{MODE_OPTION} is none of {known}")
            return
        if wanted in ("ISTIO_MUTUAL", "ISTIO_SIMPLE"):
            state.tls = ServerTls(MODES[wanted])
            return
        names = self._pairs(state, tls.certificate_refs)
        clients = self._clients(state, validation) if validation is not None else ""
        if not names or state.accepted is not None:
            return
        if validation is not None:
            mode = MODES["OPTIONAL_MUTUAL" if wanted == "OPTIONAL_MUTUAL" else "MUTUAL"]
            if validation.mode == "AllowInsecureFallback":
                mode = "INSECURE_FALLBACK"
            state.tls = ServerTls(mode, names, roots_pem=clients)
        elif wanted == "SIMPLE":
            state.tls = ServerTls("SIMPLE", names)
        else:
            state.tls = self._by_own_roots(state, MODES[wanted], names)

    def _by_own_roots(
        self, state: State, mode: Mode, names: tuple[SecretName, ...]
    ) -> ServerTls | None:
        """Istio: the Secret with the certificate also has the roots of clients."""
        why_not = self.credentials.why_not(*names[0], "roots")
        if why_not:
            state.references = Fault("InvalidCertificateRef", why_not)
            return None
        return ServerTls(mode, names, roots=names[0])

    def shown(self, gateway: Gateway) -> tuple[SecretName | None, Fault | None]:
        """The certificate that a gateway shows to backends, and what is wrong with it."""
        backend = gateway.spec.tls.backend
        reference = backend.client_certificate_ref if backend is not None else None
        if reference is None:
            return None, None
        namespace = reference.namespace or gateway.namespace
        fault = self._pair_fault(gateway, reference, namespace)
        if fault is not None and fault.reason == "InvalidCertificateRef":
            return None, Fault("InvalidClientCertificateRef", fault.message)
        return (None, fault) if fault is not None else ((namespace, reference.name), None)

    def _pairs(self, state: State, references: Iterable[SecretReference]) -> tuple[SecretName, ...]:
        found: list[SecretName] = []
        for reference in references:
            namespace = reference.namespace or state.owner.namespace
            fault = self._pair_fault(state.owner, reference, namespace)
            if fault is None:
                found.append((namespace, reference.name))
            else:
                state.references = state.references or fault
        if not found and state.references is None:
            state.references = Fault("InvalidCertificateRef", "certificateRefs names no Secret")
        return tuple(found)

    def _pair_fault(
        self, owner: Gateway | ListenerSet, reference: SecretReference, namespace: str
    ) -> Fault | None:
        if (reference.group, reference.kind) != ("", "Secret"):
            named = f"{reference.group or 'core'}/{reference.kind}"
            return Fault("InvalidCertificateRef", f"a certificate is a Secret, not {named}")
        if not self._grants.allows(owner, reference, namespace):
            message = f"no ReferenceGrant in {namespace!r} allows to refer to {reference.name!r}"
            return Fault("RefNotPermitted", message)
        why_not = self.credentials.why_not(namespace, reference.name, "pair")
        return Fault("InvalidCertificateRef", why_not) if why_not else None

    def _clients(self, state: State, validation: Validation) -> str:
        """The roots of clients; without a good one nobody could come in."""
        pems: list[str] = []
        for reference in validation.ca_certificate_refs:
            namespace = reference.namespace or state.owner.namespace
            found = self.roots(state.owner, reference, namespace)
            if isinstance(found, str):
                pems.append(found)
                continue
            reason = _REASONS.get(found.reason, found.reason)
            state.references = state.references or Fault(reason, found.message)
        if not pems:
            state.accepted = Fault("NoValidCACertificate", "no roots to verify clients by")
        return "\n".join(pems)


_REASONS = {"InvalidKind": "InvalidCACertificateKind"}
"""A listener's word for a policy's."""
