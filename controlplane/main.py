"""The control plane as a process: the only place that knows every room.

It starts in an order in which each failure is one clear line: state, configuration, ports. It
says that it serves by writing `controlplane.json` into the state directory, and takes it away at
the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from aiohttp import web

from certs.errors import CertificateError
from certs.files import write_public
from certs.issue_log import IssueLog
from certs.store import CA_FOLDER, StoredAuthority, open_store
from controlplane.admin import Admin
from controlplane.api.authority import AuthorityRooms, AuthorityService, register_authority
from controlplane.api.doctor import DoctorService, register_doctor
from controlplane.api.management import Actions, ManagementService, register_management
from controlplane.ca.admin_token import open_admin_token
from controlplane.ca.authenticate import Authenticator, shown_leaf
from controlplane.ca.authority_files import AuthorityFiles, adopt
from controlplane.ca.caller import ServiceAccountTokens, Unauthenticated
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.foreign_issuer import ForeignIssuer, ForeignOptions
from controlplane.ca.issuer import Issuer, LocalIssuer
from controlplane.ca.kubernetes import KubernetesOptions, open_service_accounts
from controlplane.ca.limits import read_limits
from controlplane.ca.live import LiveAuthority
from controlplane.ca.metrics import CaMetrics
from controlplane.ca.records import Records
from controlplane.ca.register import register_certificates
from controlplane.ca.revocations import Revocations
from controlplane.ca.sds import SdsSecrets
from controlplane.ca.server_credentials import (
    ServingCertificate,
    mtls_credentials,
    tls_credentials,
)
from controlplane.ca.service import MAX_TTL_S, CertificateService
from controlplane.ca.service_accounts import DEFAULT_AUDIENCE
from controlplane.ca.token_review import IN_CLUSTER
from controlplane.ca.tokens import JoinTokens
from controlplane.doctor.examine import Doctor, Patients
from controlplane.doctor.metrics import DoctorMetrics
from controlplane.doctor.reports import Reports
from controlplane.doctor.watch import Watch
from controlplane.federation.endpoint import HOLD_S
from controlplane.federation.federation import Federation
from controlplane.federation.metrics import FederationMetrics
from controlplane.federation.serve import BundleOptions, serve_bundle
from controlplane.federation.shelf import Shelf
from controlplane.inventory import Inventory
from controlplane.mesh.model import Mesh, Status
from controlplane.metrics import Metrics
from controlplane.pipeline import Outlets, Pipeline
from controlplane.rotation import metrics as rotation_metrics
from controlplane.rotation.conductor import Conductor
from controlplane.rotation.progress import Progress
from controlplane.rotation.rehearsal import ExtrasFor, Rehearsals
from controlplane.rotation.roster import ROSTER_FILE, Roster
from controlplane.sources.files import FileSource, SourceError
from controlplane.sources.journal import Journal
from controlplane.sources.memory import MemorySource
from controlplane.status import StatusRegistry
from controlplane.tasks import spawn
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import SERVER_OPTIONS, AdsService, Connection

SERVING_FILE = "controlplane.json"
TOKENS_FILE = "join-tokens.json"
APPLIED_FILE = "applied.json"
LOCK_FILE = "controlplane.lock"
STOP_GRACE_S = 0.5
REFRESH_S = 60.0
"""How often certificates that are served by SDS are looked at for renewal, or that often within
a life, if it is a short one."""
REFRESH_SHARE = 10

ROSTER_EVERY_S = 1.0
"""How often it is written down who is connected, if that has changed."""

ROOTS_EVERY_S = 1.0
"""How often the file of a foreign issuer's roots is looked at."""

