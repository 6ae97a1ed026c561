"""The admin pages as functions of a view."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.admin.pages import PAGES, respond
from proxy.admin.redact import REDACTED, REDACTED_BYTES, redact
from proxy.admin.reply import PARTS_PER_PIECE, Reply, json_reply
from proxy.admin.tags import extract
from proxy.admin.view import AdminView, DumpedResource, ServerState
from proxy.config import model
from proxy.connection import ConnectionInfo, PeerCertificate
from proxy.denials import Denial
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster
from tests.support.pki import Authority
from tests.support.tls import certificate, validation

NOW_S = 1_800_000_000.0


class Proxy:
    """A proxy that remembers what was asked of it."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.state: ServerState = "LIVE"
        self.calls: list[str] = []
        self.resources: list[DumpedResource] = []
        self.secrets: list[model.Secret] = []
        self.clusters: list[Cluster] = []
        self.view = AdminView(
            stats=self.stats,
            state=lambda: self.state,
            uptime_s=lambda: 61.5,
            now_s=lambda: NOW_S,
            clusters=lambda: self.clusters,
            listeners=lambda: {"in": [("127.0.0.1", 8080)], "six": [("::1", 8081), ("::2", 8081)]},
            quit=lambda: self.calls.append("quit"),
            drain_listeners=lambda inbound, graceful: self.calls.append(
                f"drain inbound={inbound} graceful={graceful}"
            ),
            fail_health_check=lambda fail: self.calls.append(f"fail={fail}"),
            node=model.Node("n1", "web.default", ("r", "z", "")),
            dynamic_clusters=lambda: frozenset({"outbound|80||db.shop.svc.cluster.local"}),
            secrets=lambda: self.secrets,
            bootstrap=lambda: {"node": {"id": "n1"}},
            resources=lambda: self.resources,
        )

    def ask(self, target: str, method: str = "GET", origin: str = "") -> Reply:
        return respond(self.view, method, target, "127.0.0.1:15000", origin)

    def text(self, target: str) -> str:
        return "".join(self.ask(target).body)

    def json(self, target: str) -> Any:
        reply = self.ask(target)
        assert (reply.status, reply.content_type) == (200, "application/json")
        return json.loads("".join(reply.body))


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


# --------------------------------------------------------------------------- the table


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_and_only_post_changes(proxy: Proxy, path: str) -> None:
    changes = PAGES[path].changes
    query = "?key=1" if path == "/runtime_modify" else ""
    assert proxy.ask(path + query, "POST").status == 200
    got = proxy.ask(path)
    assert got.status == (405 if changes else 200)
    if changes:
        assert got.body == "Method GET not allowed, POST required."
    assert proxy.ask(path, "DELETE").status == 405


def test_unknown_path_lists_the_known_ones(proxy: Proxy) -> None:
    reply = proxy.ask("/nope?x=1")
    assert reply.status == 404
    assert "".join(reply.body).startswith("invalid path. admin commands are:\n")
    assert all(f"  {path}" in proxy.text("/help") for path in PAGES)


def test_another_sites_page_changes_nothing(proxy: Proxy) -> None:
    assert proxy.ask("/healthcheck/fail", "POST", "https://evil.example").status == 403
    assert proxy.ask("/healthcheck/fail", "POST", "null").status == 403
    assert proxy.calls == []
    assert proxy.ask("/healthcheck/fail", "POST", "http://127.0.0.1:15000").status == 200
    assert proxy.calls == ["fail=True"]


def test_changes(proxy: Proxy) -> None:
    proxy.stats.counter("a").value = 5
    proxy.ask("/drain_listeners?inboundonly", "POST")
    proxy.ask("/healthcheck/ok", "POST")
    proxy.ask("/reset_counters", "POST")
    reply = proxy.ask("/quitquitquit", "POST")
    assert proxy.stats.counter("a").value == 0
    assert proxy.calls == ["drain inbound=True graceful=False", "fail=False"]
    assert reply.after is not None  # the answer leaves first
    reply.after()
    assert proxy.calls[-1] == "quit"
    assert proxy.ask("/drain_listeners?skip_exit", "POST").status == 400


def test_what_has_labels(proxy: Proxy) -> None:
    counter = proxy.stats.labelled.counter("istio_x_total", (("who", "a\nserver.live: 9"),))
    assert counter is not None
    counter.value = 5
    assert "istiocustom.istio_x_total.who.a_server.live: 9: 5\n" in proxy.text("/stats")
    proxy.ask("/reset_counters", "POST")
    assert counter.value == 0


