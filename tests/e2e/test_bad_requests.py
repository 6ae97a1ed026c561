"""Malformed HTTP at each door of the mesh: 400, and the connection is closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.postcard import Postcard, svid, trusting

pytestmark = pytest.mark.timeout(300)

HEADS = {
    "wrong version": b"GET / HTTQ/1.1\r\nhost: messenger\r\n\r\n",
    "not HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nhost: messenger\r\nnonsense\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nhost : messenger\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: m\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "null in value": b"GET / HTTP/1.1\r\nhost: messenger\r\nx-a: a\x00b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("door", ["gateway", "outbound", "inbound"])
@pytest.mark.parametrize("name", HEADS)
async def test_a_malformed_head_is_400_and_closed(
    postcard: Postcard, tmp_path: Path, door: str, name: str
) -> None:
    async with client(postcard, tmp_path, door) as raw:
        await raw.send(HEADS[name])
        message = await raw.final()
        assert message is not None, raw.received
        assert message.status == 400
        assert await raw.closed()


def client(postcard: Postcard, directory: Path, door: str) -> Client:
    """A connection that a browser, an application or another sidecar would make."""
    if door == "gateway":
        return Client(postcard.up.port)
    if door == "outbound":
        return Client(postcard.member("greeter").outbound_port)
    context = trusting(postcard)
    context.load_cert_chain(svid(postcard, "greeter", directory))
    return Client(postcard.member("messenger-v1").inbound_port, context)
