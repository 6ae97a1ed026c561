"""How an authorization service is asked, by gRPC or by HTTP, and how its answer is read.

Knows no stream's fate: a question becomes an inquiry, an outcome a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy import match
from proxy.authz.messages import CHECK_PATH, decoded, encoded
from proxy.authz.question import HeaderWrite, HttpPart, Question, Verdict
from proxy.config.model.ext_authz import HttpAuthz, Matchers, Service
from proxy.config.model.services import GrpcService
from proxy.filters.api import FilterContext, FilterStream
from proxy.http.grpc import MessageReader, RpcError, framed
from proxy.http.grpc_call import call_head, error_of
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome
from proxy.http.message import Request

SUCCESS = 200
PARTIAL = b"x-envoy-auth-partial-body"
TO_REMOVE = b"x-envoy-auth-headers-to-remove"
# What an HTTP service is told and may tell without being asked for it (Envoy).
_ASKED = frozenset({":method", ":path", ":authority", "host", "authorization"})
_ALWAYS_TO_CLIENT = frozenset({"www-authenticate", "location", "content-type"})
_NOT_PASSED_ON = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "date", "server", "upgrade",
     "x-envoy-upstream-service-time"}
)  # fmt: skip
NameTest = Callable[[str], bool]
Format = Callable[[str], Callable[[Any], bytes]]


def name_test(matchers: Matchers) -> NameTest | None:
    """Names are compared in lower case. None where nothing was said."""
    if matchers is None:
        return None
    tests = [match.string(each) for each in matchers]

    def test(name: str) -> bool:
        encoded_name = name.encode()
        return any(one(encoded_name) for one in tests)

    return test


class GrpcAuthz:
    """`envoy.service.auth.v3.Authorization/Check`, one call per question."""

    def __init__(self, service: GrpcService, formats: Format) -> None:
        self._service = service
        self._metadata = [(name.encode(), formats(value)) for name, value in service.metadata]

    def tells(self, name: str) -> bool:
        """All headers, unless the filter's own lists say otherwise."""
        return True

    def inquiry(self, of: Any, question: Question) -> Inquiry:
        """of: the stream or connection that metadata may tell of."""
        service = self._service
        pairs: list[tuple[bytes, bytes]] = []
        if service.timeout_s:
            pairs.append((b"grpc-timeout", b"%dm" % (service.timeout_s * 1000)))
        pairs += [(name, value(of)) for name, value in self._metadata]
        body = framed(encoded(question))
        head = call_head(CHECK_PATH, service.told_authority, pairs, len(body))
        return Inquiry(
            service.cluster,
            head,
            body,
            service.timeout_s,
            service.repeats,
            service.max_message_bytes,
            tells=service.envoy_headers,
        )

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.failure:
            return Verdict("ERROR", failure=outcome.failure)
        if (error := error_of(outcome)) is not None:
            return Verdict("ERROR", failure=str(error))
        try:
            messages = MessageReader(self._service.max_message_bytes).feed(outcome.body)
        except RpcError as broken:
            return Verdict("ERROR", failure=str(broken))
        if not messages:
            return Verdict("ERROR", failure="the service answered OK without a message")
        return decoded(messages[0])