EXPIRE_S = 10.0
"""How long after a crash objects stay that were applied before it and not again."""

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ControlPlaneOptions:
    """Port 0: any free one. allow_sds_keys: plain Envoys may get their private key by SDS.
    certificate_ttl_s: how long workloads' certificates live, unless they ask for less."""

    config: Path
    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 15010
    mtls_port: int = 15012
    admin_port: int = 15014
    trust_domain: str = "cluster.local"
    allow_sds_keys: bool = False
    certificate_ttl_s: int = MAX_TTL_S
    log_level: str = "warning"
    issue_limits: tuple[str, ...] = ()
    ca_files: Path | None = None
    issuer_address: str = ""
    issuer_root: Path | None = None
    issuer_server_name: str = ""
    token_review: str = ""
    api_credentials: Path = IN_CLUSTER
    service_account_jwks: Path | None = None
    service_account_issuer: str = ""
    token_audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,)
    bundle_port: int | None = None
    bundle_certificate: Path | None = None
    bundle_key: Path | None = None

    @property
    def kubernetes(self) -> KubernetesOptions:
        """How service-account tokens are checked."""
        return KubernetesOptions(
            self.token_review,
            self.api_credentials,
            self.service_account_jwks,
            self.service_account_issuer,
            self.token_audiences,
        )


class StartError(Exception):
    """Why it cannot serve; the message is for the user."""


def run(options: ControlPlaneOptions) -> int:
    """Serves until SIGTERM (exit code 0) or SIGINT (130); 1 if it cannot start."""
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(options))
    except (StartError, SourceError, CertificateError) as error:
        _say(f"weft: error: {error}")
        return 1
    except KeyboardInterrupt:  # before the signal handlers stand
        return INTERRUPTED


async def _main(options: ControlPlaneOptions) -> int:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, INTERRUPTED)):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stopped, code)
    async with AsyncExitStack() as stack:
        await _serve(options, stack)
        return await stopped


def _stop(stopped: asyncio.Future[int], code: int) -> None:
    if not stopped.done():
        stopped.set_result(code)


async def _serve(options: ControlPlaneOptions, stack: AsyncExitStack) -> None:
    """Starts everything; `stack` stops it again, last things first."""
    inventory = Inventory()
    files = FileSource(options.config, inventory, lambda: plane.pipeline.changed())
    files.load()
    if options.ca_files is not None:
        adopt(options.ca_files, options.state_dir, options.trust_domain, time.time())
    stored = open_store(options.state_dir, options.trust_domain, time.time())
    _own_state(options.state_dir, stack)
    accounts = await open_service_accounts(options.kubernetes, options.trust_domain, stack)
    foreign = _foreign_issuer(options, stack)
    plane = _Plane(options, stored, inventory, accounts, foreign)
    plane.journal.restore()
    plane.pipeline.rebuild()
    stack.callback(plane.pipeline.close)
    ports = await plane.start_grpc(stack)
    bundle_port = await plane.start_bundle(stack)
    admin = Admin(plane.registry, plane.metrics, plane.connections)
    admin_port = await _start_admin(admin, options, stack)
    works = {
        "files": files.run(),
        "refresh": _refresh(plane),
        "expire": _expire(plane),
        "roster": _keep_roster(plane.roster),
        "federation": plane.federation.run(),
        "doctor": _look_after(plane),
    }
    if options.ca_files is not None:
        works["authority files"] = plane.authority_files(options.ca_files).run()
    if foreign is not None:
        works["foreign roots"] = _follow_roots(foreign, plane)
    for name, work in works.items():
        stack.callback(spawn(work, name).cancel)
    _announce_serving(options, (*ports, admin_port), bundle_port, stack)
    stack.callback(plane.journal.forget)
    plane.conductor.resume()
    admin.serving = True


