"""Decisions of a proxy about inquiries: real connections with real certificates and tokens.

Each trial has listeners of its own (one for each port number that its policies know), all in one
bootstrap, so that one process answers for all trials. What an inquiry says becomes a client: the
identity a certificate, claims a signed token, the remote address an `x-forwarded-for`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from joserfc import jwt
from joserfc.jwk import ECKey

from controlplane.authz.decide import Decision
from controlplane.authz.inquiry import Inquiry
from tests.support.pki import Authority, client_context
from tests.support.ports import Reservation

AT_A_TIME = 8
DEADLINE_S = 20.0
ALLOWED, DENIED = "ALLOWED", "DENIED"
FiltersFor = Callable[[int, tuple[int, ...]], Sequence[Message]]
"""(the listener's port, the numbers that stand for it) -> the filters to judge."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Some filters and what is asked of them. reads_tokens: they do so themselves; else a filter in
    front takes any token of the court's key."""

    name: str
    http: bool
    filters_for: FiltersFor
    inquiries: tuple[Inquiry, ...]
    reads_tokens: bool = False

    @property
    def ports(self) -> list[tuple[int, ...]]:
        return sorted({inquiry.ports for inquiry in self.inquiries})


@dataclass(frozen=True, slots=True)
class Verdict:
    """detail: Envoy's response code details, which name the rule."""

    outcome: str
    detail: str = ""


def key_set(key: ECKey) -> str:
    """The public half as a JWKS document."""
    return json.dumps({"keys": [key.as_dict(private=False)]})


def foretold(decision: Decision, http: bool) -> Verdict:
    """What a proxy says that decides so, where a service that is asked says no."""
    if decision.outcome == "ALLOWED" or not http:
        return Verdict(ALLOWED if decision.outcome == "ALLOWED" else DENIED)
    if decision.asked:
        return Verdict(DENIED, "ext_authz_denied")
    by = decision.by
    if by is None:
        return Verdict(DENIED, _BY.format("none"))
    if by.policy.action != "CUSTOM":
        return Verdict(DENIED, _BY.format(by.name))
    name = f"istio-ext-authz-{by.policy.provider}-{by.name}-deny-due-to-bad-CUSTOM-action"
    return Verdict(DENIED, _BY.format(name))


_BY = "rbac_access_denied_matched_policy[{}]"


@dataclass(slots=True)
class Court:
    """`with Reservation() as ports`: makes a bootstrap for trials, then judges by a process.

    names_rules: the body of a denial is Envoy's response code details; else the proxy's own."""

    trials: Sequence[Trial]
    folder: Path
    reservation: Reservation
    clusters: Sequence[Mapping[str, Any]] = ()
    echo_port: int = 0
    names_rules: bool = True
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "k"}))
    _authority: Authority = field(default_factory=Authority)
    _ports: dict[tuple[str, tuple[int, ...]], int] = field(default_factory=dict)
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def bootstrap(self) -> dict[str, Any]:
        """Each call has listeners on ports of its own."""
        self._ports.clear()
        listeners = [self._listener(t, numbers) for t in self.trials for numbers in t.ports]
        echo = {
            "name": "echo",
            "type": "STATIC",
            "load_assignment": _endpoint("echo", self.echo_port),
        }
        return {"static_resources": {"listeners": listeners, "clusters": [echo, *self.clusters]}}

    def _listener(self, trial: Trial, numbers: tuple[int, ...]) -> dict[str, Any]:
        port = self._ports[trial.name, numbers] = self.reservation.port()
        made = [json_format.MessageToDict(one) for one in trial.filters_for(port, numbers)]
        if trial.http and not trial.reads_tokens:
            made.insert(0, self._tokens())
        filters = [self._manager(made)] if trial.http else [*made, _RELAY]
        return {
            "name": f"{trial.name}-{numbers}",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "listener_filters": [_INSPECTOR],
            "filter_chains": [{"filters": filters, "transport_socket": self._tls()}],
        }

    def _manager(self, filters: list[Any]) -> dict[str, Any]:
        return {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": _type("network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "judged",
                "normalize_path": True,
                "http_filters": [*filters, _ROUTER],
                "route_config": {"virtual_hosts": [_ANSWERS]},
                **({"local_reply_config": _NAMED} if self.names_rules else {}),
            },
        }

    def _tokens(self) -> dict[str, Any]:
        provider = {
            "local_jwks": {"inline_string": key_set(self.key)},
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "scope"]},
        }
        either = [{"provider_name": "any"}, {"allow_missing": {}}]
        rule = {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": either}}}
        return {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": _type("http.jwt_authn.v3.JwtAuthentication"),
                "providers": {"any": provider},
                "rules": [rule],
            },
        }

    def _tls(self) -> dict[str, Any]:
        pair = self._authority.issue(dns=("localhost",))
        certificate = {
            "certificate_chain": {"inline_string": pair.certificate},
            "private_key": {"inline_string": pair.key},
        }
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
                "DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificates": [certificate],
                    "validation_context": {"trusted_ca": {"inline_string": self._authority.pem}},
                },
            },
        }

    # ------------------------------------------------------------------ asking

    async def verdicts(self) -> dict[str, list[Verdict]]:
        """By trial, in the order of its inquiries, of the process that runs the last bootstrap."""
        room = asyncio.Semaphore(AT_A_TIME)
        found: dict[str, list[Verdict]] = {
            trial.name: [Verdict("")] * len(trial.inquiries) for trial in self.trials
        }
        async with asyncio.TaskGroup() as group:
            for trial in self.trials:
                for numbers in _connections(trial):
                    group.create_task(self._ask(trial, numbers, found[trial.name], room))
        return found

    async def _ask(
        self, trial: Trial, indices: list[int], found: list[Verdict], room: asyncio.Semaphore
    ) -> None:
        """The inquiries of one connection."""
        async with room, asyncio.timeout(DEADLINE_S):
            first = trial.inquiries[indices[0]]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                self._ports[trial.name, first.ports],
                ssl=self._context(first.identity),
                server_hostname=first.sni or "",
                local_addr=(first.source_ip, 0),
            )
            try:
                for index in indices:
                    ask = _request if trial.http else _bytes
                    token = self._token(trial.inquiries[index].claims)
                    found[index] = await ask(reader, writer, trial.inquiries[index], token)
            except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as error:
                found[index] = Verdict("CLOSED", repr(error))
            finally:
                await _closed(writer)

    def _token(self, claims: Mapping[str, Any] | None) -> str:
        if claims is None:
            return ""
        return jwt.encode({"alg": "ES256", "kid": "k"}, dict(claims), self.key)

    def _context(self, identity: str) -> ssl.SSLContext:
        if identity not in self._contexts:
            pair = None
            if identity:
                name = f"client{len(self._contexts)}"
                pair = self._authority.issue(uris=(identity,)).write(self.folder, name)
            self._contexts[identity] = client_context(self._authority, pair)
        return self._contexts[identity]


