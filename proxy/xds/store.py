"""What the control plane has told us, and what of it is warm: raw resources in, a Snapshot out.

PURE: time comes in as `now` (monotonic seconds). A cluster or listener waits for what it names
(EDS, RDS, SDS) and until then its previous version stays in force. Endpoints and routes are waited
for 15 s at most (Envoy's initial_fetch_timeout), then taken as empty; secrets without end, as a
listener without its certificate could only refuse. A bad resource never gets here, so it replaces
nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.config.decode import Resource
from proxy.config.model import (
    Bootstrap,
    Cluster,
    ClusterLoadAssignment,
    Listener,
    RouteConfiguration,
    Secret,
    VirtualHost,
)
from proxy.config.rejected import Rejected
from proxy.config.snapshot import Snapshot
from proxy.xds.delta import WILDCARD
from proxy.xds.fetched import Fetched, table_of
from proxy.xds.needs import Key, files, longest_body, needs, static_secrets
from proxy.xds.raw import Raw

FETCH_TIMEOUT_S = 15.0
_OWNERS = (CDS, LDS)
_EMPTY: frozenset[Key] = frozenset()


@dataclass(slots=True)
class _Owner:
    """A cluster or listener: the newest accepted version, and the one that is in force."""

    newest: Cluster | Listener
    active: Cluster | Listener | None = None
    needs: frozenset[Key] = _EMPTY


class Store:
    """One per proxy. `local_secrets`: names that are answered here and never subscribed to.
    standing: secrets that are subscribed to although nothing names them."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        local_secrets: frozenset[str],
        now: float,
        standing: frozenset[str] = frozenset(),
    ) -> None:
        self._bootstrap = bootstrap
        self._local_secrets = local_secrets
        self._standing = frozenset((SDS, name) for name in standing)
        self._raw: dict[str, dict[str, Raw]] = {kind: {} for kind in (CDS, EDS, LDS, RDS, SDS)}
        self._models: dict[Key, Resource] = {}
        self._owners: dict[Key, _Owner] = {}
        self._users: dict[Key, set[Key]] = {}
        self._wanted: dict[str, frozenset[str]] = {}  # by type, of what has users; as long as so
        self._waiting_since: dict[Key, float] = {}
        self._absent: set[Key] = set()
        self._refused: dict[Key, str] = {}
        self._pending: set[Key] = set()
        self._unused: set[Key] = set()
        self._stale_at: dict[Key, float] = {}
        self._answered: set[str] = set()
        self._clusters: dict[str, Cluster] = {}
        self._listeners: dict[str, Listener] = {}
        self._assignments: dict[str, ClusterLoadAssignment] = {}
        self._secrets = {each.name: each for each in bootstrap.secrets}
        self._lds_open = not bootstrap.cds_ads
        self._files: dict[Key, str] = {}
        self._started_at = now
        self._fetched = Fetched()
        self._asked: dict[str, frozenset[str]] = dict.fromkeys(_OWNERS, frozenset())
        self._were_named: dict[str, frozenset[str]] = dict(self._asked)
        self._static_clusters = frozenset(each.name for each in bootstrap.clusters)
        self._own_changes = 0
        self._own_answers = 0
        for cluster in bootstrap.clusters:
            self._own((CDS, cluster.name), cluster, now)
        for listener in bootstrap.listeners:
            self._own((LDS, listener.name), listener, now)

    # ----------------------------------------------------------------- what comes in

    def accept(
        self, type_url: str, name: str, version: str, body: bytes, model: Resource,
        now: float, at_s: float, aliases: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Takes a decoded resource over. Rejected if it contradicts a static resource."""
        key = (type_url, name)
        if isinstance(model, VirtualHost):
            self._check_host(name, model)
            self._fetched.accept(Raw(type_url, name, version, body, at_s, aliases), model)
            return
        self._check_static(key, model)
        if isinstance(model, RouteConfiguration):
            self._check_table(model)
        if isinstance(model, Listener):
            self._check_address(key, model)
        if type_url not in _OWNERS and key not in self._users and key not in self._standing:
            return  # nobody names it (any more): the answer crossed our unsubscribing
        self._raw[type_url][name] = Raw(type_url, name, version, body, at_s)
        if isinstance(model, Cluster | Listener):
            self._absent.discard(key)
            self._refused.pop(key, None)
            self._own(key, model, now)
            return
        if self._models.get(key) != model:
            self._models[key] = model
            self._own_changes += 1
        if isinstance(model, ClusterLoadAssignment):
            self._stale_at.pop(key, None)
            if model.stale_after_s:
                self._stale_at[key] = now + model.stale_after_s
        self._supplied(key, now)

    def remove(self, type_url: str, names: Iterable[str], now: float) -> None:
        """The control plane says that these do not exist.

        Endpoints, routes and secrets in use stay, as in Envoy; but nobody waits for them longer.
        """
        for name in names:
            key = (type_url, name)
            if type_url == VHDS:
                self._fetched.deny(name)
            elif type_url in _OWNERS:
                self._disown(key)
                self.deny(type_url, (name,))
            elif key not in self._models:
                self._absent.add(key)
                self._supplied(key, now)

    def deny(self, type_url: str, names: Iterable[str]) -> None:
        """The control plane says of what was asked for by name that it is nowhere."""
        for name in names:
            if type_url == VHDS:
                self._fetched.deny(name)
            elif type_url in _OWNERS and name in self._named(type_url):
                self._absent.add((type_url, name))
                self._own_answers += 1
                if self._refused.pop((type_url, name), None) is not None:
                    self._own_changes += 1

    def refuse(self, type_url: str, name: str, aliases: Iterable[str], why: str) -> None:
        """What came of this name is no good: if there is nothing better, nobody need wait. A
        listener is there all the same: no other one may take its connections."""
        key = (type_url, name)
        if key in self._owners or self._fetched.is_held(name):
            return
        if type_url != LDS:
            self.deny(type_url, (name, *aliases))
        elif name in self._asked[LDS]:
            self._absent.discard(key)
            self._refused[key] = why
            self._own_changes += 1

    def demand(self, keys: Iterable[Key]) -> None:
        """What is asked for, virtual hosts, clusters and listeners: exactly these from now on."""
        wanted = list(keys)
        self._fetched.ask(name for kind, name in wanted if kind == VHDS)
        for owner in _OWNERS:
            self._asked[owner] = frozenset(name for kind, name in wanted if kind == owner)
        self._own_answers += 1

    def _forget_owners(self) -> None:
        """Those that were asked for by name and are no more: if they are in all that there is, the
        control plane sends them again (delta xDS)."""
        for kind in _OWNERS:
            named = self._named(kind)
            for name in self._were_named[kind] - named:
                self._disown((kind, name))
                self._absent.discard((kind, name))
                if self._refused.pop((kind, name), None) is not None:
                    self._own_changes += 1  # or it would be told as refused when it is asked again
            self._were_named[kind] = named

    def _named(self, kind: str) -> frozenset[str]:
        """Clusters or listeners that are asked for by name."""
        if kind == LDS:
            return self._asked[LDS]
        return (self._asked[CDS] | self._fetched.clusters()) - self._static_clusters

    @property
    def changes(self) -> int:
        """Grows whenever `snapshot` would be another one, but for its answers."""
        return self._own_changes + self._fetched.changes

    @property
    def answer_changes(self) -> int:
        """Grows whenever `answers` would be others though nothing else of a snapshot is."""
        return self._own_answers + self._fetched.denials

    def answered(self, type_url: str) -> None:
        """A response of this type has come: for CDS and LDS the wait for the first is over."""
        self._answered.add(type_url)

    def has_answer(self, type_url: str) -> bool:
        return type_url in self._answered

    def set_local_secret(self, secret: Secret, now: float) -> None:
        """A secret of our own (`local_secrets`): new, or renewed."""
        self._models[(SDS, secret.name)] = secret
        self._own_changes += 1
        self._supplied((SDS, secret.name), now)

    def advance(self, now: float) -> None:
        """After each response, and when time has passed: what has waited long enough is taken as
        empty, and what nobody names any more is forgotten."""
        self._forget_owners()
        self._forget_unused()
        for key in [key for key, at in self._stale_at.items() if now >= at]:
            del self._stale_at[key]
            self._models[key] = ClusterLoadAssignment(key[1], stale=True)
            self._own_changes += 1
            self._supplied(key, now)
        for key in tuple(self._pending):
            self._settle(key, now)
        if not self._lds_open:
            waited = now - self._started_at >= FETCH_TIMEOUT_S
            warming = any(kind == CDS for kind, _ in self._pending)
            self._lds_open = waited or (CDS in self._answered and not warming)

    # ----------------------------------------------------------------- what goes out

    def subscriptions(self) -> dict[str, frozenset[str] | None]:
        """The names wanted by type, in push order; None is all there are.

        Listeners are asked for when the first clusters are warm, as Envoy does.
        """
        wanted: dict[str, frozenset[str] | None] = {}
        if self._bootstrap.cds_ads:
            wanted[CDS] = self._beside_all(CDS)
        wanted[EDS] = self._names(EDS)
        if self._bootstrap.lds_ads and self._lds_open:
            wanted[LDS] = self._beside_all(LDS)
        wanted[RDS] = self._names(RDS)
        wanted[VHDS] = frozenset(self._fetched.asked)
        standing = {name for _, name in self._standing} if self._bootstrap.ads else set()
        wanted[SDS] = (self._names(SDS) | standing) - self._local_secrets - self._secrets.keys()
        return wanted

    def _beside_all(self, kind: str) -> frozenset[str] | None:
        named = self._named(kind)
        return named | {WILDCARD} if named else None

    def files(self) -> dict[tuple[str, str], set[str]]:
        """(type, path) of the files that have something we want, and its names; none where it is
        all that there is."""
        own = ((CDS, self._bootstrap.cds_path), (LDS, self._bootstrap.lds_path))
        found: dict[tuple[str, str], set[str]] = {one: set() for one in own if one[1]}
        for (kind, name), path in self._files.items():
            found.setdefault((kind, path), set()).add(name)
        return found

    def handed_to(self) -> tuple[str, ...]:
        """Listeners to which connections are handed by one that asks for others by name."""
        if not any(one.asks for one in self._listeners.values()):
            return ()
        return tuple(name for name, one in self._listeners.items() if not one.bind_to_port)

    def versions(self, type_url: str) -> dict[str, str]:
        """The version of each resource held, by name."""
        if type_url == VHDS:
            return self._fetched.versions()
        return {name: raw.version for name, raw in self._raw[type_url].items()}

    def raws(self, type_url: str) -> tuple[Raw, ...]:
        """The accepted resources of a type as they came, for /config_dump and the disk."""
        if type_url == VHDS:
            return tuple(self._fetched.raws())
        return tuple(self._raw[type_url].values())

    def warming(self, type_url: str) -> frozenset[str]:
        """Names of clusters or listeners whose newest version still waits."""
        return frozenset(name for kind, name in self._pending if kind == type_url)

    def awaits_endpoints(self) -> bool:
        """Some cluster's newest version does."""
        return any(
            need[0] == EDS and need not in self._models and need not in self._absent
            for owner in self._pending
            if owner[0] == CDS
            for need in needs(self._owners[owner].newest)
        )

    def next_deadline(self) -> float | None:
        """When `advance` will make a difference, if nothing else comes before."""
        waits = [
            self._waiting_since[key] + FETCH_TIMEOUT_S
            for owner in self._pending
            for key in self._owners[owner].needs
            if key[0] != SDS and key in self._waiting_since
        ]
        if not self._lds_open:
            waits.append(self._started_at + FETCH_TIMEOUT_S)
        return min((*waits, *self._stale_at.values()), default=None)

    def secret(self, name: str) -> Secret | None:
        """The newest one of this name that was accepted or set."""
        model = self._models.get((SDS, name))
        return model if isinstance(model, Secret) else None

    def snapshot(self) -> Snapshot:
        """What is warm now."""
        routes: dict[str, RouteConfiguration] = {}
        secrets = dict(self._secrets)
        for key in self._active_needs():
            model = self._models.get(key)
            if key[0] == RDS:
                routes[key[1]] = self._table(key[1], model)
            elif isinstance(model, Secret):
                secrets[key[1]] = model
        return Snapshot(
            *(dict(self._listeners), dict(self._clusters), dict(self._assignments)),
            *(routes, secrets),
            answers=self.answers(),
            refused=dict(self._refused),
        )

    def _table(self, name: str, model: Resource | None) -> RouteConfiguration:
        if not isinstance(model, RouteConfiguration):
            return RouteConfiguration(name)
        return self._fetched.joined(model) if model.fetches_hosts else model

    def answers(self) -> dict[Key, bool]:
        """Of what was asked for, what is known of it."""
        found = {(VHDS, name): there for name, there in self._fetched.answers().items()}
        here: dict[str, Container[str]] = {CDS: self._clusters, LDS: self._listeners}
        for kind, names in self._asked.items():
            for name in names:
                if name in here[kind] or (kind, name) in self._refused:
                    found[(kind, name)] = True
                elif (kind, name) in self._absent:
                    found[(kind, name)] = False
        return found

    def _active_needs(self) -> Iterator[Key]:
        """RDS and SDS keys that something in force names."""
        for key, users in self._users.items():
            if key[0] != EDS and any(self._owners[user].active is not None for user in users):
                yield key

    def _names(self, type_url: str) -> frozenset[str]:
        """Of what comes from the control plane: files are read, not asked for."""
        found = self._wanted.get(type_url)
        if found is None:
            found = self._wanted[type_url] = frozenset(
                name
                for kind, name in self._users
                if kind == type_url and (kind, name) not in self._files
            )
        return found

    # ----------------------------------------------------------------- who waits for whom

    def _check_static(self, key: Key, model: Resource) -> None:
        kind, name = key
        static: Mapping[str, Iterable[str]] = {
            CDS: (each.name for each in self._bootstrap.clusters),
            LDS: (each.name for each in self._bootstrap.listeners),
            SDS: (*self._secrets, *self._local_secrets),
        }
        if name in static.get(kind, ()):
            raise Rejected("name", "is the name of a static resource of this proxy")
        for secret in static_secrets(model):
            if secret not in self._secrets:
                raise Rejected("", f"there is no static secret `{secret}`")

    def _check_table(self, model: RouteConfiguration) -> None:
        ads = self._bootstrap.ads
        if model.fetches_hosts and (ads is None or not ads.delta):  # Envoy's rule
            raise Rejected("vhds", "needs api_type DELTA_GRPC in ads_config")

    def _check_host(self, name: str, model: VirtualHost) -> None:
        """Against the table that it is for."""
        table = self._models.get((RDS, table_of(name)))
        if isinstance(table, RouteConfiguration) and longest_body(model) > table.max_body_bytes:
            raise Rejected("", f"a body is longer than the table's {table.max_body_bytes} bytes")

    def _check_address(self, key: Key, listener: Listener) -> None:
        """Envoy: two listeners cannot have one address."""
        wanted = {one for one in listener.addresses if one.port or one.path}
        if not listener.bind_to_port or not wanted:
            return
        for other, owner in self._owners.items():
            newest = owner.newest
            if other == key or not isinstance(newest, Listener) or not newest.bind_to_port:
                continue
            for address in newest.addresses:
                if address in wanted:
                    why = f"listener `{newest.name}` has the address {address} already"
                    raise Rejected("address", why)

    def _own(self, key: Key, model: Cluster | Listener, now: float) -> None:
        owner = self._owners.get(key)
        if owner is None:
            owner = self._owners[key] = _Owner(model)
        owner.newest = model
        self._relink(key, owner, now)
        self._settle(key, now)

    def _relink(self, key: Key, owner: _Owner, now: float) -> None:
        """Both versions keep what they name: the one in force until the newest takes over."""
        wanted = needs(owner.newest) | (needs(owner.active) if owner.active else _EMPTY)
        if found := files(owner.newest):
            self._files.update(found)
            self._wanted.clear()
        for need in wanted - owner.needs:
            if need not in self._users:
                self._users[need] = set()
                self._wanted.pop(need[0], None)
            self._users[need].add(key)
            self._waiting_since.setdefault(need, now)
        for need in owner.needs - wanted:
            self._release(need, key)
        owner.needs = wanted

    def _release(self, need: Key, user: Key) -> None:
        users = self._users[need]
        users.discard(user)
        if users:
            return
        del self._users[need]
        self._wanted.pop(need[0], None)
        self._waiting_since.pop(need, None)
        self._files.pop(need, None)
        self._absent.discard(need)
        self._unused.add(need)

    def _forget_unused(self) -> None:
        """Drops what will be unsubscribed from. Not at once: the listener that takes the place of
        another in the same response names the same routes, and they come only once."""
        if not self._unused:
            return
        for need in self._unused - self._users.keys() - self._standing:
            if need[0] != SDS or need[1] not in self._local_secrets:
                self._models.pop(need, None)
                self._stale_at.pop(need, None)
                self._raw[need[0]].pop(need[1], None)
        self._unused.clear()

    def _supplied(self, key: Key, now: float) -> None:
        for user in tuple(self._users.get(key, ())):
            self._settle(user, now)

    def _settle(self, key: Key, now: float) -> None:
        """Puts the newest version in force if all that it names is there."""
        owner = self._owners[key]
        if not all(self._is_there(need, now) for need in needs(owner.newest)):
            self._pending.add(key)
            if owner.active is not None:
                self._publish(key, owner.active)
            return
        self._pending.discard(key)
        owner.active = owner.newest
        self._relink(key, owner, now)
        self._publish(key, owner.active)

    def _is_there(self, need: Key, now: float) -> bool:
        if need in self._models or need in self._absent:
            return need[0] != SDS or need in self._models
        if need[0] == SDS:
            return need[1] in self._secrets
        return now - self._waiting_since.get(need, now) >= FETCH_TIMEOUT_S

    def _publish(self, key: Key, model: Cluster | Listener) -> None:
        if isinstance(model, Listener):
            if self._listeners.get(model.name) != model:
                self._listeners[model.name] = model
                self._own_changes += 1
            return
        assignment = self._assignment(model)
        before = self._clusters.get(model.name), self._assignments.get(model.name)
        if before != (model, assignment):
            self._clusters[model.name] = model
            self._assignments[model.name] = assignment
            self._own_changes += 1

    def _assignment(self, cluster: Cluster) -> ClusterLoadAssignment:
        name = cluster.eds_service_name or cluster.name
        if cluster.type != "EDS":
            return cluster.load_assignment or ClusterLoadAssignment(cluster.name)
        held = self._models.get((EDS, name))
        return held if isinstance(held, ClusterLoadAssignment) else ClusterLoadAssignment(name)

    def _disown(self, key: Key) -> None:
        kind, name = key
        owner = self._owners.get(key)
        if owner is None or name not in self._raw[kind]:
            return
        del self._owners[key], self._raw[kind][name]
        self._pending.discard(key)
        for need in owner.needs:
            self._release(need, key)
        self._listeners.pop(name, None) if kind == LDS else self._clusters.pop(name, None)
        if kind == CDS:
            self._assignments.pop(name, None)
        self._own_changes += 1
