"""The state of a fake Kubernetes cluster, in memory, with the semantics of kube-apiserver 1.36.

Objects, one revision counter for all of them, a log of events that can be compacted, pages with
continue tokens, watches. No HTTP: `kube_server` serves it. What a test makes go wrong is done to
`watches`: cut, told twice, out of order.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
Key = tuple[str, str]
STAMP = "2026-01-01T00:00:00Z"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Refused(Exception):
    """A metav1.Status with an HTTP code."""

    def __init__(self, code: int, reason: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        status = {"kind": "Status", "apiVersion": "v1", "metadata": more.pop("metadata", {})}
        self.status: Document = {**status, "status": "Failure", "message": message}
        self.status |= {"reason": reason, **more, "code": code}


@dataclass(frozen=True)
class Kind:
    """group '' is the core's. versions: the first is the preferred one."""

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version


BUILT_IN = (
    Kind("", ("v1",), "services", "Service", status=True),
    Kind("", ("v1",), "endpoints", "Endpoints"),
    Kind("", ("v1",), "configmaps", "ConfigMap"),
    Kind("", ("v1",), "secrets", "Secret"),
    Kind("", ("v1",), "pods", "Pod", status=True),
    Kind("", ("v1",), "serviceaccounts", "ServiceAccount"),
    Kind("", ("v1",), "namespaces", "Namespace", namespaced=False, status=True),
    Kind("", ("v1",), "nodes", "Node", namespaced=False, status=True),
    Kind("apps", ("v1",), "deployments", "Deployment", status=True),
    Kind("discovery.k8s.io", ("v1",), "endpointslices", "EndpointSlice"),
    Kind("networking.k8s.io", ("v1",), "ingresses", "Ingress", status=True),
    Kind("networking.k8s.io", ("v1",), "ingressclasses", "IngressClass", namespaced=False),
    Kind("coordination.k8s.io", ("v1",), "leases", "Lease"),
)
_ISTIO = ("v1", "v1beta1", "v1alpha3")
CRDS = (
    Kind("networking.istio.io", _ISTIO, "virtualservices", "VirtualService", status=True),
    Kind("networking.istio.io", _ISTIO, "destinationrules", "DestinationRule", status=True),
    Kind("networking.istio.io", _ISTIO, "serviceentries", "ServiceEntry", status=True),
    Kind(
        "security.istio.io",
        ("v1", "v1beta1"),
        "authorizationpolicies",
        "AuthorizationPolicy",
        status=True,
    ),
    Kind("gateway.networking.k8s.io", ("v1", "v1beta1"), "httproutes", "HTTPRoute", status=True),
    Kind("gateway.networking.k8s.io", ("v1", "v1beta1"), "gateways", "Gateway", status=True),
    Kind("gateway.networking.k8s.io", ("v1",), "gatewayclasses", "GatewayClass", False, True),
)


@dataclass(frozen=True)
class Logged:
    revision: int
    type: str
    plural: str
    object: Document
    before: Document | None


class Watch:
    """What one client has still to be told. `put`: lines of bytes, or None for the end."""

    def __init__(self, matches: Callable[[Document], bool], plural: str, bookmarks: bool) -> None:
        self.matches = matches
        self.plural = plural
        self.bookmarks = bookmarks
        self.queue: asyncio.Queue[Document | Exception | None] = asyncio.Queue()

    def tell(self, logged: Logged) -> None:
        """As the object enters the selection, changes within it or leaves it."""
        now = logged.type != "DELETED" and self.matches(logged.object)
        before = logged.before is not None and self.matches(logged.before)
        if now:
            kind = "MODIFIED" if before else "ADDED"
            self.queue.put_nowait({"type": kind, "object": logged.object})
        elif before:
            self.queue.put_nowait({"type": "DELETED", "object": logged.object})


