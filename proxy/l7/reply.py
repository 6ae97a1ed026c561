"""Answers that come from the proxy itself, with Envoy's status, body, flag and detail for each.

They are what the data plane itself says; filters make their own.
"""

from __future__ import annotations

from proxy.filters.api import Reply
from proxy.upstream import retry

NO_ROUTE = Reply(404, b"", "NR", "route_not_found")
DROPPED = Reply(
    503, b"drop overload", "DO", "drop_overload", ((b"x-envoy-drop-overload", b"true"),)
)
DROPPED_ALWAYS = Reply(
    503,
    b"unconditional drop overload",
    "UDO",
    "unconditional_drop_overload",
    ((b"x-envoy-unconditional-drop-overload", b"true"),),
)
NO_HEALTHY = Reply(503, b"no healthy upstream", "UH", "no_healthy_upstream")
OVERFLOW = Reply(
    503,
    b"upstream connect error or disconnect/reset before headers. reset reason: overflow",
    "UO",
    "upstream_reset_before_response_started{overflow}",
    ((b"x-envoy-overloaded", b"true"),),
)
ROUTE_TIMEOUT = Reply(504, b"upstream request timeout", "UT", "response_timeout")
PER_TRY_TIMEOUT = Reply(504, b"upstream request timeout", "UT", "upstream_per_try_timeout")
PER_TRY_IDLE_TIMEOUT = Reply(
    504, b"upstream request timeout", "UT", "upstream_per_try_idle_timeout"
)
STREAM_IDLE = Reply(504, b"stream timeout", "SI", "stream_idle_timeout")
REQUEST_TIMEOUT = Reply(408, b"request timeout", "", "request_overall_timeout", close=True)
HEADERS_TIMEOUT = Reply(408, b"request header timeout", "", "request_header_timeout", close=True)
MISSING_HOST = Reply(400, b"", "", "missing_host_header", close=True)
BAD_PATH = Reply(400, b"", "", "path_normalization_failed", close=True)
QUERY_WITHOUT_TYPE = Reply(400, b"", "", "query_missing_content_type", close=True)
STREAM_OVER, UPLOAD_OVER = [
    Reply(status, b"downstream duration timeout", "", "max_duration_timeout", grpc_status=4)
    for status in (504, 408)
]
NO_ORIGIN_FORM = Reply(404, b"", "", "absolute_path_rejected")
UPGRADE_REFUSED = Reply(403, b"", "", "upgrade_failed", close=True)


def cluster_not_found(status: int) -> Reply:
    return Reply(status, b"", "NC", "cluster_not_found")


_RESETS = {
    retry.LOCAL_FAILURE: ("local connection failure", "UF", 503),
    retry.CONNECT_FAILURE: ("remote connection failure", "UF", 503),
    retry.CONNECT_TIMEOUT: ("connection timeout", "UF", 503),
    retry.CONNECTION_TERMINATION: ("connection termination", "UC", 503),
    retry.PROTOCOL_ERROR: ("protocol error", "UPE", 502),
    retry.REMOTE_RESET: ("remote reset", "UR", 503),
    retry.REFUSED: ("remote refused stream reset", "UR", 503),
}


def reset_flag(reason: str) -> str:
    """Envoy's response flag for an answer that the upstream cut short."""
    return _RESETS[reason][1]


def told_reset(reason: str) -> tuple[str, str]:
    """The flag, and Envoy's words."""
    if reason == retry.OVERFLOW:
        return OVERFLOW.flag, reason
    words, flag, _ = _RESETS[reason]
    return flag, words


def upstream_reset(reason: str, detail: str, retried: bool) -> Reply:
    """The upstream was lost before its answer began. detail: the transport's own words, or '';
    they are for the log only, a client need not know what stands behind us."""
    if reason == retry.OVERFLOW:
        return OVERFLOW
    words, flag, status = _RESETS[reason]
    latest = "retried and the latest reset reason" if retried else "reset reason"
    text = f"upstream connect error or disconnect/reset before headers. {latest}: {words}"
    why = words.replace(" ", "_")
    if detail and flag == "UF":
        why += f"|{detail.replace(' ', '_')}"
    return Reply(status, text.encode(), flag, f"upstream_reset_before_response_started{{{why}}}")