class _Plane:
    """The rooms, wired."""

    def __init__(
        self,
        options: ControlPlaneOptions,
        stored: StoredAuthority,
        inventory: Inventory,
        service_accounts: ServiceAccountTokens | None,
        foreign: ForeignIssuer | None,
    ) -> None:
        self.options = options
        self.authority = LiveAuthority(stored)
        self._foreign = foreign
        if foreign is not None:
            self.authority.trust_also(foreign.bundle)
        domain = options.trust_domain
        self.serving = self._serving_certificate()
        self._tokens = JoinTokens(options.state_dir / TOKENS_FILE, domain)
        self._issues = IssueLog(options.state_dir / CA_FOLDER)
        admin_token = open_admin_token(options.state_dir)
        self.revocations = Revocations(options.state_dir, self.authority, time.time)
        self._authenticator = Authenticator(
            self._tokens,
            admin_token,
            domain,
            service_accounts=service_accounts,
            revoked=self.revocations.why,
        )
        self.registry = StatusRegistry(self.connections)
        self.metrics = Metrics(self.connections)
        ttl_s = options.certificate_ttl_s
        record = Records(self._issues)
        allowed = options.allow_sds_keys
        keys = EnvoySecrets(self.authority, ttl_s, record=record) if allowed else None
        self.federation = self._federated()
        sds = self._sds_secrets(keys)
        cache = SnapshotCache(Mesh(domain), sds)
        self.roster = Roster(options.state_dir / ROSTER_FILE, time.time)
        observers = (self.registry, self.metrics, self.roster)
        self.ads = AdsService(self._prove, cache, observers, time.time)
        progress = Progress(self.roster, self.authority, keys, sds.root_version)
        self.conductor = Conductor(
            options.state_dir,
            self.authority,
            progress,
            self.ads.publish,
            hold_s=HOLD_S if options.bundle_port is not None else 0.0,
        )
        rotation_metrics.register(
            self.metrics.registry, self.authority, self.conductor, self.revocations
        )
        self.reports, self.doctor = self._doctor(keys, sds)
        self._rehearsals = Rehearsals(
            options.state_dir, self.roster, partial(self._show, cache), _reachable(options.host)
        )
        outlets = Outlets(cache, self.ads, self.registry, self.metrics, _say, self.federation)
        self.pipeline = Pipeline(inventory, domain, outlets, time.time)
        memory = MemorySource(inventory, self.pipeline.changed)
        self.journal = Journal(options.state_dir / APPLIED_FILE, memory)

    def _serving_certificate(self) -> ServingCertificate:
        dns_names, ip_addresses = _names_of(self.options.host)
        return ServingCertificate(
            self.authority,
            cross=self.authority.cross,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )

    def _federated(self) -> Federation:
        federation = Federation(
            Shelf(self.options.state_dir),
            lambda: self.ads.publish(),
            restate=lambda: self.pipeline.changed(),
        )
        FederationMetrics(self.metrics.registry, lambda: federation.followed, time.time)
        return federation

    def _doctor(self, keys: EnvoySecrets | None, sds: SdsSecrets) -> tuple[Reports, Watch]:
        reports = Reports(self.roster.connected)
        patients = Patients(
            self.authority,
            self.serving,
            self.federation.believed,
            self.roster,
            reports,
            keys,
            sds.root_version,
            self.options.certificate_ttl_s,
        )
        watch = Watch(Doctor(patients).examine, time.time)
        DoctorMetrics(self.metrics.registry, lambda: watch.findings)
        return reports, watch

    def _sds_secrets(self, keys: EnvoySecrets | None) -> SdsSecrets:
        return SdsSecrets(
            self.authority,
            keys,
            time.time,
            # A foreign issuer's list we can't make, and Envoy would refuse all without one.
            self.revocations.crl if self._foreign is None else bytes,
            self.federation.believed,
            lambda: self.federation.aliases,
            names_issuer=self._foreign is None,
            proxies=lambda: len(self.ads.connections),
        )

    def _issuer(self) -> Issuer:
        if self._foreign is None:
            return LocalIssuer(self.authority, self.revocations.why_not)
        self._foreign.why_not = self.revocations.why_not
        return self._foreign

    def authority_files(self, folder: Path) -> AuthorityFiles:
        return AuthorityFiles(folder, self.authority, self.conductor.begin, time.time)

    def connections(self) -> Iterable[Connection]:
        return tuple(self.ads.connections)

    async def _prove(self, context: Any) -> Proof:
        caller = await self._authenticator.authenticate(context, time.time())
        if isinstance(caller, Unauthenticated):
            return Proof(refusal=caller.reason)
        if caller.identity and (reason := self.revocations.why_not(caller.identity)):
            return Proof(refusal=reason)  # a token is as good as a certificate for that
        return Proof(caller.identity, leaf=shown_leaf(context) if caller.how == "svid" else None)

    def _show(self, cache: SnapshotCache, extras: ExtrasFor | None) -> None:
        cache.extras_for = extras
        self.ads.publish()

    def _revoked(self) -> None:
        """The revocations are others now: streams of whoever counts no more end, all others hear of
        it."""
        why, why_not = self.revocations.why, self.revocations.why_not
        self.ads.sever(lambda one: why_not(one.identity) or (why(one.leaf) if one.leaf else ""))
        self.ads.publish()

    async def _apply(self, manifest: str, source: str) -> tuple[Status, ...]:
        """What parsing says and, if all of it could be put in place, translation too."""
        statuses = self.journal.apply(manifest, source)
        if any(status.severity == "error" for status in statuses):
            return statuses
        await self.pipeline.settled()
        translated = {s for s in self.pipeline.statuses if s.position.source == source}
        return tuple(sorted({*statuses, *translated}))

    async def _delete(self, kind: str, namespace: str, name: str) -> bool:
        existed = self.journal.delete(kind, namespace, name)
        await self.pipeline.settled()
        return existed

    async def start_bundle(self, stack: AsyncExitStack) -> int | None:
        """The bundle endpoint, if there is to be one: its port."""
        options = self.options
        if options.bundle_port is None:
            return None
        _check_free(options.host, options.bundle_port, "bundle-port")
        bundle = BundleOptions(
            options.host,
            options.bundle_port,
            options.bundle_certificate,
            options.bundle_key,
        )
        return await serve_bundle(bundle, self.authority, self.serving, stack)

    async def start_grpc(self, stack: AsyncExitStack) -> tuple[int, int]:
        """Both ports with the same services: by token, and by SVID. Answers their numbers."""
        options = self.options
        for name, port in (("port", options.port), ("mtls-port", options.mtls_port)):
            _check_free(options.host, port, name)
        server = grpc.aio.server(options=SERVER_OPTIONS)
        self._register(server)
        serving = self.serving
        tls, mtls = tls_credentials(serving), mtls_credentials(serving, self.authority)
        bound = (
            server.add_secure_port(_address(options.host, options.port), tls),
            server.add_secure_port(_address(options.host, options.mtls_port), mtls),
        )
        await server.start()
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        return bound

    def _register(self, server: grpc.aio.Server) -> None:
        certificates = CertificateService(
            self._issuer(),
            self._authenticator,
            self._tokens,
            CaMetrics(self.metrics.registry),
            record=Records(self._issues),
            limits=read_limits(self.options.issue_limits),
            default_ttl_s=self.options.certificate_ttl_s,
        )
        register_certificates(certificates, server)
        actions = Actions(self._apply, self._delete)
        register_management(
            ManagementService(self._authenticator, self._tokens, actions, self.registry), server
        )
        rooms = AuthorityRooms(self.conductor, self._rehearsals, self.revocations, self._revoked)
        register_authority(AuthorityService(self._authenticator, rooms), server)
        doctor = DoctorService(self._authenticator, self.reports, self.doctor)
        register_doctor(doctor, server)
        server.add_generic_rpc_handlers((self.ads.handler(),))


