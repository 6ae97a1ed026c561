"""What a listener logs of a connection: at its end, or because no filter chain is for it."""

from __future__ import annotations

from proxy.l4.record import ConnectionRecord
from proxy.listen.connection_log import log_refused, logged_at_end
from tests.support.filters import info


def test_a_connection_without_a_chain_is_logged_at_once() -> None:
    seen: list[ConnectionRecord] = []
    log_refused([seen.append], info(sni="x.test"))
    [record] = seen
    assert (record.flags, record.detail) == ("NR", "filter_chain_not_found")
    assert record.down.info.sni == "x.test"
    assert record.ended >= record.started


def test_a_connection_is_logged_when_it_is_over() -> None:
    seen: list[ConnectionRecord] = []
    closed: list[bool] = []
    close = logged_at_end([seen.append], info(), lambda: closed.append(True))
    assert not seen
    close()
    assert closed == [True]
    assert (seen[0].flags, seen[0].log_type) == ("", "NotSet")
