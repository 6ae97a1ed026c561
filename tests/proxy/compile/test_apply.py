"""A changed snapshot: what stays the same object, what is swapped, what drains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from proxy.config import model
from proxy.l7.manager import HttpManager
from proxy.tls.contexts import ClientTls
from proxy.upstream.way import ALPN
from tests.support.pki import Authority
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot
from tests.support.tls import certificate, validation

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


def direct(body: bytes) -> model.Route:
    return model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(200, body))


def by_rds(*listed: model.Route, clusters: Sequence[model.Cluster] = (), **fields: Any) -> Any:
    """One listener that gets its routes by RDS."""
    table = {"routes": routes(*listed)}
    return snapshot([listener(None)], clusters, routes=table, **fields)


def manager_of(play: Playbook, name: str = "in") -> HttpManager:
    manager = play.runtime.listeners[name].chains[0].manager
    assert isinstance(manager, HttpManager)
    return manager


class TestUnchanged:
    def test_equal_configuration_changes_nothing(self) -> None:
        with Playbook(config=by_rds(route(), clusters=[cluster()])) as play:
            one = play.runtime.listeners["in"]
            manager, running = manager_of(play), play.cluster()
            table = manager.table
            hosts, pick = running.hosts, running.pick
            play.apply(by_rds(route(), clusters=[cluster()]))
            again = play.runtime.listeners["in"]
            assert again is one and manager_of(play) is manager
            assert manager.table is table and not manager.draining
            assert play.cluster() is running
            assert running.hosts is hosts and running.pick is pick

    def test_connections_and_counters_survive_a_changed_cluster(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            play.accept() >> OK
            client << OK
            running = play.cluster()
            changed = cluster(thresholds_default=model.Thresholds(max_requests=7))
            play.apply(replace(play.config, clusters={"a": changed}))
            assert play.cluster() is running and running.config is changed
            assert running.breakers["DEFAULT"].max_requests == 7
            client >> GET
            play.upstream() >> OK
            client << OK
            assert play.count("upstream_cx_total") == 1 and play.count("upstream_rq_total") == 2

    def test_managers_share_a_table_of_the_same_routes(self) -> None:
        config = snapshot(
            [listener(None), listener(None, name="other")],
            [cluster()],
            routes={"routes": routes(route())},
        )
        with Playbook(config=config) as play:
            tables = {id(manager_of(play, name).table) for name in ("in", "other")}
            assert len(tables) == 1


class TestRoutes:
    def test_new_routes_keep_manager_and_connections(self) -> None:
        with Playbook(config=by_rds(direct(b"one"))) as play:
            client = play.client()
            client >> GET
            assert client.take().endswith(b"one")
            manager = manager_of(play)
            play.apply(by_rds(direct(b"two")))
            assert manager_of(play) is manager
            client >> GET
            assert client.take().endswith(b"two") and not client.closed

    def test_a_stream_keeps_what_it_began_with(self) -> None:
        adds = model.HeaderEdits(response_add=(model.HeaderValueOption("x-route", "old"),))
        old = replace(route(), edits=adds)
        with Playbook(config=by_rds(old, clusters=[cluster()])) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            play.apply(by_rds(direct(b"new"), clusters=[cluster()]))
            up >> OK
            assert b"x-route: old\r\n" in client.take()
            client >> GET
            assert client.take().endswith(b"new")

    def test_a_stream_of_a_removed_cluster_ends_well(self) -> None:
        with Playbook(config=by_rds(route(), clusters=[cluster()])) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            play.apply(by_rds(route()))
            up >> OK
            client << OK
            assert up.closed
            client >> GET
            assert client.take().startswith(b"HTTP/1.1 503 ")
            assert play.logged[-1] == (503, "NC", "cluster_not_found")
            assert not any(name.startswith("cluster.a.") for name in play.stats.counters)

    def test_a_cluster_may_come_after_its_route(self) -> None:
        with Playbook(config=by_rds(route())) as play:
            client = play.client()
            client >> GET
            assert client.take().startswith(b"HTTP/1.1 503 ")
            play.apply(by_rds(route(), clusters=[cluster()]))
            client >> GET
            play.accept() >> OK
            client << OK

    def test_routes_that_are_gone_leave_the_last_ones(self) -> None:
        with Playbook(config=by_rds(direct(b"one"))) as play:
            play.apply(snapshot([listener(None)]))
            client = play.client()
            client >> GET
            assert client.take().endswith(b"one")


class TestMembers:
    def test_endpoints_of_the_snapshot_win(self) -> None:
        group = model.LocalityEndpoints(
            ("", "", ""), (model.Endpoint(model.SocketAddress("10.9.9.9", 1)),)
        )
        assignment = model.ClusterLoadAssignment("a", (group,))
        with Playbook() as play:
            play.apply(replace(play.config, assignments={"a": assignment}))
            assert [host.text for host in play.cluster().hosts] == ["10.9.9.9:1"]
            client = play.client()
            client >> GET
            up = play.accept()
            play.apply(replace(play.config, assignments={}))
            up >> OK
            client << OK
            assert up.closed  # its host is gone


class TestListeners:
    def test_a_removed_one_drains(self) -> None:
        with Playbook() as play:
            client, idle = play.client(), play.client()
            client >> GET
            up = play.accept()
            play.apply(snapshot([], [cluster()]))
            assert play.runtime.listeners == {}
            up >> OK
            client << CLOSING
            assert client.closed
            play.tick(10.0)
            assert idle.closed

    def test_a_changed_one_drains_and_is_replaced(self) -> None:
        with Playbook(direct(b"old")) as play:
            old = play.client()
            play.apply(snapshot([listener(routes(direct(b"new")))]))
            old >> GET
            assert old.take().endswith(b"old") and old.closed
            new = play.client()
            new >> GET
            assert new.take().endswith(b"new") and not new.closed
            assert play.count("downstream_rq_total") == 2  # they count together

    def test_an_answer_under_way_is_not_cut(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK[:-1]
            client << OK[:-1]
            play.apply(snapshot([], [cluster()]))
            play.tick(4.0)
            up >> OK[-1:]
            client << b"k"


URI = "spiffe://cluster.local/ns/default/sa/a"


def secrets(authority: Authority) -> dict[str, model.Secret]:
    return {
        "default": model.Secret("default", certificate(authority.issue(uris=(URI,)))),
        "ROOTCA": model.Secret("ROOTCA", validation=validation(authority)),
    }


SDS = model.CommonTls(
    certificate_sds=model.SdsRef("default"), validation_sds=model.SdsRef("ROOTCA")
)


def with_tls(found: dict[str, model.Secret]) -> Any:
    plain = listener(routes(direct(b"x")))
    tls = model.DownstreamTls(SDS, require_client_certificate=True)
    chains = tuple(replace(chain, tls=tls) for chain in plain.filter_chains)
    one = cluster(tls=model.UpstreamTls(SDS, sni="a"))
    return snapshot([replace(plain, filter_chains=chains)], [one], secrets=found)


class TestTls:
    def test_rotation_swaps_contexts_and_nothing_else(self) -> None:
        authority = Authority()
        with Playbook(config=with_tls(secrets(authority))) as play:
            chain = play.runtime.listeners["in"].chains[0]
            before, manager, host = chain.tls, manager_of(play), play.cluster().hosts[0]
            upstream = host.tls
            play.apply(with_tls(secrets(authority)))
            assert play.runtime.listeners["in"].chains[0] is chain
            assert chain.manager is manager and not manager.draining
            assert chain.tls is not before
            assert play.cluster().hosts[0] is host and host.tls is not upstream

    def test_gauges_follow_who_serves(self) -> None:
        names = [
            f"{of}.ssl.certificate.{name}.expiration_unix_time_seconds"
            for of in ("listener.127.0.0.1_80", "cluster.a")
            for name in ("default", "ROOTCA")
        ]
        old, new = Authority(), Authority(lifetime=timedelta(days=9))
        with Playbook(config=with_tls(secrets(old))) as play:
            gauges = [play.stats.gauge(name) for name in names]
            before = [gauge.value for gauge in gauges]
            assert all(before)
            play.apply(with_tls(secrets(new)))
            after = [gauge.value for gauge in gauges]
            assert [after[1] - before[1], after[3] - before[3]] == [8 * 86400] * 2

    def test_the_same_material_keeps_the_context(self) -> None:
        found = secrets(Authority())
        with Playbook(config=with_tls(found)) as play:
            chain = play.runtime.listeners["in"].chains[0]
            before, upstream = chain.tls, play.cluster().hosts[0].tls
            play.apply(with_tls(dict(found)))
            assert chain.tls is before and play.cluster().hosts[0].tls is upstream

    def test_clusters_of_the_same_material_share_one_context(self) -> None:
        """200 of them are rotated in the time of one; what nobody uses any more is let go."""
        authority = Authority()
        config = with_tls(secrets(authority))
        (one,) = config.clusters.values()
        config = replace(config, clusters={name: replace(one, name=name) for name in "abc"})
        with Playbook(config=config) as play:
            clusters = play.runtime.clusters
            assert len(clusters._contexts) == 1
            play.apply(replace(config, secrets=secrets(authority)))
            hosts = [cluster.hosts[0] for cluster in clusters.running.values()]
            assert len({id(cast(ClientTls, host.tls).make(ALPN["HTTP1"])) for host in hosts}) == 1
            assert len(clusters._contexts) == 1

    @pytest.mark.parametrize("busy", [False, True])
    def test_rotation_retires_connections(self, busy: bool) -> None:
        """Idle ones at once, the others when their exchange is over."""
        authority = Authority()
        with Playbook(config=with_tls(secrets(authority))) as play:
            running = play.cluster()
            table = snapshot([listener(routes(route()), name="plain")])
            both = with_tls(secrets(authority))
            play.apply(replace(both, listeners={**both.listeners, **table.listeners}))
            client = play.client("plain")
            client >> GET
            up = play.accept()
            if not busy:
                up >> OK
                assert running.hosts[0].pools
            play.apply(replace(play.config, secrets=secrets(authority)))
            assert up.closed is not busy
            if busy:
                up >> OK
            client << OK
            assert up.closed and not running.hosts[0].pools

    def test_material_that_does_not_fit_changes_nothing(self) -> None:
        authority = Authority()
        good = secrets(authority)
        with Playbook(config=with_tls(good)) as play:
            chain = play.runtime.listeners["in"].chains[0]
            before, upstream = chain.tls, play.cluster().hosts[0].tls
            broken = model.Secret(
                "default",
                model.TlsCertificate(model.DataSource(b"no"), model.DataSource(b"key")),
            )
            play.apply(with_tls({**good, "default": broken}), problems={"listener in", "cluster a"})
            assert chain.tls is before and play.cluster().hosts[0].tls is upstream
            play.apply(with_tls(good))
