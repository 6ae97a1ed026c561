"""What a client may say of where its tunnel goes (Envoy's `tunneling_config` with formats)."""

from __future__ import annotations

import pytest

from proxy.config.model.listeners import Tunneling
from tests.support.tcp_play import TcpPlay


@pytest.mark.parametrize("name", ["inner:22 http/1.1 x", "a@b", "a/b", "a:1", "\ufffd"])
def test_a_name_that_is_no_host_asks_nobody(name: str) -> None:
    with TcpPlay(tunneling=Tunneling("%REQUESTED_SERVER_NAME%:443")) as play:
        client = play.client(sni=name)
        assert client.state == "aborted"
        assert play.count("upstream_rq_total") == 0
    (record,) = play.records
    assert (record.flags, record.failure) == ("DPE", "the tunnel's hostname is none")
