"""What a slow end makes the proxy hold is a few windows, not a body; by default, over HTTP/2."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.h2_play import HTTP2, H2Client, H2End, H2Up
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

MIB = 1 << 20
PIECE = b"x" * 16_384


def play(http: model.HttpProtocolOptions) -> Playbook:
    inside = listener(routes(route(timeout_s=0.0)), codec="HTTP2")
    return Playbook(config=snapshot([inside], [cluster(http=http)]))


def pour(end: H2End, stream: int) -> int:
    """As much of a body as is taken; how much that is."""
    sent = 0
    while end.wire.local_flow_control_window(stream) >= len(PIECE):
        end.wire.send_data(stream, PIECE)
        sent += len(PIECE)
        end.say()
        if sent > 64 * MIB:
            break
    return sent


@pytest.mark.parametrize("http", [model.HttpProtocolOptions(), HTTP2], ids=["h1", "h2"])
def test_an_upload_that_nobody_takes(http: model.HttpProtocolOptions) -> None:
    with play(http) as it:
        client = H2Client(it)
        stream = client.ask("/", PIECE, "POST", end=False)
        it.accept().stop_reading()
        assert pour(client, stream) <= 4 * MIB


def test_a_download_that_nobody_takes() -> None:
    with play(HTTP2) as it:
        client = H2Client(it)
        first = client.ask("/", PIECE, "POST", end=False)
        up = H2Up(it)
        client.peer.stop_reading()
        up.answer(first, 200, b"", end=False)
        assert pour(up, first) <= 4 * MIB
