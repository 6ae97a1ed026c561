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
from controlplane.emit import secrets
from controlplane.emit.node import Node
from controlplane.snapshot import encode
from protos.types import SDS

log = logging.getLogger("weft.controlplane.ca")

Foreign = Mapping[str, tuple[Certificate, ...]]

RENEWALS_PER_S = 200
"""Of proxies that open a connection each, and another one with the new certificate."""

MAX_TOLD = 10_000
"""Node ids remembered; nodes choose theirs freely."""


class SdsSecrets:
    """Call it with a node. keys None: nobody gets a private key.

    crl: PEM of what is revoked, b'' for nothing. whole_chains: whether it has a list of each issuer
    up to the roots. foreign: the roots of federated trust domains;
    aliases: other names of our own. names_issuer: Weft's proxies renew a certificate of any other
    issuer than the authority. proxies: how many there are, who should not all come at once."""

    def __init__(
        self,
        authority: LiveAuthority,
        keys: EnvoySecrets | None,
        clock: Callable[[], float],
        crl: Callable[[], bytes] = lambda: b"",
        foreign: Callable[[], Foreign] = dict,
        aliases: Callable[[], tuple[str, ...]] = tuple,
        *,
        names_issuer: bool = True,
        proxies: Callable[[], int] = lambda: 0,
        whole_chains: Callable[[], bool] = lambda: False,
    ) -> None:
        self._authority = authority
        self._keys = keys
        self._clock = clock
        self._crl = crl
        self._foreign = foreign
        self._aliases = aliases
        self._names_issuer = names_issuer
        self._proxies = proxies
        self._whole_chains = whole_chains
        self._told: set[str] = set()
        self._warned = False
        self._made: tuple[object, ...] = ()
        self._trust: tuple[Secret, Secret]
        self._root_version = ""

    def __call__(self, node: Node) -> tuple[Secret, ...]:
        root, issuer = self.trust()
        if node.weft_agent:
            return (root, issuer) if self._names_issuer else (root,)
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

    def trust(self) -> tuple[Secret, Secret]:
        """Whom to believe, and who issues; made anew only when one of them has changed."""
        crl, foreign, aliases = self._crl(), self._foreign(), self._aliases()
        bundle = self._authority.bundle
        whole = self._whole_chains()
        material = (self._authority.stored, bundle, crl, whole, foreign, aliases)
        if material != self._made:
            issuer = self._authority.certificate
            own = bundle.to_pem()
            domains = self._by_trust_domain(own, foreign, aliases)
            root = secrets.root(own, crl, domains, whole_chains=whole)
            spread_s = self._proxies() // RENEWALS_PER_S
            self._trust = (root, secrets.issuer(chain_to_pem((issuer,)), spread_s))
            self._root_version = version(root)
            self._made = material
        return self._trust

    def _by_trust_domain(
        self, own: bytes, foreign: Foreign, aliases: tuple[str, ...]
    ) -> dict[str, bytes]:
        """Empty while nothing is federated: then whoever our roots have signed is believed."""
        if not foreign:
            return {}
        if self._crl() and not self._warned:
            self._warned = True
            log.warning(
                "while trust domains are federated, Envoy does not look at what is revoked; "
                "Weft's proxies do. What plain Envoys must refuse: let it expire, or deny its "
                "identity with an AuthorizationPolicy"
            )
        pems = {name: chain_to_pem(roots) for name, roots in foreign.items()}
        return pems | dict.fromkeys((self._authority.trust_domain, *aliases), own)

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