def _own_state(state_dir: Path, stack: AsyncExitStack) -> None:
    """Two would overwrite each other's join tokens. The lock ends with the process, however."""
    path = state_dir / LOCK_FILE
    try:
        lock = stack.enter_context(path.open("ab"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what = f"another control plane uses the state directory {state_dir}"
        raise StartError(f"{what}: stop it, or give this one its own with --state-dir") from None
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None


def _foreign_issuer(options: ControlPlaneOptions, stack: AsyncExitStack) -> ForeignIssuer | None:
    if not options.issuer_address:
        return None
    if options.issuer_root is None:
        raise StartError("--issuer-address needs --issuer-root: the roots of what it issues")
    if options.allow_sds_keys:
        raise StartError(
            "--allow-sds-keys and --issuer-address exclude each other: a foreign issuer certifies "
            "workloads that prove themselves, and no key that was made here"
        )
    where = ForeignOptions(options.issuer_address, options.issuer_root, options.issuer_server_name)
    issuer = ForeignIssuer(where)
    stack.push_async_callback(issuer.close)
    return issuer


async def _follow_roots(foreign: ForeignIssuer, plane: _Plane) -> None:
    while True:
        await asyncio.sleep(ROOTS_EVERY_S)
        if await foreign.refresh():
            plane.authority.trust_also(foreign.bundle)
            plane.ads.publish()


async def _refresh(plane: _Plane) -> None:
    """Secrets change with time and not with configuration: look again and again."""
    while True:
        await asyncio.sleep(min(REFRESH_S, plane.options.certificate_ttl_s / REFRESH_SHARE))
        plane.ads.publish()


async def _look_after(plane: _Plane) -> None:
    while True:
        await plane.doctor.look()
        plane.reports.forget_absent()
        await asyncio.sleep(min(REFRESH_S, plane.options.certificate_ttl_s / REFRESH_SHARE))


async def _keep_roster(roster: Roster) -> None:
    while True:
        await asyncio.sleep(ROSTER_EVERY_S)
        everybody = roster.snapshot()
        if everybody is not None:
            await asyncio.to_thread(roster.save, everybody)


async def _expire(plane: _Plane) -> None:
    await asyncio.sleep(EXPIRE_S)
    plane.journal.expire()


async def _start_admin(admin: Admin, options: ControlPlaneOptions, stack: AsyncExitStack) -> int:
    """On the loopback interface whatever --host says: the pages ask for no credentials."""
    runner = web.AppRunner(admin.application(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    _check_free("127.0.0.1", options.admin_port, "admin-port")
    await web.TCPSite(runner, "127.0.0.1", options.admin_port, shutdown_timeout=0.5).start()
    return int(runner.addresses[0][1])


def _check_free(host: str, port: int, option: str) -> None:
    """Asks the kernel before grpc does, whose message would be a page of C++."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(
                f"cannot listen on {_address(host, port)}: {reason}: choose another address with "
                f"--{option} (0 takes any free port) or --host"
            ) from None


def _names_of(host: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The DNS names and IP addresses of the serving certificate for clients that dial --host."""
    try:
        address = ip_address(host)
    except ValueError:
        return (host,), ()
    return (), (() if address.is_unspecified else (host,))


def _reachable(host: str) -> str:
    """An IP address at which proxies reach what listens on --host."""
    try:
        wildcard = ip_address(host).is_unspecified
    except ValueError:
        wildcard = False
    try:
        return socket.gethostbyname(socket.gethostname() if wildcard else host)
    except OSError:
        return host  # IPv6, or a host that does not know its own name


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _announce_serving(
    options: ControlPlaneOptions,
    ports: tuple[int, int, int],
    bundle_port: int | None,
    stack: AsyncExitStack,
) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    addresses = {
        "address": _address(host, ports[0]),
        "mtls_address": _address(host, ports[1]),
        "admin_address": _address("127.0.0.1", ports[2]),
    }
    if bundle_port is not None:
        addresses["bundle_address"] = _address(host, bundle_port)
    path = options.state_dir / SERVING_FILE
    try:
        write_public(path, json.dumps({"pid": os.getpid(), **addresses}).encode() + b"\n")
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from None
    stack.callback(_withdraw, path)
    named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in addresses.items())
    _say(f"weft: control plane serves {options.config}: {named}")


def _withdraw(path: Path) -> None:
    """Takes the file away unless another process has written its own meanwhile."""
    try:
        if json.loads(path.read_bytes())["pid"] == os.getpid():
            path.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        pass  # gone or not ours: nothing to take away


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
