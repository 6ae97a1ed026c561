"""What a proxy would refuse in the format of an access log: it would refuse the whole listener.

Knows Envoy's operators by name, those that Weft's proxy writes, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from controlplane.kinds.schema import names

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]+))?%")

NEEDS_PARAMETER = names(
    "CLUSTER_METADATA COMMON_DURATION DYNAMIC_METADATA ENVIRONMENT FILTER_STATE METADATA "
    "QUERY_PARAM REQ REQUEST_HEADER REQ_WITHOUT_QUERY RESP RESPONSE_HEADER RESPONSE_TRAILER "
    "TRAILER UPSTREAM_METADATA"
)
TAKES_PARAMETER = NEEDS_PARAMETER | names(
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT "
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_PEER_CERT_V_END "
    "DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT EMIT_TIME "
    "EMIT_TIME_LOCAL GRPC_STATUS PATH QUERY_PARAMS REQUESTED_SERVER_NAME RESPONSE_CODE_DETAILS "
    "START_TIME START_TIME_LOCAL UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_PEER_CERT_V_END "
    "UPSTREAM_PEER_CERT_V_START UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
)
OPERATORS = TAKES_PARAMETER | names(
    "ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_SENT CONNECTION_TERMINATION_DETAILS "
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_PORT "
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS "
    "DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN "
    "DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT "
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 "
    "DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_TLS_GROUP "
    "DOWNSTREAM_TLS_SESSION_ID UPSTREAM_TLS_GROUP UPSTREAM_TLS_SESSION_ID "
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 "
    "DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN "
    "DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN "
    "DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT "
    "DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT "
    "DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DURATION "
    "FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME PROTOCOL REQUEST_DURATION "
    "REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS "
    "RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION "
    "ROUTE_NAME SPAN_ID STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID "
    "UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED "
    "UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS "
    "UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_URI_SAN "
    "UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER "
    "UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS "
    "UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TLS_CIPHER UPSTREAM_TLS_VERSION "
    "UPSTREAM_TRANSPORT_FAILURE_REASON VIRTUAL_CLUSTER_NAME"
)


def text_fault(text: str) -> str:
    """Why it is no format, or ''."""
    at = 0
    while (at := text.find("%", at)) >= 0:
        if text.startswith("%%", at):
            at += 2
            continue
        found = _OPERATOR.match(text, at)
        if found is None:
            return f"no operator begins at {text[at : at + 20]!r} (a percent sign is written %%)"
        if fault := _operator_fault(found[1], found[2] or ""):
            return fault
        at = found.end()
    return ""


def _operator_fault(name: str, parameter: str) -> str:
    if name not in OPERATORS:
        close = get_close_matches(name, OPERATORS, 1)
        hint = f", did you mean %{close[0]}%?" if close else ""
        return f"%{name}% is not supported{hint}"
    if parameter and name not in TAKES_PARAMETER:
        return f"%{name}% takes no parameter"
    if not parameter and name in NEEDS_PARAMETER:
        return f"%{name}% needs a parameter: %{name}(...)%"
    return ""


def json_fault(text: str) -> str:
    """Of a JSON object whose strings are formats."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        return f"is no JSON: {error}"
    except RecursionError:
        return "is nested too deep"
    if not isinstance(tree, dict):
        return "is no JSON object"
    return next(filter(None, map(text_fault, _strings(tree))), "")


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from _strings(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from _strings(item)
