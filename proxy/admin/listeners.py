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
    bound = [
        (name, SocketAddress("", path=host) if host.startswith("/") else SocketAddress(host, port))
        for name, (host, port) in view.listeners().items()
    ]
    if form == "text":
        return Reply("".join(f"{name}::{address}\n" for name, address in bound))
    statuses = [{"name": name, "local_address": address_json(address)} for name, address in bound]
    return json_reply({"listener_statuses": statuses})


def address_json(address: SocketAddress) -> dict[str, Any]:
    """`core.v3.Address` in protobuf's JSON."""
    if address.path:
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}
