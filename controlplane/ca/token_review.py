"""Service-account tokens checked by the API server that issued them (authentication.k8s.io/v1
TokenReview): it knows which pods and accounts are still there.

One POST for each check, over a few kept connections. Our own token is read from its file each
time, since the kubelet renews it there, and the CA of the API server when its file has changed.
"""

from __future__ import annotations

import json
import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from certs.errors import CertificateError
from certs.files import read_public, version_of
from controlplane.ca.caller import Attestation, Caller, Kind, Unauthenticated
from controlplane.ca.service_accounts import IN_CLUSTER, caller_of, fact
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.ca")

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
TIMEOUT_S = 5.0
MAX_CONNECTIONS = 16
_MAX_ANSWER_BYTES = 1 << 20
_GROUP = "system:serviceaccounts"
_EXTRA = "authentication.kubernetes.io/"
_AWAY = "the API server cannot be asked about this token now: try again"


@frozen
class ApiServer:
    """Where the API server is, the CA of its certificate, and the file of our own token."""

    url: str
    ca_file: Path = IN_CLUSTER / "ca.crt"
    token_file: Path = IN_CLUSTER / "token"


class TokenReviews:
    """`async with TokenReviews(...) as tokens`. CertificateError if the CA file is unusable."""

    def __init__(self, server: ApiServer, audiences: tuple[str, ...], trust_domain: str) -> None:
        self._server = server
        self._audiences = audiences
        self._trust_domain = trust_domain
        self._seen = version_of(server.ca_file)
        self._tls = _verifying(server.ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def check(self, token: str, now: float) -> Caller | Unauthenticated:
        self._refresh()
        try:
            answer = await self._ask(token)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.error("TokenReview at %s fails: %s", self._server.url, str(error) or "timeout")
            return Unauthenticated(_AWAY, "review_unavailable")
        return self._judge(answer)

    async def _ask(self, token: str) -> dict[str, Any]:
        assert self._session is not None, "enter it first"
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        ours = read_public(self._server.token_file).decode().strip()
        headers = {"authorization": f"Bearer {ours}"}
        url = self._server.url.rstrip("/") + PATH
        async with self._session.post(
            url, json=review, headers=headers, allow_redirects=False, ssl=self._tls
        ) as response:
            if response.status not in (200, 201):
                raise ValueError(_explain(response.status))
            return _status(await _limited(response))

    def _refresh(self) -> None:
        """Verifies by another CA from now on if the file has changed and holds one: connections
        that were made by the former one are not used again."""
        version = version_of(self._server.ca_file)
        if version == self._seen:
            return
        self._seen = version
        try:
            self._tls = _verifying(self._server.ca_file)
            log.info("read the API server's CA again: %s", self._server.ca_file)
        except CertificateError as error:
            log.error("the API server is verified as before: %s", error)

    def _judge(self, status: dict[str, Any]) -> Caller | Unauthenticated:
        user = status.get("user")
        if status.get("authenticated") is not True or not isinstance(user, dict):
            why = str(status.get("error") or "not authenticated")
            return Unauthenticated(
                f"the API server does not accept the token: {why[:300]!a}", _kind(why)
            )
        if not set(_strings(status.get("audiences"))) & set(self._audiences):
            # An authenticator that knows no audiences leaves them out: valid for the API alone.
            return Unauthenticated(
                f"token is not for any of the audiences {self._audiences}", "token_audience"
            )
        if _GROUP not in _strings(user.get("groups")):
            return Unauthenticated("token is of no service account", "token_subject")
        return caller_of(str(user.get("username")), self._trust_domain, _attestation(user))


def _verifying(ca_file: Path) -> ssl.SSLContext:
    """CertificateError names a file that is not there or holds no certificate."""
    try:
        return ssl.create_default_context(cadata=read_public(ca_file).decode())
    except (ssl.SSLError, ValueError) as error:
        where = "" if str(ca_file) in str(error) else f"{ca_file} holds no certificate: "
        raise CertificateError(f"{where}{error}") from error


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise ValueError(f"the answer is larger than {_MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _status(body: bytes) -> dict[str, Any]:
    """The review's `status`; ValueError if the answer is none."""
    document = json.loads(body)
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, dict):
        raise ValueError("the answer is no TokenReview with a status")
    return status


def _attestation(user: dict[str, Any]) -> Attestation:
    extra = user.get("extra")
    facts = extra if isinstance(extra, dict) else {}

    def first(name: str) -> str:
        return fact(next(iter(_strings(facts.get(_EXTRA + name))), ""))

    return Attestation(
        first("pod-name"),
        first("pod-uid"),
        first("node-name"),
        first("credential-id").removeprefix("JTI="),
    )


def _kind(why: str) -> Kind:
    """By the API server's words, which are for people; only the counter depends on them."""
    if "audience" in why:
        return "token_audience"
    return "token_expired" if "expired" in why else "token_rejected"


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _explain(status: int) -> str:
    if status == 403:
        return "403: bind our service account to ClusterRole system:auth-delegator"
    if status == 401:
        return "401: our own token is not accepted"
    return f"the API server answers {status}"
