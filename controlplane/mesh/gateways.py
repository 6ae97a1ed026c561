"""Gateways in the neutral mesh: what Istio's Gateway with its VirtualServices, Gateway API's with
its routes, and Kubernetes' Ingress all become.

A gateway is for the proxies that its scope takes; several may be for one. A server is a port with
the hosts and the certificates that it has there; it carries either HTTP or streams.
"""

from __future__ import annotations

from typing import Literal

from controlplane.mesh.http_rules import Destination, HttpRule
from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope
from protos.frozen import frozen

SecretName = tuple[str, str]
"""Namespace and name."""


Mode = Literal[
    "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "INSECURE_FALLBACK", "ISTIO_SIMPLE", "ISTIO_MUTUAL"
]


@frozen
class ServerTls:
    """How a server proves who it is, and whom it lets in.

    Certificates are Secrets or (certificate, key) files at the proxy; ISTIO_MUTUAL and ISTIO_SIMPLE
    have the mesh's. MUTUAL and OPTIONAL_MUTUAL verify clients by `roots` (a Secret), `roots_file`
    or `roots_pem`; INSECURE_FALLBACK asks for a certificate and takes any. Versions '' are the
    default."""

    mode: Mode
    credentials: tuple[SecretName, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    roots: SecretName | None = None
    roots_file: str = ""
    roots_pem: str = ""
    crl_file: str = ""
    subject_alt_names: tuple[str, ...] = ()
    spki_hashes: tuple[str, ...] = ()
    certificate_hashes: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


@frozen
class VirtualHost:
    """Rules for hosts ('*', '*.a.com', 'a.com'); what none of them takes gets 404."""

    name: str
    hosts: tuple[str, ...]
    rules: tuple[HttpRule, ...] = ()
    redirect_to_https: bool = False


@frozen
class StreamRoute:
    """A connection's way by its server name (TLS); without names it takes every connection."""

    server_names: tuple[str, ...]
    destinations: tuple[Destination, ...]
    name: str = ""
    position: Position = NOWHERE


@frozen
class Server:
    """hosts: server names of TLS, () for any. tls None: plain text, or with `passthrough` TLS
    that others end. by_name: mutual TLS of the mesh goes on, unopened, to the service that is its
    server name (Istio's AUTO_PASSTHROUGH); hosts are of services then."""

    name: str
    port: int
    protocol: Literal["HTTP", "STREAM"]
    hosts: tuple[str, ...] = ()
    bind: str = ""
    tls: ServerTls | None = None
    passthrough: bool = False
    by_name: bool = False
    virtual_hosts: tuple[VirtualHost, ...] = ()
    streams: tuple[StreamRoute, ...] = ()
    position: Position = NOWHERE

    @property
    def is_tls(self) -> bool:
        return self.tls is not None or self.passthrough


@frozen
class Gateway:
    """`name` tells it from others in names of resources: 'NAME.NAMESPACE', Istio's way. behind: the
    hosts of Services whose endpoints are its proxies, and whose ports are all that it has; () for
    one that takes whom its scope takes. shows: the certificate that it shows to backends."""

    name: str
    namespace: str
    scope: Scope
    servers: tuple[Server, ...] = ()
    behind: tuple[str, ...] = ()
    shows: SecretName | None = None
    position: Position = NOWHERE
