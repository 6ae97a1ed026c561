"""Envoy's TLS contexts, ready for use: made from the model and the secrets at hand.

A context is immutable once made: a rotated secret means a new one, and the reference is swapped;
connections live on with what they were made with. Opens nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

from OpenSSL import SSL

from proxy.config.model import (
    CommonTls,
    DownstreamTls,
    SdsRef,
    Secret,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.connection import PeerCertificate, Secured
from proxy.tls.build import (
    announce_authorities,
    load_certificate,
    load_trust,
    new_context,
    verifier_of,
    verifies,
)
from proxy.tls.failure import CHAIN, TlsConfigError, TlsFailed
from proxy.tls.kept import Kept
from proxy.tls.ocsp import staple
from proxy.tls.openssl import choose_alpn, set_verify
from proxy.tls.own import OwnCertificates
from proxy.tls.peer import certificate_facts
from proxy.tls.revoked import revoked_now
from proxy.tls.session import Resumable, Session, judged
from proxy.tls.start import sends_one_ticket
from proxy.tls.verify import Verifier, described

Contexts = MutableMapping[tuple[object, ...], SSL.Context]
"""By what they were made of."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Terminates TLS of a filter chain. own: what it may show. kept: sessions of its clients."""

    ssl_context: SSL.Context
    verifier: Verifier | None
    own: OwnCertificates
    kept: Kept

    def session(self) -> Session:
        kept = self.kept
        session = Session(self.ssl_context, self.verifier, server=True, free=kept.free)
        if kept.keeps:
            session.want_no_ticket()
        return session

    def verify(self, session: Session, now: float) -> bool:
        """After the handshake: what was verified in an earlier one must still hold."""
        holds = _holds(self.verifier, session, now)
        if holds:
            self.kept.add(session)
        return holds


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Originates TLS to the hosts of a cluster. server_name: the SNI, '' sends none.

    make: the context that offers these protocols of ALPN. kept: sessions that may be resumed, the
    newest last, each with the name of its server."""

    server_name: str
    verifier: Verifier | None
    own: OwnCertificates
    make: Callable[[tuple[str, ...]], SSL.Context]
    kept: deque[tuple[str, Resumable]]
    alpn: tuple[str, ...] = ()
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False

    def session(
        self,
        alpn: tuple[str, ...] = (),
        server_name: str = "",
        wanted_name: str = "",
        host_name: str = "",
    ) -> ClientSession:
        """alpn: offered unless the configuration has named others. server_name: stands for the
        configured one. wanted_name: one that the certificate must have, instead of those that are
        configured. host_name: of the endpoint, for `auto_host_sni`."""
        sni = server_name or self.server_name or (host_name if self.auto_host_sni else "")
        if not wanted_name and self.auto_sni_san_validation:
            wanted_name = sni
        return ClientSession(self, self.make(self.alpn or alpn), sni, wanted_name)


class ClientSession(Session):
    """Resumes an earlier session with the same server where it can."""

    __slots__ = ("_sni", "_tls")

    def __init__(self, tls: ClientTls, context: SSL.Context, sni: str, wanted_name: str) -> None:
        super().__init__(
            context, tls.verifier, server=False, server_name=sni, wanted_name=wanted_name
        )
        self._tls = tls
        self._sni = sni
        if tls.kept and tls.kept[-1][0] == sni and tls.kept[-1][1].context is context:
            # Each ticket is good for once (RFC 8446 appendix C.4).
            self.resume(tls.kept.pop()[1])

    @property
    def peer(self) -> PeerCertificate | None:
        """Of what it has shown; None also for what our reader can't read."""
        try:
            return certificate_facts(self.peer_der) if self.peer_der else None
        except ValueError:
            return None

    def secured(self) -> Secured:
        own = self._tls.own.facts
        return Secured(self.version, self.cipher, self.peer, own[0] if own else None, self.told)

    def keep(self) -> None:
        """Its session may be resumed; its tickets have come with the first answer."""
        session = self.resumable() if self._tls.kept.maxlen else None
        if session is not None:
            self._tls.kept.append((self._sni, session))

    def verify(self, now: float) -> bool:
        """After the handshake: what was verified in an earlier one must still hold."""
        return _holds(self._tls.verifier, self, now)

    def _failure(self) -> TlsFailed:
        """What a server says of our certificate is told with that."""
        failure = super()._failure()
        if not failure.by_alert:
            return failure
        ours = f"our certificate is {self._tls.own.told()}"
        return TlsFailed(failure.statistic, f"{failure.why}; {ours}")


