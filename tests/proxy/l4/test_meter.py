"""Istio's metrics of TCP connections: opened, bytes every few seconds, closed."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.json_format import ParseDict
from prometheus_client.parser import text_string_to_metric_families
from udpa.type.v1 import typed_struct_pb2

from proxy.admin.prometheus import exposition
from proxy.config import model
from proxy.config.decode_lds import listener as read
from proxy.config.model.istio import Expression, IstioStats, MetricOverride
from proxy.config.rejected import Rejected
from proxy.connection import ConnectionInfo, PeerCertificate, Secured
from proxy.filters.istio_metrics import OVERFLOW
from proxy.l4.meter import Meter
from proxy.l4.record import Chain, ConnectionRecord, Downstream
from proxy.stats import Labelled, Stats
from tests.support.playbook import cluster
from tests.support.tcp_play import TcpPlay

NAMED = (tcp_proxy_pb2, typed_struct_pb2)
"""What JSON below speaks of."""

LABELS = {"app": "web", "version": "v1"}
WEB = model.Node("n", metadata={"WORKLOAD_NAME": "web-v1", "NAMESPACE": "shop", "LABELS": LABELS})
TO_DB = "outbound|5432||db.data.svc.cluster.local"
DB_ID, WEB_ID = "spiffe://td/ns/data/sa/db", "spiffe://td/ns/shop/sa/web"


def samples(stats: Stats) -> dict[str, Any]:
    """By metric: (labels, value); of each one sample."""
    found = {}
    for family in text_string_to_metric_families("".join(exposition(stats, lambda *_: True))):
        for sample in family.samples:
            if sample.name.startswith("istio_"):
                assert sample.name not in found
                found[sample.name] = (sample.labels, sample.value)
    return found


def values(stats: Stats) -> list[float]:
    """Opened, received, sent, closed."""
    names = ("connections_opened", "received_bytes", "sent_bytes", "connections_closed")
    found = samples(stats)
    return [found[f"istio_tcp_{name}_total"][1] for name in names]


def test_a_connection_from_its_beginning_to_its_end() -> None:
    config = IstioStats(interval_s=5.0)
    with TcpPlay([cluster(TO_DB)], cluster=TO_DB, counted=config, node=WEB) as play:
        client, up = play.client(), play.accept()
        assert values(play.stats) == [1, 0, 0, 0]
        client.say(b"question")
        up.say(b"an answer")
        play.tick(3.0)
        assert values(play.stats) == [1, 0, 0, 0]
        play.tick(4.0)
        assert values(play.stats) == [1, 8, 9, 0]
        up.say(b".")
        client.end_half()
        up.end_half()
        assert values(play.stats) == [1, 8, 10, 1]
        labels, _ = samples(play.stats)["istio_tcp_connections_opened_total"]
    assert (labels["reporter"], labels["request_protocol"]) == ("source", "tcp")
    assert (labels["source_workload"], labels["source_app"]) == ("web-v1", "web")
    assert labels["destination_service"] == "db.data.svc.cluster.local"
    assert (labels["destination_service_name"], labels["response_flags"]) == ("db", "-")
    assert labels["destination_workload"] == "unknown"
    assert "response_code" not in labels


def test_one_that_led_nowhere_is_opened_and_closed() -> None:
    with TcpPlay([], cluster=TO_DB, counted=IstioStats(), node=WEB) as play:
        play.client()
        assert values(play.stats) == [1, 0, 0, 1]
        labels, _ = samples(play.stats)["istio_tcp_connections_closed_total"]
    assert (labels["response_flags"], labels["destination_service"]) == ("NC", "unknown")


def record(**fields: Any) -> ConnectionRecord:
    info = ConnectionInfo(("192.0.2.1", 5000), ("10.0.0.2", 5432), ("10.0.0.2", 5432), **fields)
    return ConnectionRecord(Downstream(info), Chain(), 0.0)


def test_what_comes_in_by_mutual_tls() -> None:
    stats = Stats()
    came = record(tls=True, peer=PeerCertificate(uri_sans=(DB_ID,)))
    Meter(IstioStats(), stats, WEB, WEB_ID.encode(), True).begin(came, None, 0.0).end(came)
    labels, _ = samples(stats)["istio_tcp_connections_closed_total"]
    assert labels["reporter"] == "destination"
    assert (labels["source_principal"], labels["destination_principal"]) == (DB_ID, WEB_ID)
    assert labels["source_workload_namespace"] == "data"
    assert labels["destination_service"] == labels["destination_canonical_service"] == "web"
    assert labels["connection_security_policy"] == "mutual_tls"


def test_principals_of_who_calls() -> None:
    stats, called = Stats(), record()
    ends = PeerCertificate(uri_sans=(DB_ID,)), PeerCertificate(uri_sans=(WEB_ID,))
    tls = Secured("TLSv1.3", "c", *ends)
    Meter(IstioStats(), stats, WEB, b"", False).begin(called, tls, 0.0)
    labels, _ = samples(stats)["istio_tcp_connections_opened_total"]
    assert (labels["source_principal"], labels["destination_principal"]) == (WEB_ID, DB_ID)
    assert labels["destination_service_namespace"] == "data"


def test_overrides() -> None:
    tags = {
        "port": Expression("destination.port"),
        "node": Expression("node.id"),
        "host": Expression("request.host"),
        "flags": Expression("response.flags"),
        "to": Expression("xds.cluster_name"),
    }
    drop = MetricOverride("tcp_sent_bytes_total", drop=True)
    change = MetricOverride("", False, ("source_principal",), tuple(tags.items()))
    stats, called = Stats(), record()
    meter = Meter(IstioStats((drop, change)), stats, WEB, b"", False)
    meter.begin(called, None, 0.0).end(called)
    found = samples(stats)
    assert "istio_tcp_sent_bytes_total" not in found
    labels, _ = found["istio_tcp_connections_opened_total"]
    assert "source_principal" not in labels
    assert [labels[name] for name in tags] == ["5432", "n", "unknown", "-", "unknown"]


def test_labels_are_bounded() -> None:
    stats, called = Stats(), record()
    stats.labelled = Labelled(0)
    meter = Meter(IstioStats(), stats, WEB, b"", False)
    meter.begin(called, None, 0.0).end(called)
    assert samples(stats) == {} and stats.counter(OVERFLOW).value == 1


def test_samples_of_a_connection_stay_as_long_as_it_does() -> None:
    stats, called = Stats(), record()
    stats.labelled = Labelled(8, idle_s=10.0)
    metered = Meter(IstioStats(), stats, WEB, b"", False).begin(called, None, 0.0)

    for now in range(100, 400, 20):
        stats.turn(now)
    metered.end(called)
    assert values(stats) == [1, 0, 0, 1]
    for now in range(400, 700, 20):
        stats.turn(now)
    assert samples(stats) == {}


def test_who_fills_the_metrics_stops_none_that_is_there() -> None:
    """Nor does a new version of the chain."""
    stats, called = Stats(), record()
    stats.labelled = Labelled(4)
    for _ in range(2):
        meter = Meter(IstioStats(), stats, WEB, b"", False)
        meter.begin(called, None, 0.0).end(called)
    assert values(stats) == [2, 0, 0, 2]
    assert stats.counter(OVERFLOW).value == 0


# --------------------------------------------------------------------------- configuration

STATS = {
    "name": "istio.stats",
    "typed_config": {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/stats.PluginConfig",
        "value": {"tcp_reporting_duration": "2s"},
    },
}
RELAY = {
    "name": "envoy.filters.network.tcp_proxy",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "a",
        "cluster": "a",
    },
}


def chain(*filters: Any) -> model.FilterChain:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    value = {"name": "l", "address": address, "filter_chains": [{"filters": list(filters)}]}
    return read(ParseDict(value, Listener())).filter_chains[0]


def test_the_filter_stands_before_the_relay() -> None:
    assert chain(STATS, RELAY).counted == IstioStats(interval_s=2.0)
    assert chain(STATS, RELAY).guards == ()
    assert chain(RELAY).counted is None


def test_it_ends_no_chain() -> None:
    with pytest.raises(Rejected, match=r"filters\[0\]"):
        chain(STATS)