@pytest.mark.parametrize("state", ["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"])
def test_ready(proxy: Proxy, state: ServerState) -> None:
    proxy.state = state
    reply = proxy.ask("/ready")
    assert (reply.status, reply.body) == (200 if state == "LIVE" else 503, state + "\n")


def test_server_info(proxy: Proxy) -> None:
    info = proxy.json("/server_info")
    assert (info["state"], info["uptime_current_epoch"]) == ("LIVE", "61s")
    assert info["node"]["locality"] == {"region": "r", "zone": "z", "sub_zone": ""}


def test_memory(proxy: Proxy) -> None:
    found = proxy.json("/memory")
    assert int(found["total_physical_bytes"]) > 1_000_000


def test_logging(proxy: Proxy) -> None:
    assert proxy.ask("/logging?level=bogus", "POST").status == 400
    assert proxy.ask("/logging?paths=no.such:debug", "POST").status == 400
    assert "  weft: debug\n" in "".join(proxy.ask("/logging?level=debug", "POST").body)
    assert "  weft: warning\n" in "".join(proxy.ask("/logging?paths=weft:warning", "POST").body)


# --------------------------------------------------------------------------- statistics


def test_stats_text_and_filters(proxy: Proxy) -> None:
    proxy.stats.counter("cluster.b.upstream_rq_total").value = 3
    proxy.stats.gauge("cluster.a.upstream_cx_active").value = 1
    proxy.stats.counter("cluster.a.idle")
    proxy.stats.histogram("cluster.a.upstream_rq_time")
    for value in (3.0, 30.0):
        proxy.stats.histogram("http.x.downstream_rq_time").record(value)
    assert proxy.text("/stats").splitlines() == [
        "cluster.a.idle: 0",
        "cluster.a.upstream_cx_active: 1",
        "cluster.b.upstream_rq_total: 3",
        "cluster.a.upstream_rq_time: No recorded values",
        "http.x.downstream_rq_time: P0(nan,5) P25(nan,5) P50(nan,5) P75(nan,50) P90(nan,50) "
        "P95(nan,50) P99(nan,50) P99.5(nan,50) P99.9(nan,50) P100(nan,50)",
    ]
    assert proxy.text("/stats?filter=_total$") == "cluster.b.upstream_rq_total: 3\n"
    assert proxy.text("/stats?filter=cluster|http&invert_filter") == ""
    assert "idle" not in proxy.text("/stats?usedonly")
    assert proxy.text("/stats?type=Gauges") == "cluster.a.upstream_cx_active: 1\n"


def test_stats_json(proxy: Proxy) -> None:
    proxy.stats.counter("a.b").value = 2
    proxy.stats.histogram("c.d").record(0.2)
    found = proxy.json("/stats?format=json")["stats"]
    assert found[0] == {"name": "a.b", "value": 2}
    computed = found[1]["histograms"]["computed_quantiles"][0]
    assert (computed["name"], len(computed["values"])) == ("c.d", 10)


@pytest.mark.parametrize(
    "query",
    ["filter=(", "format=html", "histogram_buckets=detailed", "type=x", "filter=" + "a" * 2000],
)
def test_bad_stats_queries(proxy: Proxy, query: str) -> None:
    assert proxy.ask("/stats?" + query).status == 400