def _connections(trial: Trial) -> list[list[int]]:
    """The indices of inquiries that can share a connection; over TCP none can."""
    if not trial.http:
        return [[index] for index in range(len(trial.inquiries))]
    shared: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(trial.inquiries):
        shared[one.ports, one.identity, one.sni, one.source_ip].append(index)
    return list(shared.values())


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inquiry: Inquiry, token: str
) -> Verdict:
    lines = [f"{inquiry.method} {inquiry.path} HTTP/1.1", f"host: {inquiry.host}"]
    lines += [f"{name}: {value}" for name, value in inquiry.headers.items()]
    if inquiry.remote_ip:
        lines.append(f"x-forwarded-for: {inquiry.remote_ip}")
    if token:
        lines.append(f"authorization: Bearer {token}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = int(head.split(" ", 2)[1])
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
    body = (await reader.readexactly(length)).decode() if inquiry.method != "HEAD" else ""
    if status == 200:
        return Verdict(ALLOWED)
    return Verdict(DENIED if status == 403 else f"{status}", body)


async def _bytes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inquiry: Inquiry, token: str
) -> Verdict:
    try:
        writer.write(b"x")
        return Verdict(ALLOWED if await reader.read(1) == b"x" else DENIED)
    except (ConnectionError, ssl.SSLError):
        return Verdict(DENIED)


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[int]:
    """Each connection gets `answer` until it ends or the block does. Gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await answer(reader, writer)
            await _closed(writer)
        except asyncio.CancelledError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """What stands behind a TCP port: it sends back what it gets. Gives its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            writer.write(data)

    async with served(echo) as port:
        yield port


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.filters.{name}"


def _endpoint(cluster: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"cluster_name": cluster, "endpoints": endpoints}


_INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {
        "@type": _type("listener.tls_inspector.v3.TlsInspector"),
    },
}
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": _type("http.router.v3.Router")},
}
_RELAY = {
    "name": "envoy.filters.network.tcp_proxy",
    "typed_config": {
        "@type": _type("network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "judged",
        "cluster": "echo",
    },
}
_ANSWERS = {
    "name": "all",
    "domains": ["*"],
    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
}
_DENIALS = {
    "status_code_filter": {
        "comparison": {"op": "EQ", "value": {"default_value": 403, "runtime_key": "unused"}}
    }
}
_DETAILS = {"text_format_source": {"inline_string": "%RESPONSE_CODE_DETAILS%"}}
_NAMED = {"mappers": [{"filter": _DENIALS, "body_format_override": _DETAILS}]}
