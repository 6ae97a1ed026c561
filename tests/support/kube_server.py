"""A fake API server over HTTP (aiohttp), for a `kube_cluster.Cluster`.

    async with serving(KubeServer(cluster)) as url: ...

Discovery aggregated or not, lists, watches, GET, POST, PUT, PATCH (merge and apply), DELETE, the
status subresource, tokens and what they may do. `away` refuses every connection, `failures` are
answers that come first.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

from tests.support.kube_cluster import (
    VERBS,
    Cluster,
    Document,
    Key,
    Kind,
    Refused,
    not_found,
    told,
)

TOKEN = "admintoken"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass
class KubeServer:
    """forbidden: (verb, plural) pairs. broken: plurals with which it has trouble itself. minor: of
    the version that it says it is."""

    cluster: Cluster = field(default_factory=Cluster)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    failures: list[Refused] = field(default_factory=list)
    aggregated: bool = True
    minor: int = 36
    away: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        self.requests.append((request.method, request.path_qs))
        try:
            self._admit(request)
            return await self._answer(request)
        except Refused as refused:
            headers = {}
            if after := (refused.status.get("details") or {}).get("retryAfterSeconds"):
                headers["Retry-After"] = str(after)
            return web.json_response(refused.status, status=refused.code, headers=headers)

    def _admit(self, request: web.Request) -> None:
        if self.failures:
            raise self.failures.pop(0)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": str(self.minor)})
        if parts[0] == "api":
            group, rest = "", parts[1:]
        elif parts[0] == "apis":
            group, rest = (parts[1] if len(parts) > 1 else ""), parts[2:]
        else:
            return _no_such_path()
        if not rest:
            return self._discovery(request, parts)
        if len(rest) == 1:
            return self._resources(group, rest[0])
        return await self._resource(request, group, rest)

    # ------------------------------------------------------------------ discovery

    def _discovery(self, request: web.Request, parts: list[str]) -> web.Response:
        core = parts[0] == "api"
        groups = sorted({k.group for k in self.cluster.kinds if (k.group == "") == core})
        if len(parts) > 1:
            groups = [group for group in groups if group == parts[1]]
        if self.aggregated and "apidiscovery" in request.headers.get("accept", ""):
            items = [self._group_discovery(group) for group in groups]
            kind = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}
            body = json.dumps({**kind, "metadata": {}, "items": items})
            return web.Response(text=body, headers={"content-type": _AGGREGATED})
        if core:
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        found = [_group(group, self._versions(group)) for group in groups]
        if len(parts) > 1:
            return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **found[0]})
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})

    def _versions(self, group: str) -> list[str]:
        every = [v for kind in self.cluster.kinds if kind.group == group for v in kind.versions]
        return list(dict.fromkeys(every))

    def _of(self, group: str, version: str) -> list[Kind]:
        return [k for k in self.cluster.kinds if k.group == group and version in k.versions]

    def _group_discovery(self, group: str) -> Document:
        versions = [
            {
                "version": version,
                "resources": [_resource_discovery(kind) for kind in self._of(group, version)],
                "freshness": "Current",
            }
            for version in self._versions(group)
        ]
        return {"metadata": {"name": group} if group else {}, "versions": versions}

    def _resources(self, group: str, version: str) -> web.Response:
        kinds = self._of(group, version)
        if not kinds:
            return _no_such_path()
        found = []
        for kind in kinds:
            one: Document = {"name": kind.plural, "singularName": kind.kind.lower()}
            one |= {"namespaced": kind.namespaced, "kind": kind.kind, "verbs": list(VERBS)}
            found.append(one)
            if kind.status:
                found.append({**one, "name": f"{kind.plural}/status", "verbs": ["get", "patch"]})
        version = f"{group}/{version}" if group else version
        body = {"kind": "APIResourceList", "groupVersion": version, "resources": found}
        return web.json_response(body)

    # ------------------------------------------------------------------ resources

    async def _resource(
        self, request: web.Request, group: str, rest: list[str]
    ) -> web.StreamResponse:
        version, *path = rest
        namespace = ""
        if path[0] == "namespaces" and len(path) > 2 and path[2] != "status":
            namespace, path = path[1], path[2:]
        try:
            kind = self.cluster.kind_of(group, version, path[0])
        except LookupError:
            return _no_such_path()
        key = (namespace, path[1]) if len(path) > 1 else None
        part = path[2] if len(path) > 2 else ""
        verb = _verb(request, key)
        if (verb, kind.plural) in self.forbidden:
            raise _forbidden(verb, kind, namespace)
        if kind.plural in self.broken:
            raise Refused(500, "InternalError", "conversion webhook failed")
        if verb == "watch":
            return await self._watch(request, kind, version, namespace)
        body = await _body(request)
        document = self._done(verb, request, kind, namespace, key, part, body)
        if verb != "list":
            document = {**document, "apiVersion": kind.api_version(version)}
        return web.json_response(document, status=201 if verb == "create" else 200)

    def _done(
        self,
        verb: str,
        request: web.Request,
        kind: Kind,
        namespace: str,
        key: Key | None,
        part: str,
        body: Any,
    ) -> Document:
        cluster = self.cluster
        if verb == "list":
            found = cluster.listing(kind, request.query, _selection(request, namespace))
            head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version(kind.versions[0])}
            # As the real one: items of a built-in kind don't say what they are.
            bare = "." not in kind.group or kind.group.endswith("k8s.io")
            items = [_bare(one) if bare else one for one in found["items"]]
            return {**head, **found, "items": items}
        if verb == "create":
            dry = request.query.get("dryRun") == "All"
            return dict(cluster.create(kind, namespace, body, dry=dry))
        assert key is not None
        if verb == "get":
            return cluster.get(kind, key)
        if verb == "delete":
            return cluster.delete(kind, key)
        if part and not kind.status:
            raise not_found(kind, key[1])
        if verb == "update":
            return cluster.update(kind, key, body, part)
        return self._patched(request, kind, key, part, body)

    def _patched(
        self, request: web.Request, kind: Kind, key: Key, part: str, body: Any
    ) -> Document:
        """JSON merge patch; server-side apply and strategic merge are taken for one, which is the
        same as long as no list is merged."""
        cluster = self.cluster
        if key not in cluster.objects(kind.plural):
            if "apply-patch" not in request.content_type:
                raise not_found(kind, key[1])
            return dict(cluster.create(kind, key[0], body))
        before = cluster.get(kind, key)
        after = _merged(before, body)
        if manager := request.query.get("fieldManager"):
            known = before["metadata"].get("managedFields") or []
            new = [] if {"manager": manager} in known else [{"manager": manager}]
            after["metadata"] = {**after["metadata"], "managedFields": [*known, *new]}
        return cluster.update(kind, key, after, part)

    async def _watch(
        self, request: web.Request, kind: Kind, version: str, namespace: str
    ) -> web.StreamResponse:
        watch = self.cluster.watch(kind, request.query, _selection(request, namespace))
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        try:
            async for event in told(watch):
                await response.write(json.dumps(event).encode() + b"\n")
            await response.write_eof()
        except ConnectionResetError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            if watch in self.cluster.watches:
                self.cluster.watches.remove(watch)
        return response

    def leave(self) -> None:
        """The server is gone, and with it its connections."""
        self.away = True
        self.cluster.cut(cleanly=False)


@asynccontextmanager
async def serving(
    handle: Callable[[web.Request], Any], port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serves on 127.0.0.1; its URL."""
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True, ssl_context=tls)
        await site.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def kubeconfig(url: str, token: str = TOKEN, ca_pem: str = "") -> str:
    """As YAML."""
    cluster = {"server": url}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem.encode()).decode()
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        "current-context": "fake",
    }
    return yaml.safe_dump(made)