ISTIO = "outbound|80|v1|db.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "expected", "tags"),
    [
        ("cluster.web.upstream_rq_503", "cluster.upstream_rq", {"response_code": "503"}),
        ("cluster.web.upstream_rq_5xx", "cluster.upstream_rq_xx", {"response_code_class": "5"}),
        ("cluster.web.upstream_rq_total", "cluster.upstream_rq_total", {}),
        (f"cluster.{ISTIO}.upstream_rq_total", "cluster.upstream_rq_total", {}),
        (
            f"cluster.{ISTIO}.outlier_detection.ejections_active",
            "cluster.outlier_detection.ejections_active",
            {},
        ),
        (
            "cluster.web.circuit_breakers.default.cx_open",
            "cluster.circuit_breakers.default.cx_open",
            {},
        ),
        (
            "http.in_0.0.0.0_80.downstream_rq_2xx",
            "http.downstream_rq_xx",
            {"http_conn_manager_prefix": "in_0.0.0.0_80", "response_code_class": "2"},
        ),
        (
            "http.ingress.rds.local.routes.update_success",
            "http.rds.update_success",
            {"http_conn_manager_prefix": "ingress", "rds_route_config": "local.routes"},
        ),
        (
            "listener.127.0.0.1_8080.downstream_cx_total",
            "listener.downstream_cx_total",
            {"listener_address": "127.0.0.1_8080"},
        ),
        (
            "listener.[__1]_80.ssl.ciphers.TLS_AES_256_GCM_SHA384",
            "listener.ssl.ciphers",
            {"listener_address": "[__1]_80", "ssl_cipher": "TLS_AES_256_GCM_SHA384"},
        ),
        (
            "cluster.web.grpc.test.Echo.Get.total",
            "cluster.grpc.Get.total",
            {"grpc_bridge_service": "test", "grpc_bridge_method": "Echo"},
        ),
        (f"cluster.{ISTIO}.grpc.0", "cluster.grpc.0", {}),
        (
            "in.http_local_rate_limit.ok",
            "http_local_rate_limit.ok",
            {"local_http_ratelimit_prefix": "in"},
        ),
        ("server.live", "server.live", {}),
        ("listener_manager.listener_added", "listener_manager.listener_added", {}),
    ],
)
def test_tags(name: str, expected: str, tags: dict[str, str]) -> None:
    bare, found = extract(name)
    if name.startswith("cluster."):
        cluster = ISTIO if ISTIO in name else "web"
        tags = {**tags, "cluster_name": cluster}
    assert (bare, dict(found)) == (expected, tags)


def test_prometheus_text_is_prometheus_text(proxy: Proxy) -> None:
    stats = proxy.stats
    for code in ("200", "503", "2xx", "total"):
        stats.counter(f"cluster.web.upstream_rq_{code}").value = 4
    stats.counter(f"cluster.{ISTIO}.upstream_rq_total").value = 9
    stats.counter('http.odd"prefix\\.downstream_rq_total').value = 1
    stats.gauge("listener.127.0.0.1_80.downstream_cx_active").value = 2
    stats.gauge("server.live").value = 1
    for value in (0.3, 7.0, 90000.0):
        stats.histogram("cluster.web.upstream_rq_time").record(value)

    text = proxy.text("/stats/prometheus")

    assert proxy.ask("/stats/prometheus").content_type.startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(text))
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    web = ("envoy_cluster_name", "web")
    # This parser reads every counter as one that ends in _total; Prometheus takes it as it is.
    rq = "envoy_cluster_upstream_rq"
    assert samples[rq + "_total", (web, ("envoy_response_code", "503"))] == 4
    assert samples[rq + "_xx_total", (web, ("envoy_response_code_class", "2"))] == 4
    assert f'\n{rq}{{envoy_response_code="503",envoy_cluster_name="web"}} 4\n' in text
    assert samples["envoy_cluster_upstream_rq_total", (("envoy_cluster_name", ISTIO),)] == 9
    odd = (("envoy_http_conn_manager_prefix", 'odd"prefix\\'),)
    assert samples["envoy_http_downstream_rq_total", odd] == 1
    assert samples["envoy_server_live", ()] == 1
    time = "envoy_cluster_upstream_rq_time"
    assert f"# TYPE {time} histogram\n" in text
    assert samples[time + "_bucket", (web, ("le", "10"))] == 2
    assert samples[time + "_bucket", (web, ("le", "+Inf"))] == 3
    assert samples[time + "_sum", (web,)] == 90007.3
    types = re.findall("# TYPE (.*)", text)
    assert len(types) == len(set(types))
    assert proxy.text("/stats?format=prometheus") == text
    assert "upstream_rq_time" not in proxy.text("/stats/prometheus?filter=server")


# --------------------------------------------------------------------------- clusters, listeners


def cluster(proxy: Proxy, config: model.Cluster, *hosts: model.Endpoint) -> Cluster:
    made = Cluster(config, proxy.stats, Random(1), lambda *_: None, lambda _: None)
    places = (model.LocalityEndpoints(("r", "z", ""), hosts),)
    made.set_endpoints(model.ClusterLoadAssignment(config.name, places))
    proxy.clusters.append(made)
    return made


