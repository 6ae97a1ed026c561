"""Listeners of a snapshot into filter chains that can be connected to.

A listener whose configuration did not change keeps its managers, with their statistics and route
tables; new TLS material swaps only the chain's context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from certs.errors import CertificateError
from proxy.config.model import (
    DownstreamTls,
    FilterChain,
    FilterChainMatch,
    Listener,
    Secret,
)
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.l4.guard import Guards
from proxy.l4.manager import TcpManager
from proxy.l4.tcp import DownstreamTcp
from proxy.l7.manager import HttpManager
from proxy.l7.sniffer import downstream
from proxy.stats import Stats
from proxy.tls.failure import TlsConfigError
from proxy.upstream import tcp

if TYPE_CHECKING:
    from proxy.tls.contexts import ServerTls

Manager = HttpManager | TcpManager
MakeManager = Callable[[FilterChain, Listener, bytes, Guards | None], Manager]
MakeGuards = Callable[[FilterChain, bytes], Guards | None]
"""The filter chain, its listener, and the URI of the certificate that it shows."""


@dataclass(slots=True, eq=False)
class Chain:
    """What `listen` connects to. tls is swapped when its certificates rotate."""

    match: FilterChainMatch
    config: FilterChain
    manager: Manager
    tls: ServerTls | None
    handshake_timeout_s: float | None
    guards: Guards | None = None

    @property
    def close_notify_wait_s(self) -> float:
        return tcp.CLOSE_NOTIFY_WAIT_S

    def connect(self, info: ConnectionInfo) -> asyncio.BaseProtocol:
        manager = self.manager
        info.filter_chain = self.config.name
        if isinstance(manager, TcpManager):
            return DownstreamTcp(manager, info)
        guards = self.guards
        if guards is None:
            return downstream(manager, info)
        return downstream(
            manager, info, lambda who, told: guards.begin(who, {}, lambda why: told(why is None))
        )


@dataclass(slots=True, eq=False)
class CompiledListener:
    config: Listener
    chains: tuple[Chain, ...]
    default: Chain | None
    material: tuple[object, ...]

    def all_chains(self) -> Iterator[Chain]:
        yield from self.chains
        if self.default is not None:
            yield self.default


class CompiledListeners:
    """`running` by name. `apply` answers it anew; old chains drain."""

    def __init__(self, make_manager: MakeManager, make_guards: MakeGuards, stats: Stats) -> None:
        self._stats = stats
        self._make_guards = make_guards
        self.running: dict[str, CompiledListener] = {}
        self._make_manager = make_manager

    def apply(self, snapshot: Snapshot) -> dict[str, str]:
        """Answers why a listener could not be put in force, by name; it is then as it was."""
        problems: dict[str, str] = {}
        for name, config in snapshot.listeners.items():
            try:
                self._apply(name, config, snapshot.secrets)
            except (TlsConfigError, CertificateError, OSError) as error:
                problems[f"listener {name}"] = f"listener {name}: {error}"
        for name in [name for name in self.running if name not in snapshot.listeners]:
            _drain(self.running.pop(name))
        return problems

    def _apply(self, name: str, config: Listener, secrets: Mapping[str, Secret]) -> None:
        known = self.running.get(name)
        material = _material(config, secrets)
        if known is None or known.config != config:
            self.running[name] = self._compile(config, secrets, material)
            _drain(known)
        elif known.material != material:
            fresh = [(chain, _tls(chain.config.tls, secrets)) for chain in known.all_chains()]
            for chain, tls in fresh:
                chain.tls = tls
            known.material = material
        else:
            return
        self._tell_ends(self.running[name], secrets)

    def _tell_ends(self, listener: CompiledListener, secrets: Mapping[str, Secret]) -> None:
        config = listener.config
        prefix = config.stat_prefix or str(config.address)
        for chain in listener.all_chains():
            if chain.config.tls is not None:
                from proxy.tls.expiry import tell  # as for contexts

                base = f"listener.{prefix.replace(':', '_')}."
                tell(self._stats, base, chain.config.tls.common, secrets)

    def http_managers(self) -> Iterator[HttpManager]:
        for listener in self.running.values():
            for chain in listener.all_chains():
                if isinstance(chain.manager, HttpManager):
                    yield chain.manager

    def _compile(
        self, config: Listener, secrets: Mapping[str, Secret], material: tuple[object, ...]
    ) -> CompiledListener:
        chains = tuple(self._chain(chain, config, secrets) for chain in config.filter_chains)
        default = config.default_filter_chain
        last = self._chain(default, config, secrets) if default is not None else None
        return CompiledListener(config, chains, last, material)

    def _chain(
        self, config: FilterChain, listener: Listener, secrets: Mapping[str, Secret]
    ) -> Chain:
        tls = _tls(config.tls, secrets)
        own_uri = _own_uri(config, secrets)
        guards = self._make_guards(config, own_uri)
        manager = self._make_manager(config, listener, own_uri, guards)
        timeout_s = config.transport_socket_connect_timeout_s
        return Chain(config.match, config, manager, tls, timeout_s, guards)


def _drain(listener: CompiledListener | None) -> None:
    """Connections of an old version end with their next answer, or TCP's after a while."""
    if listener is not None:
        for chain in listener.all_chains():
            chain.manager.drain(monotonic())


def _tls(config: DownstreamTls | None, secrets: Mapping[str, Secret]) -> ServerTls | None:
    if config is None:
        return None
    from proxy.tls.contexts import server_context  # a plaintext proxy has no use for it

    return server_context(config, secrets)


def _own_uri(config: FilterChain, secrets: Mapping[str, Secret]) -> bytes:
    """The URI of our own certificate: `By=` of `x-forwarded-client-cert`, and for the log."""
    if config.tls is None:
        return b""
    from certs.x509 import chain_from_pem, uri_sans  # cryptography: only where it is needed

    common = config.tls.common
    certificate = common.certificates[0] if common.certificates else None
    if common.certificate_sds is not None and common.certificate_sds.name in secrets:
        certificate = secrets[common.certificate_sds.name].certificate
    uris = uri_sans(chain_from_pem(certificate.chain.data)[0]) if certificate is not None else ()
    return uris[0].encode() if uris else b""


def _material(config: Listener, secrets: Mapping[str, Secret]) -> tuple[object, ...]:
    chains = [*config.filter_chains]
    if config.default_filter_chain is not None:
        chains.append(config.default_filter_chain)
    found: list[object] = []
    for chain in chains:
        if chain.tls is not None:
            common = chain.tls.common
            references = (common.certificate_sds, common.validation_sds)
            found.extend(secrets.get(one.name) if one is not None else None for one in references)
    return tuple(found)