def _holds(verifier: Verifier | None, session: Session, now: float) -> bool:
    revoked, der = revoked_now(), session.peer_der
    if revoked and der and revoked.has_chain(der, session.peer_chain):
        # Since the context was made that has shaken hands.
        own = revoked.has(der, session.peer_chain)
        whose = "the certificate" if own else "an issuer of the certificate"
        session.refusal.say(CHAIN, f"{whose} is revoked: {described(certificate_facts(der))}")
        return False
    if verifier is None:
        return True
    if not session.resumed:
        session.remember_chain()
        return True
    return not der or verifier.again(session, der, now)


def server_context(tls: DownstreamTls, secrets: Mapping[str, Secret]) -> ServerTls:
    """Raises TlsConfigError naming what is missing or bad."""
    certificates = _certificates(tls.common, secrets)
    if not certificates:
        raise TlsConfigError("a listener's TLS context has no certificate")
    origin, validation = _validation(tls.common, secrets)
    _check_names(validation, origin)
    verifier = verifier_of(validation, origin)

    def make(some: list[tuple[str, TlsCertificate]]) -> SSL.Context:
        context = _context(SSL.TLS_SERVER_METHOD, tls.common, some, origin, validation)
        mode = _server_mode(tls, validation)
        if mode is not None:
            set_verify(context, mode, judged)
        announce_authorities(context, validation)
        _set_sessions(context, tls)
        staple(context, some, tls.ocsp_staple_policy)
        if tls.common.alpn:
            choose_alpn(context, tls.common.alpn)
        return context

    own = OwnCertificates(certificates, make)
    return ServerTls(own.context, verifier, own, _kept(own.context, tls))


def _kept(context: SSL.Context, tls: DownstreamTls) -> Kept:
    """Where a handshake brings two tickets, one of their sessions would be known to OpenSSL only,
    which keeps 20,480."""
    only = not tls.stateless_resumption
    return Kept(context, keeps=tls.stateful_resumption and (only or sends_one_ticket()), only=only)


def _server_mode(tls: DownstreamTls, validation: ValidationContext | None) -> int | None:
    """A certificate that is shown must be good, even if none is required; None: it is not asked
    for."""
    if not verifies(validation):
        if tls.require_client_certificate:
            raise TlsConfigError(
                "require_client_certificate without trusted_ca: "
                "there is nothing to verify it against"
            )
        return None
    if tls.require_client_certificate:
        return SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    return SSL.VERIFY_PEER


def _set_sessions(context: SSL.Context, tls: DownstreamTls) -> None:
    # An id is asked for wherever clients have certificates; tickets of other contexts are of other
    # keys, so that it need not tell them apart.
    context.set_session_id(b"weft")
    if not tls.prefer_client_ciphers:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    if not tls.stateless_resumption:
        context.set_options(SSL.OP_NO_TICKET)
    cache = SSL.SESS_CACHE_SERVER if tls.stateful_resumption else SSL.SESS_CACHE_OFF
    context.set_session_cache_mode(cache)
    if tls.session_timeout_s is not None:
        context.set_timeout(tls.session_timeout_s)


def client_context(
    tls: UpstreamTls,
    secrets: Mapping[str, Secret],
    made: Contexts | None = None,
    alpn: tuple[str, ...] = (),
) -> ClientTls:
    """Raises TlsConfigError naming what is missing or bad. alpn: offered where `tls` names no
    protocols, and made at once; others are made when somebody asks.

    made: contexts to share; those of all clusters of a mesh differ only in what is no part of a
    context, the server's names. Making one takes 2 ms."""
    common = tls.common
    certificates = list(_certificates(common, secrets))
    origin, validation = _validation(common, secrets)
    _check_names(validation, origin)
    verifier = verifier_of(validation, origin)
    key = _material(common, certificates, validation)
    own: dict[tuple[str, ...], SSL.Context] = {}  # keeps those alive that `made` knows

    def make(protocols: tuple[str, ...]) -> SSL.Context:
        if protocols in own:
            return own[protocols]
        context = made.get((*key, protocols)) if made is not None else None
        if context is None:
            context = _context(SSL.TLS_CLIENT_METHOD, common, certificates, origin, validation)
            if verifier is not None:
                set_verify(context, SSL.VERIFY_PEER, judged)
            if protocols:
                context.set_alpn_protos([name.encode() for name in protocols])
            if made is not None:
                made[(*key, protocols)] = context
        own[protocols] = context
        return context

    make(common.alpn or alpn)
    shown = OwnCertificates.of_client(certificates)
    kept: deque[tuple[str, Resumable]] = deque(maxlen=tls.max_session_keys)
    return ClientTls(
        *(tls.sni, verifier, shown, make, kept, common.alpn),
        auto_host_sni=tls.auto_host_sni,
        auto_sni_san_validation=tls.auto_sni_san_validation,
    )