def test_clusters(proxy: Proxy) -> None:
    made = cluster(
        proxy,
        model.Cluster("outbound|80||db.shop.svc.cluster.local"),
        model.Endpoint(model.SocketAddress("10.0.0.1", 80), hostname="a", weight=3),
        model.Endpoint(model.SocketAddress("fd00::1", 80), "DRAINING"),
    )
    made.hosts[0].ejected = True
    made.hosts[0].rq_total = 7
    name = made.name
    lines = proxy.text("/clusters").splitlines()
    assert f"{name}::added_via_api::true" in lines
    assert f"{name}::10.0.0.1:80::rq_total::7" in lines
    assert f"{name}::10.0.0.1:80::health_flags::/failed_outlier_check" in lines
    assert f"{name}::[fd00::1]:80::health_flags::/eds_status_draining" in lines
    assert proxy.text("/clusters?filter=nothing") == ""
    assert proxy.ask("/clusters?filter=(").status == 400
    status = proxy.json("/clusters?format=json")["cluster_statuses"][0]
    assert status["added_via_api"] is True
    assert status["host_statuses"][0]["health_status"]["failed_outlier_check"] is True
    assert {"value": "7", "name": "rq_total"} in status["host_statuses"][0]["stats"]


def test_listeners(proxy: Proxy) -> None:
    assert proxy.text("/listeners") == ("in::127.0.0.1:8080\nsix::[::1]:8081\nsix::[::2]:8081\n")
    statuses = proxy.json("/listeners?format=json")["listener_statuses"]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}
    assert statuses[0] == {"name": "in", "local_address": address}
    more = [{"socket_address": {"address": "::2", "port_value": 8081}}]
    assert statuses[1]["additional_local_addresses"] == more
    assert proxy.ask("/listeners?format=xml").status == 400


def test_who_was_denied(proxy: Proxy) -> None:
    assert proxy.text("/rbac") == "nobody was denied anything\n"
    address = ("10.0.0.1", 1)
    caller = ConnectionInfo(
        ("192.0.2.7", 5), address, address, peer=PeerCertificate(("spiffe://a",))
    )
    asked = (b"GET", b"b.test", b"/p" + b"x" * 600)
    for shadow, who, rest in (
        (False, ConnectionInfo(("192.0.2.7", 5), address, address), ()),
        (True, caller, asked),
    ):
        proxy.view.denials.note(
            Denial(
                *(NOW_S + shadow, shadow, "http.in.", "DENY", "p" if shadow else "", "a.yaml:3:1"),
                *(who, *rest),
            )
        )
    first, second = proxy.text("/rbac").splitlines()
    assert " would deny spiffe://a GET b.test/pxx" in first and ": p (a.yaml:3:1) [http." in first
    assert " denied 192.0.2.7: no policy applied (a.yaml:3:1) [http.in.]" in second
    newest, _ = proxy.json("/rbac?format=json")["denials"]
    assert newest["principal"] == "spiffe://a" and len(newest["path"]) == 512
    assert newest["time"].endswith("Z") and newest["shadow"] is True
    assert len(proxy.json("/rbac?format=json&shadow=false")["denials"]) == 1


# --------------------------------------------------------------------------- configuration


def resource(type_url: str, name: str, body: Mapping[str, Any], **fields: Any) -> DumpedResource:
    return DumpedResource(type_url, name, lambda: body, updated_at_s=NOW_S, **fields)


def test_config_dump_shows_fetched_virtual_hosts_in_their_tables(proxy: Proxy) -> None:
    proxy.resources = [
        resource(RDS, "t", {"name": "t", "virtual_hosts": [{"name": "own"}]}),
        resource(RDS, "other", {"name": "other"}),
        resource(VHDS, "t/one", {"name": "t/one"}),
        resource(VHDS, "t/two", {"name": "t/two"}),
    ]
    entries = proxy.json("/config_dump?resource=dynamic_route_configs")["configs"]
    shown = [entry["route_config"].get("virtual_hosts", []) for entry in entries]
    assert [[one["name"] for one in hosts] for hosts in shown] == [["own", "t/one", "t/two"], []]


