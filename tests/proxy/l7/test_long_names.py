"""Header names as long as a peer likes: they pass, and nothing of them stays."""

from __future__ import annotations

import gc

from proxy.config import model
from proxy.http.headers import MAX_LASTING_BYTES, Shape
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

NAME = b"n" * MAX_LASTING_BYTES


def kept() -> int:
    gc.collect()
    return sum(isinstance(one, Shape) and not one.lasting for one in gc.get_objects())


def test_long_names_pass_and_are_forgotten() -> None:
    edits = model.HeaderEdits(request_add=(model.HeaderValueOption("x-added", "1"),))
    table = routes(route(timeout_s=1.0), edits=edits)
    before = kept()
    with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
        client = play.client()
        up = None
        for at in range(5):
            name = NAME + b"%d" % at
            client >> b"GET / HTTP/1.1\r\nhost: a\r\n" + name + b": 1\r\n\r\n"
            up = up or play.accept()
            assert name + b": 1\r\n" in up.take()
            up >> b"HTTP/1.1 200 OK\r\n" + name + b": 2\r\ncontent-length: 0\r\n\r\n"
            assert name + b": 2\r\n" in client.take()
        assert kept() == before