class RawHttpAuthz:
    """A plain HTTP service: 200 is consent, 5xx no word at all, the rest a refusal."""

    def __init__(self, service: HttpAuthz, context: FilterContext) -> None:
        self._service = service
        self._asked = name_test(service.asked)
        self._upstream = name_test(service.upstream)
        self._appended = name_test(service.upstream_appended)
        self._client = name_test(service.client)
        self._on_success = name_test(service.client_on_success)
        self._metadata = name_test(service.metadata)
        self._added = [
            (option.name.lower().encode(), context.format(option.value))
            for option in service.headers_to_add
        ]

    def tells(self, name: str) -> bool:
        return name in _ASKED or (self._asked is not None and self._asked(name))

    def inquiry(self, stream: FilterStream, question: Question) -> Inquiry:
        service, part = self._service, question.http
        assert part is not None, "the question is about a request"
        body = part.body or b""
        headers = Headers.of([(b"content-length", b"%d" % len(body))])
        for name, value in part.headers:
            if not name.startswith(":") and name not in _NOT_PASSED_ON:
                headers.add(name.encode(), value)
        for added, value_of in self._added:
            headers.set(added, value_of(stream))
        path = (service.path_prefix + part.path).encode("latin-1")
        head = Request(
            part.method.encode(),
            path,
            part.host.encode("latin-1"),
            headers,
            len(body),
            scheme=part.scheme.encode(),
        )
        return Inquiry(
            service.uri.cluster, head, body, service.uri.timeout_s, service.repeats, forwards=False
        )

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.failure:
            return Verdict("ERROR", failure=outcome.failure)
        if outcome.status >= 500:
            return Verdict("ERROR", failure=f"the service answered {outcome.status}")
        pairs = [
            (name.decode("latin-1").lower(), value)
            for name, value in outcome.headers
            if name.decode("latin-1").lower() not in _NOT_PASSED_ON
        ]
        metadata = {
            name: value.decode("utf-8", "replace")
            for name, value in pairs
            if self._metadata is not None and self._metadata(name)
        }
        if outcome.status == SUCCESS:
            return self._consent(outcome, pairs, metadata)
        writes = tuple(
            HeaderWrite(name, value, "add") for name, value in pairs if self._to_client(name)
        )
        return Verdict("DENIED", outcome.status, writes, body=outcome.body, metadata=metadata)

    def _consent(
        self, outcome: Outcome, pairs: list[tuple[str, bytes]], metadata: dict[str, str]
    ) -> Verdict:
        upstream, appended, client = self._upstream, self._appended, self._on_success
        writes = [HeaderWrite(n, v) for n, v in pairs if upstream is not None and upstream(n)]
        writes += [
            HeaderWrite(n, v, "add") for n, v in pairs if appended is not None and appended(n)
        ]
        removed = outcome.headers.joined(TO_REMOVE) or b""
        return Verdict(
            "OK",
            headers=tuple(writes),
            remove=tuple(
                name.strip().lower()
                for name in removed.decode("latin-1").split(",")
                if name.strip()
            ),
            response_headers=tuple(
                HeaderWrite(n, v, "add") for n, v in pairs if client is not None and client(n)
            ),
            metadata=metadata,
        )

    def _to_client(self, name: str) -> bool:
        return self._client is None or name in _ALWAYS_TO_CLIENT or self._client(name)


Asked = GrpcAuthz | RawHttpAuthz


def asked(service: Service, context: FilterContext) -> Asked:
    if isinstance(service, GrpcService):
        return GrpcAuthz(service, context.format)
    return RawHttpAuthz(service, context)


def http_part(
    stream: FilterStream, id_: str, tells: NameTest, body: bytes | None, partial: bool | None
) -> HttpPart:
    """What is told of a request. partial: whether `body` is all, None where no body is told."""
    request = stream.request
    pairs: list[tuple[str, bytes]] = [
        (":method", request.method),
        (":path", request.path),
        (":authority", request.authority),
        (":scheme", request.scheme),
    ]
    pairs += [
        (name.decode("latin-1"), value)
        for name, value in request.headers
        if name != PARTIAL  # which is for us to say
    ]
    told = tuple([pair for pair in pairs if tells(pair[0])])
    if partial is not None:
        told += ((PARTIAL.decode(), b"true" if partial else b"false"),)
    return HttpPart(
        id_,
        request.method.decode("latin-1"),
        request.path.decode("latin-1"),
        request.authority.decode("latin-1"),
        request.scheme.decode("latin-1"),
        request.version.decode("latin-1"),
        stream.body_received,
        told,
        body,
    )