@dataclass
class Cluster:
    kinds: list[Kind] = field(default_factory=lambda: [*BUILT_IN, *CRDS])
    revision: int = 100
    compacted: int = 0
    streaming_lists: bool = True
    log: list[Logged] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    _objects: dict[str, dict[Key, Document]] = field(default_factory=dict)
    _uids: int = 0

    def kind_of(self, group: str, version: str, plural: str) -> Kind:
        for kind in self.kinds:
            if (kind.group, kind.plural) == (group, plural) and version in kind.versions:
                return kind
        raise LookupError(plural)

    def named(self, plural: str) -> Kind:
        return next(kind for kind in self.kinds if kind.plural == plural)

    def remove_kind(self, plural: str) -> None:
        """A CustomResourceDefinition is deleted: its objects go, its watches end."""
        self.kinds.remove(self.named(plural))
        self._objects.pop(plural, None)
        self.cut(plural)

    # ------------------------------------------------------------------ objects

    def objects(self, plural: str) -> dict[Key, Document]:
        return self._objects.setdefault(plural, {})

    def get(self, kind: Kind, key: Key) -> Document:
        found = self.objects(kind.plural).get(key)
        if found is None:
            raise not_found(kind, key[1])
        return found

    def create(self, kind: Kind, namespace: str, document: Document, *, dry: bool = False) -> Any:
        document = copy.deepcopy(document)
        metadata = document.setdefault("metadata", {})
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{self._uids:05d}"
        key = (namespace if kind.namespaced else "", str(metadata.get("name") or ""))
        if not key[1]:
            raise Refused(422, "Invalid", f"{kind.kind} is invalid: metadata.name: Required value")
        if key in self.objects(kind.plural):
            raise Refused(
                409,
                "AlreadyExists",
                f'{_qualified(kind)} "{key[1]}" already exists',
                details={"name": key[1], "kind": kind.plural},
            )
        self._uids += 1
        metadata |= {"uid": f"uid-{self._uids}", "creationTimestamp": STAMP, "generation": 1}
        if kind.namespaced:
            metadata["namespace"] = namespace
        return document if dry else self._store(kind, key, document, "ADDED")

    def update(self, kind: Kind, key: Key, document: Document, part: str = "") -> Document:
        """PUT. part 'status': nothing else is changed, and otherwise all but the status is."""
        before = self.get(kind, key)
        asked = str((document.get("metadata") or {}).get("resourceVersion") or "")
        if asked and asked != before["metadata"]["resourceVersion"]:
            raise conflict(kind, key[1])
        document = copy.deepcopy(document)
        if part == "status":
            said = document.get("metadata") or {}
            managers = {k: v for k, v in said.items() if k == "managedFields"}
            metadata = {**before["metadata"], **managers}
            document = {**before, "metadata": metadata, "status": document.get("status")}
        elif kind.status and "status" in before:
            document["status"] = before["status"]
        kept = {name: before["metadata"].get(name) for name in ("uid", "creationTimestamp")}
        metadata = {**document.get("metadata", {}), **kept}
        generation = before["metadata"].get("generation", 1)
        changed = document.get("spec") != before.get("spec")
        metadata["generation"] = generation + 1 if changed else generation
        if kind.namespaced:
            metadata["namespace"] = key[0]
        metadata["name"] = key[1]
        document = {**document, "metadata": metadata}
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
        if document == before:
            return before  # a write that changes nothing is none
        return self._store(kind, key, document, "MODIFIED")

    def delete(self, kind: Kind, key: Key) -> Document:
        before = self.get(kind, key)
        del self.objects(kind.plural)[key]
        self.revision += 1
        metadata = {**before["metadata"], "resourceVersion": str(self.revision)}
        return self._log("DELETED", kind, {**before, "metadata": metadata}, before)

    def _store(self, kind: Kind, key: Key, document: Document, what: str) -> Document:
        before = self.objects(kind.plural).get(key)
        self.revision += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.revision)}
        stored = {**document, "metadata": metadata}
        stored |= {"kind": kind.kind, "apiVersion": kind.api_version(kind.versions[0])}
        self.objects(kind.plural)[key] = stored
        return self._log(what, kind, stored, before)

    def _log(self, what: str, kind: Kind, document: Document, before: Any) -> Document:
        logged = Logged(self.revision, what, kind.plural, document, before)
        self.log.append(logged)
        for watch in self.watches:
            if watch.plural == kind.plural:
                watch.tell(logged)
        return document

    # ------------------------------------------------------------------ lists

    def listing(
        self, kind: Kind, query: Mapping[str, str], matches: Callable[[Document], bool]
    ) -> Document:
        """ "items" and "metadata" of a list, all or a page of it."""
        asked = query.get("resourceVersion", "")
        self._check_version(query, asked)
        limit = int(query.get("limit") or 0)
        start, revision = "", self.revision
        if token := query.get("continue"):
            revision, start = _read_token(token)
            if revision <= self.compacted:
                message = "The provided continue parameter is too old"
                more = {"metadata": {"continue": _token(-1, start)}}
                raise Refused(410, "Expired", message, **more)
        elif query.get("resourceVersionMatch") == "Exact":
            revision = int(asked)
        found = [one for _, one in sorted(self._at(kind, revision).items()) if matches(one)]
        rest = [one for one in found if _start(one) >= start]
        page = rest[:limit] if limit else rest
        metadata: Document = {"resourceVersion": str(revision)}
        if len(page) < len(rest):
            metadata["continue"] = _token(revision, _start(page[-1]) + "\0")
            metadata["remainingItemCount"] = len(rest) - len(page)
        return {"metadata": metadata, "items": page}

    def _check_version(self, query: Mapping[str, str], asked: str) -> None:
        if asked.isdigit() and int(asked) > self.revision:
            message = f"Timeout: Too large resource version: {asked}, current: {self.revision}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise Refused(
                504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1}
            )
        if query.get("resourceVersionMatch") == "Exact" and int(asked) <= self.compacted:
            message = "The resourceVersion for the provided list is too old."
            raise Refused(410, "Expired", message)

    def _at(self, kind: Kind, revision: int) -> dict[Key, Document]:
        """The collection as it was, by taking back what has been logged since."""
        found = dict(self.objects(kind.plural))
        for logged in reversed(self.log):
            if logged.revision <= revision:
                break
            if logged.plural == kind.plural:
                key = place(logged.object)
                found.pop(key, None)
                if logged.before is not None:
                    found[key] = logged.before
        return found

    # ------------------------------------------------------------------ watches

    def watch(
        self, kind: Kind, query: Mapping[str, str], matches: Callable[[Document], bool]
    ) -> Watch:
        """A watch, with the events that come first already told."""
        asked = query.get("resourceVersion", "")
        watch = Watch(matches, kind.plural, query.get("allowWatchBookmarks") == "true")
        if query.get("sendInitialEvents") == "true":
            if not self.streaming_lists:
                message = "sendInitialEvents is forbidden for watch unless the WatchList is enabled"
                raise Refused(422, "Invalid", message)
            self._tell_all(watch, kind, matches)
            watch.queue.put_nowait(self._bookmark(kind, {"k8s.io/initial-events-end": "true"}))
        elif asked in ("", "0"):
            self._tell_all(watch, kind, matches)
        elif int(asked) < self.compacted:
            message = f"too old resource version: {asked} ({self.compacted})"
            expired = Refused(410, "Expired", message)
            watch.queue.put_nowait({"type": "ERROR", "object": expired.status})
            watch.queue.put_nowait(None)
            return watch
        else:
            for logged in self.log:
                if logged.revision > int(asked) and logged.plural == kind.plural:
                    watch.tell(logged)
        self.watches.append(watch)
        return watch

    def _tell_all(self, watch: Watch, kind: Kind, matches: Callable[[Document], bool]) -> None:
        for _, document in sorted(self.objects(kind.plural).items()):
            if matches(document):
                watch.queue.put_nowait({"type": "ADDED", "object": document})

    def _bookmark(self, kind: Kind, annotations: Mapping[str, str]) -> Document:
        metadata: Document = {"resourceVersion": str(self.revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = dict(annotations)
        version = kind.api_version(kind.versions[0])
        document = {"kind": kind.kind, "apiVersion": version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": document}

    # ------------------------------------------------------------------ what goes wrong

    def bookmark(self) -> None:
        for watch in self.watches:
            if watch.bookmarks:
                watch.queue.put_nowait(self._bookmark(self.named(watch.plural), {}))

    def compact(self) -> None:
        """etcd forgets all but what there is now."""
        self.compacted = self.revision
        self.log.clear()

    def cut(self, plural: str = "", *, cleanly: bool = True, pending: bool = True) -> None:
        """Ends watches. pending False: what was not sent yet is lost with them."""
        for watch in [one for one in self.watches if plural in ("", one.plural)]:
            self.watches.remove(watch)
            if not pending:
                _drain(watch.queue)
            watch.queue.put_nowait(None if cleanly else ConnectionResetError("cut off"))

    def expire_watches(self) -> None:
        """410 in the middle of a watch."""
        expired = Refused(410, "Expired", f"too old resource version: 1 ({self.revision})")
        for watch in self.watches:
            watch.queue.put_nowait({"type": "ERROR", "object": expired.status})
        self.cut()

    def rearrange(
        self, order: Callable[[list[Any]], Iterable[Any]], *, bookmarks: bool = True
    ) -> None:
        """What is under way to each client comes in another order, twice, or not yet. What is no
        change of an object stays behind it; bookmarks False: it is lost."""
        for watch in self.watches:
            waiting = _drain(watch.queue)
            events = [one for one in waiting if _is_change(one)]
            after = [one for one in waiting if bookmarks and not _is_change(one)]
            for event in (*order(events), *after):
                watch.queue.put_nowait(event)


async def told(watch: Watch) -> AsyncGenerator[Document, None]:
    """The events of a watch until it ends. Raises what cuts it."""
    while (one := await watch.queue.get()) is not None:
        if isinstance(one, Exception):
            raise one
        yield one


def place(document: Document) -> Key:
    metadata = document["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def not_found(kind: Kind, name: str) -> Refused:
    message = f'{_qualified(kind)} "{name}" not found'
    return Refused(404, "NotFound", message, details={"name": name, "kind": kind.plural})


def conflict(kind: Kind, name: str) -> Refused:
    message = (
        f'Operation cannot be fulfilled on {_qualified(kind)} "{name}": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", message, details={"name": name, "kind": kind.plural})


def _qualified(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _is_change(one: object) -> bool:
    return isinstance(one, dict) and one["type"] in ("ADDED", "MODIFIED", "DELETED")


def _drain(queue: asyncio.Queue[Any]) -> list[Any]:
    return list(_drained(queue))


def _drained(queue: asyncio.Queue[Any]) -> Iterator[Any]:
    while not queue.empty():
        yield queue.get_nowait()


def _start(document: Document) -> str:
    return "/".join(place(document))


def _token(revision: int, start: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, start]).encode()).decode()


def _read_token(token: str) -> tuple[int, str]:
    revision, start = json.loads(base64.urlsafe_b64decode(token))
    return int(revision), str(start)
