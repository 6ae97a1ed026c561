"""What each admitted node gets by SDS: the trust of now, and a key only if that was allowed.

A Weft proxy holds a key of its own and gets none. A plain Envoy has no agent: where the operator
allows it, it gets the certificate and key of the identity that its stream has proven (admission
has compared the node's words with it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_to_pem
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.ca.revocations import Told
from controlplane.emit import secrets
from controlplane.emit.node import Node
from controlplane.snapshot import encode
from protos.types import SDS

log = logging.getLogger("weft.controlplane.ca")

Foreign = Mapping[str, tuple[Certificate, ...]]

RENEWALS_PER_S = 200
"""Of proxies that open a connection each, and another one with the new certificate."""

MAX_AMONG_ROOTS = 2 << 20
"""Bytes of lists: they stand there once for each name of our trust domain."""

UNHEEDED = (
    "while trust domains are federated, or other roots of our own are believed, plain Envoys do "
    "not look at revoked certificates, as they would want a list of each issuer: bring that of the "
    "root (weft ca revoke --crl FILE). Revoked identities they refuse, and Weft's proxies refuse "
    "both"
)

MAX_TOLD = 10_000
"""Node ids remembered; nodes choose theirs freely."""


class SdsSecrets:
    """Call it with a node. keys None: nobody gets a private key.

    revoked: what and who. foreign: the roots of federated trust domains, and under our own name
    those that are believed beside our authority's. aliases: other names of our own. names_issuer:
    Weft's proxies renew a certificate of any other issuer than the authority. proxies: how many
    there are, who should not all come at once."""

    def __init__(
        self,
        authority: LiveAuthority,
        keys: EnvoySecrets | None,
        clock: Callable[[], float],
        revoked: Callable[[], Told] = Told,
        foreign: Callable[[], Foreign] = dict,
        aliases: Callable[[], tuple[str, ...]] = tuple,
        *,
        names_issuer: bool = True,
        proxies: Callable[[], int] = lambda: 0,
    ) -> None:
        self._authority = authority
        self._keys = keys
        self._clock = clock
        self._revoked = revoked
        self._foreign = foreign
        self._aliases = aliases
        self._names_issuer = names_issuer
        self._proxies = proxies
        self._told: set[str] = set()
        self.unheeded = ""
        self._made: tuple[object, ...] = ()
        self._trust: tuple[Secret, Secret, Secret]
        self._root_version = ""

    def __call__(self, node: Node) -> tuple[Secret, ...]:
        root, revoked, issuer = self.trust()
        if node.weft_agent:
            return (root, revoked, issuer) if self._names_issuer else (root, revoked)
        if self._keys is None:
            self._tell(node)
            return (root,)
        try:
            identity = SpiffeId.workload(
                self._authority.trust_domain, node.namespace, node.service_account
            )
            issued = self._keys.certificate(identity, self._clock())
        except CertificateError as error:
            log.error("no certificate for node=%s: %s", node.id, error)
            return (root,)
        return (root, secrets.certificate(issued.chain_pem, issued.key_pem))

    def trust(self) -> tuple[Secret, Secret, Secret]:
        """Whom to believe, whom not any more, and who issues; made anew only when one of them has
        changed."""
        told, foreign, aliases = self._revoked(), self._foreign(), self._aliases()
        bundle = self._authority.bundle
        material = (self._authority.stored, bundle, told, foreign, aliases)
        if material != self._made:
            issuer = self._authority.certificate
            own = bundle.to_pem()
            root = self._root(own, told, foreign, aliases)
            spread_s = self._proxies() // RENEWALS_PER_S
            issuing = secrets.issuer(chain_to_pem((issuer,)), spread_s)
            self._trust = (root, secrets.revoked(told.identities, own), issuing)
            self._root_version = version(root)
            self._made = material
        return self._trust

    def _root(self, own: bytes, told: Told, foreign: Foreign, aliases: tuple[str, ...]) -> Secret:
        """While nothing is federated, whoever our roots have signed is believed; where lists name
        some of those, a verifier would want one of each other authority, too."""
        unheeded = ""
        names = (self._authority.trust_domain, *aliases)
        more = foreign.get(names[0], ())
        foreign = {name: roots for name, roots in foreign.items() if name != names[0]}
        own += chain_to_pem(more)
        if not foreign and not (more and told.crl):
            root = secrets.root(own, told.crl, whole_chains=told.whole_chains)
        else:
            fits = len(told.crl) * len(names) <= MAX_AMONG_ROOTS
            among_roots = told.covers and fits and not more
            if told.crl and not among_roots:
                unheeded = UNHEEDED
            pems = {name: chain_to_pem(roots) for name, roots in foreign.items()}
            domains = pems | dict.fromkeys(names, own + told.crl if among_roots else own)
            root = secrets.root(own, b"" if among_roots else told.crl, domains)
        if unheeded and not self.unheeded:
            log.warning("%s", unheeded)
        self.unheeded = unheeded
        return root

    def root_version(self) -> str:
        """By which a stream's machine knows `ROOTCA` as it is now."""
        self.trust()
        return self._root_version

    def _tell(self, node: Node) -> None:
        """Once for each node: its mTLS listeners will not open, and here is why."""
        if node.id not in self._told:
            if len(self._told) >= MAX_TOLD:
                self._told.clear()
            self._told.add(node.id)
            log.warning(
                "node=%s is no Weft proxy and gets no private key by SDS, so its mTLS listeners "
                "and clusters stay cold: start the control plane with --allow-sds-keys to serve it",
                node.id,
            )


def version(secret: Secret) -> str:
    """Of its content, as a snapshot has it."""
    value = secret.SerializeToString(deterministic=True)
    return encode(SDS, secret.name, value).version
