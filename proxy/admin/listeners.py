"""`/listeners`: where the proxy listens, in Envoy's text and JSON."""

from __future__ import annotations

from typing import Any

from proxy.admin.reply import Query, Reply, bad_request, json_reply
from proxy.admin.view import AdminView
from proxy.config.model import SocketAddress


def listeners(view: AdminView, query: Query) -> Reply:
    """?format=text|json"""
    form = query.get("format", "text")
    if form not in ("text", "json"):
        return bad_request("usage: /listeners?format=(json|text)")
    bound = {name: list(map(_address, found)) for name, found in view.listeners().items()}
    if form == "text":
        lines = (f"{name}::{one}\n" for name, found in bound.items() for one in found)
        return Reply("".join(lines))
    return json_reply({"listener_statuses": [_status(*one) for one in bound.items()]})


def _address(bound: tuple[str, int]) -> SocketAddress:
    host, port = bound
    return SocketAddress("", path=host) if host.startswith("/") else SocketAddress(host, port)


def _status(name: str, addresses: list[SocketAddress]) -> dict[str, Any]:
    first, *more = map(address_json, addresses)
    others = {"additional_local_addresses": more} if more else {}
    return {"name": name, "local_address": first, **others}


def address_json(address: SocketAddress) -> dict[str, Any]:
    """`core.v3.Address` in protobuf's JSON."""
    if address.path:
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}