def _selection(request: web.Request, namespace: str) -> Callable[[Document], bool]:
    """labelSelector by equality, fieldSelector by = and != of metadata.name, .namespace, type."""
    labels = [one.split("=") for one in request.query.get("labelSelector", "").split(",") if one]
    fields = [one for one in request.query.get("fieldSelector", "").split(",") if one]

    def matches(document: Document) -> bool:
        metadata = document["metadata"]
        known = {f"metadata.{name}": metadata.get(name) for name in ("name", "namespace")}
        known["type"] = document.get("type")
        if namespace and metadata.get("namespace") != namespace:
            return False
        had = metadata.get("labels") or {}
        if any(had.get(label) != value for label, value in labels):
            return False
        for one in fields:
            name, unequal, value = one.partition("!=")
            if not unequal:
                name, _, value = one.partition("=")
            if (known.get(name) == value) == bool(unequal):
                return False
        return True

    return matches


def _verb(request: web.Request, key: Key | None) -> str:
    if request.method == "GET":
        if request.query.get("watch") in ("true", "1"):
            return "watch"
        return "list" if key is None else "get"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    if key is None and request.method != "POST":
        message = "the server does not allow this method on the requested resource"
        raise Refused(405, "MethodNotAllowed", message)
    return verbs[request.method]


async def _body(request: web.Request) -> Any:
    data = await request.text()
    return yaml.safe_load(data) if data else {}


def _merged(before: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _forbidden(verb: str, kind: Kind, namespace: str) -> Refused:
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{kind.plural} is forbidden: User "mesh" cannot {verb} resource "{kind.plural}" in API '
        f'group "{kind.group}" {where}'
    )
    return Refused(403, "Forbidden", message, details={"kind": kind.plural})


def _bare(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in ("kind", "apiVersion")}


def _group(name: str, versions: list[str]) -> Document:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def _resource_discovery(kind: Kind) -> Document:
    made: Document = {"resource": kind.plural, "singularResource": kind.kind.lower()}
    made["responseKind"] = {"group": "", "version": "", "kind": kind.kind}
    made["scope"] = "Namespaced" if kind.namespaced else "Cluster"
    made["verbs"] = list(VERBS)
    return made


def _no_such_path() -> web.Response:
    return web.Response(status=404, text="404 page not found\n")