def _material(
    common: CommonTls,
    certificates: list[tuple[str, TlsCertificate]],
    validation: ValidationContext | None,
) -> tuple[object, ...]:
    """What a client's context is made of, its protocols aside."""
    trust: tuple[object, ...] = ()
    if validation is not None and verifies(validation):
        roots = validation.trusted_ca if not validation.trust_domains else None
        crl = (validation.crl, validation.only_verify_leaf_crl)
        trust = (True, roots, *crl, validation.max_verify_depth)
    limits = (common.min_version, common.max_version, common.ciphers)
    own = tuple(certificate for _, certificate in certificates)
    return (*limits, common.curves, common.signature_algorithms, own, *trust)


def _context(
    method: int,
    common: CommonTls,
    certificates: list[tuple[str, TlsCertificate]],
    validation_origin: str,
    validation: ValidationContext | None,
) -> SSL.Context:
    context = new_context(method, common)
    for origin, certificate in certificates:
        load_certificate(context, certificate, origin)
    if validation is not None:
        load_trust(context, validation, validation_origin)
    return context


# --------------------------------------------------------------------------- material


def _certificates(
    common: CommonTls, secrets: Mapping[str, Secret]
) -> tuple[tuple[str, TlsCertificate], ...]:
    """(origin for messages, certificate) of the inline ones and of the one by SDS."""
    found = [(_origin(certificate), certificate) for certificate in common.certificates]
    if common.certificate_sds is not None:
        secret = _secret(common.certificate_sds, secrets)
        if secret.certificate is None:
            raise TlsConfigError(f"secret '{secret.name}' holds no tls_certificate")
        found.append((f"secret '{secret.name}'", secret.certificate))
    return tuple(found)


def _origin(certificate: TlsCertificate) -> str:
    return f"certificate {certificate.chain.origin}, private key {certificate.private_key.origin}"


def _secret(reference: SdsRef, secrets: Mapping[str, Secret]) -> Secret:
    secret = secrets.get(reference.name)
    if secret is None:
        raise TlsConfigError(f"secret '{reference.name}' is not there")
    return secret


def _validation(
    common: CommonTls, secrets: Mapping[str, Secret]
) -> tuple[str, ValidationContext | None]:
    """The context to verify with. Envoy's combined one: protobuf's MergeFrom of the secret's over
    the default: what the secret sets wins, lists are joined."""
    default = common.validation
    if common.validation_sds is None:
        return "validation context", default
    secret = _secret(common.validation_sds, secrets)
    dynamic = secret.validation
    if dynamic is None:
        raise TlsConfigError(f"secret '{secret.name}' holds no validation_context")
    if default is not None:
        dynamic = _merged(default, dynamic)
    return f"secret '{secret.name}'", dynamic


def _merged(default: ValidationContext, dynamic: ValidationContext) -> ValidationContext:
    depth = dynamic.max_verify_depth
    return ValidationContext(
        trusted_ca=dynamic.trusted_ca or default.trusted_ca,
        match_sans=default.match_sans + dynamic.match_sans,
        crl=dynamic.crl or default.crl,
        only_verify_leaf_crl=dynamic.only_verify_leaf_crl or default.only_verify_leaf_crl,
        hashes=default.hashes + dynamic.hashes,
        spkis=default.spkis + dynamic.spkis,
        allow_expired=dynamic.allow_expired or default.allow_expired,
        accept_untrusted=dynamic.accept_untrusted or default.accept_untrusted,
        max_verify_depth=default.max_verify_depth if depth is None else depth,
        trust_domains=dynamic.trust_domains or default.trust_domains,
    )


def _check_names(validation: ValidationContext | None, origin: str) -> None:
    if validation is None or not validation.match_sans:
        return
    if validation.trusted_ca is None and not validation.trust_domains:
        # Envoy: "SAN-based verification of peer certificates without trusted CA is insecure"
        raise TlsConfigError(f"{origin}: names to match but no trusted_ca to verify them")