def test_config_dump(proxy: Proxy) -> None:
    key = {"tls_certificate": {"private_key": {"inline_bytes": "c2VjcmV0"}}}
    proxy.resources = [
        resource(LDS, "in", {"name": "in"}, version="v1", error="address: missing"),
        resource(CDS, "web", {"name": "web"}, static=True),
        resource(SDS, "default", {"name": "default", **key}, version="v2"),
        resource(EDS, "web", {"cluster_name": "web"}, version="v3"),
    ]
    configs = proxy.json("/config_dump")["configs"]
    assert [each["@type"].rpartition(".")[2] for each in configs] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "SecretsConfigDump",
    ]
    assert configs[1]["static_clusters"][0]["cluster"] == {"@type": CDS, "name": "web"}
    listener = configs[2]["dynamic_listeners"][0]
    assert configs[2]["version_info"] == listener["active_state"]["version_info"] == "v1"
    assert listener["active_state"]["last_updated"] == "2027-01-15T08:00:00.000Z"
    assert listener["error_state"] == {"details": "address: missing"}
    secret = configs[3]["dynamic_active_secrets"][0]
    assert secret["name"] == "default"
    assert secret["secret"]["tls_certificate"]["private_key"] == {"inline_bytes": REDACTED_BYTES}

    everything = proxy.json("/config_dump?include_eds")["configs"]
    assert everything[2]["dynamic_endpoint_configs"][0]["endpoint_config"]["cluster_name"] == "web"
    assert proxy.json("/config_dump?resource=static_clusters")["configs"][0]["cluster"]
    assert proxy.json("/config_dump?resource=static_listeners") == {}
    assert proxy.ask("/config_dump?resource=everything").status == 400
    assert proxy.ask("/config_dump?mask=a").status == 400
    assert len(proxy.json("/config_dump?name_regex=web")["configs"]) == 2


def test_redaction_goes_deep() -> None:
    secret = "hunter2"
    shown = redact(
        {
            "filter_chains": [
                {
                    "transport_socket": {
                        "tls_certificates": [
                            {
                                "certificate_chain": {"inline_string": "public"},
                                "private_key": {"inline_string": secret},
                                "password": {"inline_bytes": secret},
                            },
                            {"private_key": {"filename": "/etc/key.pem"}},
                        ]
                    }
                }
            ],
            "initial_metadata": [{"key": "Authorization", "value": f"Bearer {secret}"}],
            "users": {"inline_string": f"bob:{secret}"},
            "session_ticket_keys": {"keys": [{"inline_bytes": secret}]},
        }
    )
    text = json.dumps(shown)
    assert secret not in text
    assert "public" in text
    assert "/etc/key.pem" in text
    assert shown["initial_metadata"][0] == {"key": "Authorization", "value": REDACTED}


def test_certs(proxy: Proxy) -> None:
    root = Authority()
    pair = root.issue(uris=("spiffe://td/ns/a/sa/b",), dns=("b.test",), ips=("10.0.0.1",))
    proxy.secrets = [
        model.Secret("default", certificate=certificate(pair)),
        model.Secret("ROOTCA", validation=validation(root)),
        model.Secret("broken", validation=model.ValidationContext(model.DataSource(b"x"))),
        model.Secret("nothing", validation=model.ValidationContext()),
    ]
    own, ca, broken = proxy.json("/certs")["certificates"]
    assert own["cert_chain"][0]["path"] == "<inline: default>"
    assert own["cert_chain"][0]["subject_alt_names"] == [
        {"uri": "spiffe://td/ns/a/sa/b"},
        {"dns": "b.test"},
        {"ip_address": "10.0.0.1"},
    ]
    assert own["cert_chain"][0]["days_until_expiration"] == "0"
    assert ca["ca_cert"][0]["expiration_time"].endswith("Z")
    assert "error" in broken["ca_cert"][0]


def test_json_is_written_as_json_writes_it() -> None:
    value = {"a": [1, 2.5, None, True, "ü\n"], "b": {}, "c": [], "d": [{"e": ("f",)}]}
    assert "".join(json_reply(value).body) == json.dumps(value, indent=1) + "\n"


def test_an_array_is_made_as_it_is_sent() -> None:
    made: list[int] = []

    def elements() -> Iterator[dict[str, int]]:
        for at in range(4 * PARTS_PER_PIECE):
            made.append(at)
            yield {"at": at}

    pieces = json_reply({"all": elements(), "none": iter(())}).body
    assert not isinstance(pieces, str)
    first = next(pieces)
    assert 0 < len(made) <= PARTS_PER_PIECE
    whole = json.loads(first + "".join(pieces))
    assert whole == {"all": [{"at": at} for at in made], "none": []}
    assert len(made) == 4 * PARTS_PER_PIECE
