"""Decodes whom a filter asks: `HttpUri`, `GrpcService`, and how often it asks again."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from envoy.config.core.v3 import base_pb2, grpc_service_pb2, http_uri_pb2

from proxy.config.decode_common import (
    format_string,
    optional_seconds,
    plain_text,
    seconds,
    seconds_or,
    value_or,
)
from proxy.config.decode_retry import RETRY_ON
from proxy.config.model.services import GrpcService, HttpUri
from proxy.config.rejected import Rejected
from proxy.http.inquiry import MAX_ANSWER_BYTES, NEVER, Repeats

_MAX_INTERVAL_FACTOR = 10
"""Envoy: without `max_interval` it is ten times `base_interval`."""
# What Envoy takes for a failure of an HTTP service where the configuration names nothing.
HTTP_FAILURES = frozenset({"5xx", "gateway-error", "connect-failure", "reset"})


def http_uri(message: http_uri_pb2.HttpUri, path: str) -> HttpUri:
    """`message` must be checked."""
    try:
        parts = urlsplit(message.uri)
    except ValueError as error:
        raise Rejected(f"{path}.uri", str(error)) from None
    if "://" not in message.uri:  # Envoy: all before the first slash is the host
        parts = urlsplit(f"//{message.uri}")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return HttpUri(message.cluster, parts.netloc, target, seconds(message.timeout))


def grpc_service(message: grpc_service_pb2.GrpcService, path: str) -> GrpcService:
    """Envoy's own client; the field table refuses the other."""
    inner = message.envoy_grpc
    where = f"{path}.envoy_grpc.retry_policy"
    policy = inner.retry_policy
    if not inner.HasField("retry_policy") and message.HasField("retry_policy"):
        policy, where = message.retry_policy, f"{path}.retry_policy"
    return GrpcService(
        inner.cluster_name,
        inner.authority,
        optional_seconds(message, "timeout") or 0.0,
        tuple(
            (each.key.lower(), format_string(each.value, f"{path}.initial_metadata[{i}].value"))
            for i, each in enumerate(message.initial_metadata)
        ),
        repeats(policy, where, frozenset()) if policy.ByteSize() else NEVER,
        value_or(inner, "max_receive_message_length", 0) or MAX_ANSWER_BYTES,
        not inner.skip_envoy_headers,
    )


def own_grpc_service(message: grpc_service_pb2.GrpcService, path: str) -> GrpcService:
    """Of a service that is told of no request: its metadata is plain text."""
    found = grpc_service(message, path)
    where = f"{path}.initial_metadata"
    plain = [
        (name, plain_text(value, f"{where}[{i}].value"))
        for i, (name, value) in enumerate(found.metadata)
    ]
    return replace(found, metadata=tuple(plain))


def repeats(message: base_pb2.RetryPolicy, path: str, failures: frozenset[str]) -> Repeats:
    """failures: what it is tried again after, where `retry_on` is empty."""
    words = frozenset(word.strip() for word in message.retry_on.split(",") if word.strip())
    if unknown := sorted(words - RETRY_ON):
        raise Rejected(f"{path}.retry_on", f"`{unknown[0]}` is no retry condition")
    most = value_or(message, "num_retries", 1)
    if not message.HasField("retry_back_off"):
        return Repeats(most, words or failures)
    base_s = seconds(message.retry_back_off.base_interval)
    max_s = seconds_or(message.retry_back_off, "max_interval", base_s * _MAX_INTERVAL_FACTOR)
    if max_s < base_s:
        raise Rejected(f"{path}.retry_back_off.max_interval", "is less than base_interval")
    return Repeats(most, words or failures, max(base_s, 0.001), max(max_s, 0.001))
