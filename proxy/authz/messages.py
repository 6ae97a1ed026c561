"""Envoy's `service.auth.v3`: a question as a CheckRequest, a CheckResponse as a verdict."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from proxy.authz.question import HeaderWrite, How, HttpPart, Peer, Question, Verdict

CHECK_PATH = b"/envoy.service.auth.v3.Authorization/Check"
UNAVAILABLE = Verdict("ERROR", failure="the service is not available")
_Peer = attribute_context_pb2.AttributeContext.Peer
_Http = attribute_context_pb2.AttributeContext.HttpRequest
_Option = base_pb2.HeaderValueOption
_HOW: Mapping[int, How] = {
    _Option.APPEND_IF_EXISTS_OR_ADD: "add",
    _Option.ADD_IF_ABSENT: "add_if_absent",
    _Option.OVERWRITE_IF_EXISTS_OR_ADD: "set",
    _Option.OVERWRITE_IF_EXISTS: "overwrite_if_exists",
}
_NANOS = 1_000_000_000
FORBIDDEN = 403


def encoded(question: Question) -> bytes:
    """A serialized CheckRequest."""
    message = external_auth_pb2.CheckRequest()
    attributes = message.attributes
    _peer(attributes.source, question.source)
    _peer(attributes.destination, question.destination)
    if question.began_unix is not None:
        seconds, part = divmod(question.began_unix, 1.0)
        attributes.request.time.seconds = int(seconds)
        attributes.request.time.nanos = int(part * _NANOS)
    if question.http is not None:
        _http(attributes.request.http, question.http, question)
    attributes.context_extensions.update(question.extensions)
    _metadata(attributes.metadata_context, question.metadata)
    if question.route_metadata:
        _metadata(attributes.route_metadata_context, question.route_metadata)
    if question.sni is not None:
        attributes.tls_session.SetInParent()
        attributes.tls_session.sni = question.sni
    return message.SerializeToString()


def _peer(message: _Peer, peer: Peer) -> None:
    address = message.address.socket_address
    address.address, address.port_value = peer.address
    message.principal = peer.principal
    message.service = peer.service
    if peer.certificate:
        message.certificate = quote(_pem(peer.certificate), safe="")


def _pem(der: bytes) -> str:
    text = b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _http(message: _Http, part: HttpPart, question: Question) -> None:
    message.id, message.method, message.path = part.id, part.method, part.path
    message.host, message.scheme = part.host, part.scheme
    message.protocol, message.size = part.protocol, part.size
    if question.raw_headers:
        for name, value in part.headers:
            message.header_map.headers.add(key=name, raw_value=value)
    else:
        for name, value in part.headers:
            text = _text(value)
            known = message.headers.get(name)
            message.headers[name] = text if known is None else f"{known},{text}"
    if part.body is not None and question.raw_body:
        message.raw_body = part.body
    elif part.body is not None:
        message.body = _text(part.body)


def _text(value: bytes) -> str:
    """A string of protobuf is UTF-8; of what is none, each wrong byte is told as `!` (Envoy)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace").replace("\ufffd", "!")


def _metadata(message: base_pb2.Metadata, given: Mapping[str, Mapping[str, Any]]) -> None:
    message.SetInParent()
    for namespace, values in given.items():
        message.filter_metadata[namespace].update(dict(values))


# --------------------------------------------------------------------------- the answer


def decoded(data: bytes) -> Verdict:
    """What a serialized CheckResponse says; bytes that are none are an error of the service."""
    try:
        message = external_auth_pb2.CheckResponse.FromString(data)
    except DecodeError:
        return Verdict("ERROR", failure="the service's answer is no CheckResponse")
    metadata = _struct(message.dynamic_metadata)
    if message.status.code == 0:
        return _ok(message.ok_response, metadata)
    if message.WhichOneof("http_response") == "error_response":
        return _refusal("ERROR", message.error_response, metadata)
    return _refusal("DENIED", message.denied_response, metadata)


def _ok(message: external_auth_pb2.OkHttpResponse, metadata: Mapping[str, Any]) -> Verdict:
    return Verdict(
        "OK",
        headers=_for_request(message.headers),
        remove=tuple(name.lower() for name in message.headers_to_remove),
        response_headers=_for_answer(message.response_headers_to_add, "add"),
        query_set=tuple((each.key, each.value) for each in message.query_parameters_to_set),
        query_remove=tuple(message.query_parameters_to_remove),
        metadata=metadata or _struct(message.dynamic_metadata),
    )


def _refusal(
    kind: Any, message: external_auth_pb2.DeniedHttpResponse, metadata: Mapping[str, Any]
) -> Verdict:
    status = int(message.status.code)
    if kind == "DENIED":
        status = status or FORBIDDEN
    return Verdict(
        kind,
        status,
        _for_answer(message.headers, "append"),
        body=message.body.encode(),
        metadata=metadata,
    )


def _for_request(options: Iterable[_Option]) -> tuple[HeaderWrite, ...]:
    """Envoy looks at the old field `append` only."""
    return tuple(_write(each, "append" if each.append.value else "set") for each in options)


def _for_answer(options: Iterable[_Option], appended: How) -> tuple[HeaderWrite, ...]:
    """appended: what the old field `append: true` means."""
    found = []
    for each in options:
        how = _HOW.get(each.append_action, "add")
        if each.HasField("append"):
            how = appended if each.append.value else "set"
        found.append(_write(each, how))
    return tuple(found)


def _write(option: _Option, how: How) -> HeaderWrite:
    value = option.header.raw_value or option.header.value.encode()
    return HeaderWrite(option.header.key.lower(), value, how)


def _struct(message: struct_pb2.Struct) -> Mapping[str, Any]:
    return MessageToDict(message) if message.fields else {}
