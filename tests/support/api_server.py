"""A fake Kubernetes API server that issues and reviews service-account tokens, over real TLS.

It behaves as kube-apiserver 1.36 was recorded to: the same JWT claims, the same answers and words.
"""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web
from joserfc import jwk, jws

from controlplane.ca.token_review import PATH, ApiServer
from tests.support import pki

ISSUER = "https://kubernetes.default.svc"
OWN_TOKEN = "the control plane's own token"
KEY = jwk.RSAKey.generate_key(2048, auto_kid=True)


@dataclass
class FakeApiServer:
    """`answer` replaces the next answers, if set: (status code, body)."""

    key: jwk.RSAKey = field(default_factory=lambda: KEY)
    own_tokens: set[str] = field(default_factory=lambda: {OWN_TOKEN})
    may_review: bool = True
    answer: tuple[int, str] | None = None
    reviews: int = 0
    _issued: dict[str, dict[str, Any]] = field(default_factory=dict)
    _deleted_pods: set[str] = field(default_factory=set)

    def jwks(self) -> str:
        """As /openid/v1/jwks."""
        public = {**self.key.as_dict(private=False), "use": "sig", "alg": "RS256"}
        return json.dumps({"keys": [public]})

    def token(
        self,
        namespace: str,
        account: str,
        *,
        audiences: Iterable[str] = ("istio-ca",),
        pod: str = "",
        node: str = "",
        ttl_s: float = 3600,
        now: float | None = None,
        claims: Mapping[str, object] = MappingProxyType({}),
    ) -> str:
        """As TokenRequest; `claims` replaces some, None takes one away."""
        issued_at = int(time.time() if now is None else now)
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": "u-" + account},
        }
        if pod:
            bound["pod"] = {"name": pod, "uid": "u-" + pod}
        if node:
            bound["node"] = {"name": node, "uid": "u-" + node}
        said = {
            "aud": list(audiences),
            "exp": int(issued_at + ttl_s),
            "iat": issued_at,
            "nbf": issued_at,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid}
        text = jws.serialize_compact(header, json.dumps(said), self.key)
        self._issued[text] = said
        return text

    def delete_pod(self, name: str) -> None:
        self._deleted_pods.add(name)

    def review(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The status of a TokenReview."""
        said = self._issued.get(spec["token"])
        wanted = spec["audiences"]
        if said is None:
            return _no("invalid bearer token")
        if said["exp"] < time.time():
            return _no("[invalid bearer token, service account token has expired]")
        audiences = [name for name in wanted if name in said["aud"]]
        if not audiences:
            have, want = json.dumps(said["aud"]), json.dumps(wanted)
            reason = f"token audiences {have} is invalid for the target audiences {want}"
            return _no(f"[invalid bearer token, {reason}]")
        bound = said["kubernetes.io"]
        pod = bound.get("pod", {})
        if pod.get("name") in self._deleted_pods:
            return _no("[invalid bearer token, pod no longer exists]")
        return {
            "authenticated": True,
            "user": {
                "username": said["sub"],
                "uid": bound["serviceaccount"]["uid"],
                "groups": [
                    "system:serviceaccounts",
                    f"system:serviceaccounts:{bound['namespace']}",
                    "system:authenticated",
                ],
                "extra": _extra(said["jti"], pod, bound.get("node", {})),
            },
            "audiences": audiences,
        }

    async def handle(self, request: web.Request) -> web.Response:
        self.reviews += 1
        if self.answer is not None:
            status, text = self.answer
            return web.Response(status=status, text=text, headers={"location": PATH})
        own = request.headers.get("authorization", "").removeprefix("Bearer ")
        if own not in self.own_tokens:
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if not self.may_review:
            return web.json_response({"kind": "Status", "code": 403}, status=403)
        review = await request.json()
        assert review["apiVersion"] == "authentication.k8s.io/v1"
        assert review["kind"] == "TokenReview"
        return web.json_response({**review, "status": self.review(review["spec"])}, status=201)


@asynccontextmanager
async def serving(fake: FakeApiServer, folder: Path) -> AsyncIterator[ApiServer]:
    """Serves it on 127.0.0.1; `folder` gets the mount of a pod: ca.crt and token."""
    authority = pki.Authority("cluster CA")
    pair = authority.issue(ips=("127.0.0.1",)).write(folder, "apiserver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    (folder / "ca.crt").write_text(authority.pem)
    (folder / "token").write_text(OWN_TOKEN + "\n")
    application = web.Application()
    application.router.add_post(PATH, fake.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield ApiServer(f"https://127.0.0.1:{port}", folder / "ca.crt", folder / "token")
    finally:
        await runner.cleanup()


def _no(error: str) -> dict[str, Any]:
    return {"user": {}, "error": error}


def _extra(jti: str, pod: dict[str, str], node: dict[str, str]) -> dict[str, list[str]]:
    facts = {
        "credential-id": f"JTI={jti}",
        "pod-name": pod.get("name"),
        "pod-uid": pod.get("uid"),
        "node-name": node.get("name"),
    }
    return {f"authentication.kubernetes.io/{name}": [fact] for name, fact in facts.items() if fact}
