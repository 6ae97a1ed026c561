"""The rooms of a control plane, wired to each other; `main` starts and stops them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from certs.issue_log import IssueLog
from certs.sealed_box import SealedBox
from certs.store import CA_FOLDER, StoredAuthority
from controlplane.addresses import check_free, is_loopback, names_of, reachable
from controlplane.api.authority import AuthorityRooms, AuthorityService, register_authority
from controlplane.api.doctor import DoctorService, register_doctor
from controlplane.api.management import Actions, ManagementService, register_management
from controlplane.ca.admin_token import open_admin_token
from controlplane.ca.authenticate import Authenticator, shown_leaf
from controlplane.ca.authority_files import AuthorityFiles
from controlplane.ca.caller import ServiceAccountTokens, Unauthenticated
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.foreign_issuer import ForeignIssuer
from controlplane.ca.issuer import Issuer, LocalIssuer
from controlplane.ca.limits import read_limits
from controlplane.ca.live import LiveAuthority
from controlplane.ca.metrics import CaMetrics
from controlplane.ca.records import Records
from controlplane.ca.register import register_certificates
from controlplane.ca.revocations import Revocations
from controlplane.ca.sds import SdsSecrets
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.ca.service import CertificateService
from controlplane.ca.tokens import JoinTokens
from controlplane.doctor.examine import Doctor, Patients
from controlplane.doctor.metrics import DoctorMetrics
from controlplane.doctor.reports import Reports
from controlplane.doctor.watch import Watch
from controlplane.federation.federation import Federation
from controlplane.federation.hints import HOLD_S
from controlplane.federation.metrics import FederationMetrics
from controlplane.federation.shelf import Shelf
from controlplane.inventory import Inventory
from controlplane.mesh.credentials import Credential
from controlplane.mesh.model import Mesh
from controlplane.metrics import Metrics
from controlplane.objects import Objects, Rooms
from controlplane.openid.discovery import Discovery
from controlplane.openid.fetch import fetching
from controlplane.openid.metrics import OpenIdMetrics
from controlplane.openid.reach import Reach, networks
from controlplane.openid.shelf import Shelf as KeyShelf
from controlplane.options import ControlPlaneOptions
from controlplane.pipeline import Outlets, Pipeline
from controlplane.ports import open_ports
from controlplane.registration.registrar import Registrar
from controlplane.replicas import TOKENS_FILE, Replicas
from controlplane.rotation import metrics as rotation_metrics
from controlplane.rotation.conductor import Conductor
from controlplane.rotation.others import Others
from controlplane.rotation.progress import Progress
from controlplane.rotation.rehearsal import ExtrasFor, Rehearsals
from controlplane.rotation.rehearsing import SharedRehearsals
from controlplane.rotation.roster import ROSTER_FILE, Roster
from controlplane.rotation.together import Ours, Together
from controlplane.rpc.methods import Registry
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.metrics import StoreMetrics
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.values import Store
from controlplane.status import StatusRegistry
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.callers import Callers
from controlplane.xds.load_metrics import LoadMetrics
from controlplane.xds.load_service import LoadService
from controlplane.xds.loads import Loads
from controlplane.xds.refusals import Refusals
from controlplane.xds.service import AdsService, Connection, Observer
from controlplane.xds.status_service import StatusService


class Plane:
    """The rooms, wired."""

    def __init__(
        self,
        options: ControlPlaneOptions,
        stored: StoredAuthority,
        store: Store,
        replicas: Replicas | None,
        inventory: Inventory,
        service_accounts: ServiceAccountTokens | None,
        foreign: ForeignIssuer | None,
        say: Callable[[str], None],
        passphrase: bytes | None = None,
    ) -> None:
        """say: tells the user a line. passphrase: of the authority's keys on disk."""
        self.options = options
        self._passphrase = passphrase
        self.replicas = replicas
        self._trust(stored, foreign)
        self._authenticator = self._authenticated_by(service_accounts)
        domain = options.trust_domain
        self.registry = StatusRegistry(self.connections)
        self.metrics = Metrics(self.connections)
        keys = self._keys_of_others()
        self.federation = self._federated()
        sds = self._sds_secrets(keys)
        cache = SnapshotCache(Mesh(domain), sds, self.revocations.identities)
        self.roster = Roster(options.state_dir / ROSTER_FILE, time.time)
        self.loads = self.registry.loads = Loads(lambda: cache.mesh)
        LoadMetrics(self.metrics.registry, self.loads)
        self._refusals = Refusals(lambda: self.pipeline.changed())
        observers = (*self._observers(cache), self._registrar(inventory))
        self.ads = AdsService(self._prove, cache, observers, time.time)
        progress = Progress(self.roster, self.authority, keys, sds.root_version)
        self.conductor = self._conductor(progress)
        self.reports, self.doctor = self._doctor(keys, sds, lambda: cache.mesh.credentials)
        self._rehearsals = self._rehearsed(cache)
        self.discovery = self._discovery()
        told = (cache, self.ads, self.registry, self.metrics, say, self.federation, self.discovery)
        self.pipeline = Pipeline(inventory, domain, Outlets(*told, self._refusals), time.time)
        self.memory = MemorySource(inventory, self.pipeline.changed)
        self.mirror = Mirror(store, self.memory, SealedBox(passphrase) if passphrase else None)
        self._objects = self._applied(inventory, store)

    def _trust(self, stored: StoredAuthority, foreign: ForeignIssuer | None) -> None:
        """Who signs, whom all believe, and who was taken back."""
        self.authority = LiveAuthority(stored)
        self._foreign = foreign
        if foreign is not None:
            self.authority.trust_also(foreign.bundle)
        self.serving = self._serving_certificate()
        self._issues = IssueLog(self.options.state_dir / CA_FOLDER)
        self.revocations = self._revocations()

    def _authenticated_by(self, service_accounts: ServiceAccountTokens | None) -> Authenticator:
        """Whose proofs are taken."""
        options, replicas = self.options, self.replicas
        shared = replicas.tokens if replicas is not None else None
        self._tokens = JoinTokens(options.state_dir / TOKENS_FILE, options.trust_domain, shared)
        who = self._tokens, open_admin_token(options.state_dir), options.trust_domain
        return Authenticator(*who, service_accounts=service_accounts, revoked=self.revocations.why)

    def _observers(self, cache: SnapshotCache) -> tuple[Observer, ...]:
        """Who hears of streams, but for the registrar."""
        self.registry.left_out = cache.left_out
        callers = Callers(cache.proxyless, lambda: self.pipeline.changed())
        return (self.registry, self.metrics, self.roster, callers, self._refusals)

    def _registrar(self, inventory: Inventory) -> Registrar:
        return Registrar(
            lambda: self.mirror,
            inventory.find,
            lambda about, *said: self.memory.say(about, *said),
            token_hex(8),
        )

    def _applied(self, inventory: Inventory, store: Store) -> Objects:
        """What the management API has to do with."""
        others = partial(_count_others, self.replicas)
        StoreMetrics(self.metrics.registry, self.mirror, lambda: store.away, others)
        rooms = Rooms(self.pipeline.settled, lambda: self.pipeline.statuses, self.registry)
        domain = self.options.trust_domain
        return Objects(inventory, self.memory, self.mirror, rooms, domain, time.time)

    def _revocations(self) -> Revocations:
        """With what other replicas say of them, and of the authority."""
        revoked = self.replicas.revocations if self.replicas is not None else None
        made = Revocations(self.options.state_dir, self.authority, time.time, revoked)
        if self.replicas is not None:
            self.replicas.revocations.follow(made.hear, self._revoked)
            self.replicas.authority.follow(self.authority, self._revoked)
        return made

    def _serving_certificate(self) -> ServingCertificate:
        dns_names, ip_addresses = names_of(self.options.host)
        return ServingCertificate(
            self.authority,
            cross=self.authority.cross,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )

    def _together(self, progress: Progress) -> Together | None:
        """With whom the authority is rotated."""
        if (replicas := self.replicas) is None:
            return None
        self._others = Others(replicas.store, replicas.sealed, replicas.id)
        ours = Ours(replicas.id, self.roster, progress)
        shared = (replicas.store, replicas.sealed, replicas.authority)
        return Together(*shared, self.authority, ours, self._others, time.time)

    def _keys_of_others(self) -> EnvoySecrets | None:
        """Of proxies that don't make their own, where that is allowed."""
        if not self.options.allow_sds_keys:
            return None
        ttl_s = self.options.certificate_ttl_s
        return EnvoySecrets(self.authority, ttl_s, record=Records(self._issues))

    def _rehearsed(self, cache: SnapshotCache) -> Rehearsals | SharedRehearsals:
        """Those of all replicas."""
        own = Rehearsals(
            self.options.state_dir,
            self.roster,
            partial(self._show, cache),
            reachable(self.options.host),
            gives_keys=self.options.allow_sds_keys,
            record=Records(self._issues),
            passphrase=self._passphrase,
        )
        if (replicas := self.replicas) is None:
            return own
        shared = (replicas.store, replicas.sealed, replicas.id, self._others, self.authority)
        return SharedRehearsals(*shared, own, self.conductor.put_forward)

    def _conductor(self, progress: Progress) -> Conductor:
        self.together = self._together(progress)
        conductor = Conductor(
            self.options.state_dir,
            self.authority,
            progress,
            self.ads.publish,
            hold_s=HOLD_S if self.options.bundle_port is not None else 0.0,
            passphrase=self._passphrase,
            company=self.together,
        )
        rotation_metrics.register(
            self.metrics.registry, self.authority, conductor, self.revocations
        )
        return conductor

    def _federated(self) -> Federation:
        federation = Federation(
            Shelf(self.options.state_dir),
            lambda: self.ads.publish(),
            restate=lambda: self.pipeline.changed(),
        )
        FederationMetrics(self.metrics.registry, lambda: federation.followed, time.time)
        return federation

    def _discovery(self) -> Discovery:
        options = self.options
        blocked = networks(options.block_jwks)
        reach = Reach(loopback=is_loopback(options.host), blocked=blocked)
        discovery = Discovery(
            fetching(reach),
            KeyShelf(options.state_dir),
            lambda: self.pipeline.changed(),
        )
        OpenIdMetrics(self.metrics.registry, lambda: discovery.followed, time.time)
        return discovery

    def _doctor(
        self,
        keys: EnvoySecrets | None,
        sds: SdsSecrets,
        credentials: Callable[[], tuple[Credential, ...]],
    ) -> tuple[Reports, Watch]:
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
            lambda: sds.unheeded,
            credentials,
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
            partial(self.revocations.told, lists=self._foreign is None),
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
        begin = self.conductor.begin
        return AuthorityFiles(
            folder, self.authority, begin, self._relist, time.time, self._passphrase
        )

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

    async def _relist(self, pem: bytes, what: str) -> None:
        """Other revocation lists come with the authority."""
        await self.conductor.relist(pem, what)
        self._revoked()

    async def start_bundle(self, stack: AsyncExitStack) -> int | None:
        """The bundle endpoint, if there is to be one: its port."""
        options = self.options
        if options.bundle_port is None:
            return None
        from controlplane.federation.serve import BundleOptions, serve_bundle  # a server of HTTP

        check_free(options.host, options.bundle_port, "bundle-port")
        bundle = BundleOptions(
            options.host,
            options.bundle_port,
            options.bundle_certificate,
            options.bundle_key,
        )
        return await serve_bundle(bundle, self.authority, self.serving, stack)

    async def start_grpc(self, stack: AsyncExitStack) -> tuple[int, int]:
        """Both ports with the same services: by token, and by SVID. Answers their numbers."""
        rooms = self.serving, self.authority, self._register, self._authenticator
        return await open_ports(self.options, *rooms, stack)

    def _register(self, server: Registry) -> None:
        certificates = CertificateService(
            self._issuer(),
            self._authenticator,
            self._tokens,
            CaMetrics(self.metrics.registry),
            record=Records(self._issues).issued,
            limits=read_limits(self.options.issue_limits),
            default_ttl_s=self.options.certificate_ttl_s,
        )
        register_certificates(certificates, server)
        objects = self._objects
        actions = Actions(objects.apply, objects.delete, objects.find, objects.watch)
        register_management(
            ManagementService(self._authenticator, self._tokens, actions, self.registry), server
        )
        rooms = AuthorityRooms(
            *(self.conductor, self._rehearsals, self.revocations, self._revoked, self._relist)
        )
        register_authority(AuthorityService(self._authenticator, rooms), server)
        doctor = DoctorService(self._authenticator, self.reports, self.doctor)
        register_doctor(doctor, server)
        status = StatusService(self._prove, self.connections)
        loads = LoadService(self._prove, self.loads)
        server.add_generic_rpc_handlers((self.ads.handler(), status.handler(), loads.handler()))


def _count_others(replicas: Replicas | None) -> int:
    return len(replicas.others) if replicas is not None else 0
