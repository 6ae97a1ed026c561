"""Bootstraps: what is read from them, and errors that name file, line, column and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.config import bootstrap
from proxy.config.decode_common import regex_error
from proxy.config.model import AdsConfig, RouteAction, SocketAddress
from proxy.config.positions import BadConfig
from proxy.config.rejected import Rejected
from proxy.xds.target import target_of

EXTENSION = "type.googleapis.com/envoy.extensions.filters."
STATIC = """\
node: {id: a, cluster: b, locality: {region: r, zone: z}, metadata: {LABELS: {app: c}, N: 1.5}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: "::1", port_value: 8080}}
    filterChains:            # protobuf's JSON takes camelCase too
    - filters:
      - name: hcm
        typed_config:
          "@type": HCM
          stat_prefix: ingress
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: app, timeout: {seconds: 2, nanos: 500000000}}
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: app
    type: STRICT_DNS
    connect_timeout: 0.25s
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: localhost, port_value: 8000}}}
""".replace("HCM", EXTENSION + "network.http_connection_manager.v3.HttpConnectionManager")


def write(folder: Path, text: str, name: str = "bootstrap.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> BadConfig:
    with pytest.raises(BadConfig) as error:
        bootstrap.load(write(folder, text))
    return error.value


def test_a_static_bootstrap_is_read_whole(tmp_path: Path) -> None:
    found = bootstrap.load(write(tmp_path, STATIC))
    assert found.node.locality == ("r", "z", "")
    assert found.node.metadata == {"LABELS": {"app": "c"}, "N": 1.5}
    assert found.admin == SocketAddress("127.0.0.1", 9901)
    (listener,), (cluster,) = found.listeners, found.clusters
    assert str(listener.address) == "[::1]:8080"
    chain = listener.filter_chains[0]
    assert chain.http is not None and chain.http.suppress_envoy_headers
    assert chain.http.route_config is not None
    action = chain.http.route_config.virtual_hosts[0].routes[0].action
    assert isinstance(action, RouteAction)
    assert (action.cluster, action.timeout_s) == ("app", 2.5)
    assert (cluster.type, cluster.connect_timeout_s) == ("STRICT_DNS", 0.25)
    assert found.ads is None


def test_json_with_tabs_is_the_same(tmp_path: Path) -> None:
    plain = {"node": {"id": "a", "cluster": "b"}, "static_resources": {"secrets": []}}
    text = json.dumps(plain, indent="\t")
    assert bootstrap.load(write(tmp_path, text, "bootstrap.json")).node.id == "a"


LB = "    lb_policy: CLUSTER_PROVIDED\n    connect_timeout"


@pytest.mark.parametrize(
    ("old", "new", "stands_at", "says"),
    [
        ("stat_prefix", "stat_prefx", "stat_prefx", "did you mean `stat_prefix`?"),
        ("type: STRICT_DNS", "type: STRICT_DN", "STRICT_DN", "did you mean STRICT_DNS?"),
        ("timeout: 0.25s", "timeout: 0.25", "0.25", "expected a duration like 2.5s"),
        ("port_value: 8000", "port_value: many", "many", "expected a number, found `many`"),
        ("port_value: 8000", "port_value: -1", "-1}", "out of range, 0 to 4294967295"),
        ("port_value: 8000", "port_value: 70000", "70000", "must be at most 65535, is 70000"),
        ("name: local", "name: 17", "17", "expected a string, found `17` without quotes"),
        ("headers: true", "headers: 7", "7\n", "expected true or false, found `7`"),
        ('domains: ["*"]', "domains: all", "domains: all", "expected a list"),
        ("{cluster: app,", "{cluster: other,", "other", "there is no cluster `other`"),
        ("    connect_timeout", LB, "CLUSTER_PROVIDED", "is for clusters of the types"),
        ("  clusters:", "  clusters:\n  - name: app", "app\n    type", "another cluster `app`"),
        ("  - name: app\n", "  - name: app\n    name: b\n", "name: b", "is there twice"),
        (EXTENSION + "http.router.v3.Router", EXTENSION + "http.lua.v3.Lua",
         EXTENSION + "http.lua", "http.lua.v3.Lua is not supported"),
        ("name: all", "name: *all", "*all", "undefined alias"),
    ],
)  # fmt: skip
def test_an_error_names_its_place_and_its_reason(
    tmp_path: Path, old: str, new: str, stands_at: str, says: str
) -> None:
    text = STATIC.replace(old, new, 1)
    before = text[: text.rindex(stands_at)]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    error = refused(tmp_path, text)
    assert says in str(error), str(error)
    assert f"bootstrap.yaml:{place}: " in str(error), f"{error} (wanted {place})"
    assert "\n" not in str(error)


def test_yaml_that_does_not_parse_is_one_line(tmp_path: Path) -> None:
    error = refused(tmp_path, STATIC.replace("static_resources:", "static_resources: [", 1))
    assert "is not valid YAML" in str(error)
    assert error.position is not None
    assert "\n" not in str(error)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "the file is empty" in str(refused(tmp_path, "# nothing\n"))
    assert "expected an object" in str(refused(tmp_path, "- a\n"))
    assert "alias of something around itself" in str(
        refused(tmp_path, "node: &a {id: x, metadata: {m: *a}}\n")
    )
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfig, match="is not UTF-8"):
        bootstrap.load(path)
    with pytest.raises(BadConfig, match="No such file"):
        bootstrap.load(tmp_path / "missing.yaml")
    with pytest.raises(BadConfig, match="Is a directory"):
        bootstrap.load(tmp_path)


def test_aliases_of_aliases_end(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    text = "node: {id: a, metadata: {\n" + ",\n".join(levels) + "}}\n"
    assert "more than 1000000 values" in str(refused(tmp_path, text))


ADS = """\
node: {id: a, cluster: b}
dynamic_resources:
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc: {cluster_name: xds}
      initial_metadata: [{key: Authorization, value: Bearer secret}]
static_resources:
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15010}}}
"""


def test_the_way_to_a_control_plane(tmp_path: Path) -> None:
    found = bootstrap.load(write(tmp_path, ADS))
    assert found.ads == AdsConfig("xds", True, (("authorization", "Bearer secret"),), True)
    assert found.lds_ads
    assert found.cds_ads
    assert target_of(found, frozenset()).addresses == ("127.0.0.1:15010",)
    assert "Bearer" not in repr(found)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("cluster_name: xds}", "cluster_name: other}", "envoy_grpc.cluster_name"),
        ("api_type: DELTA_GRPC", "api_type: REST", "dynamic_resources.ads_config.api_type"),
        ("lds_config: {ads: {}", "lds_config: {api_config_source: {api_type: GRPC}",
         "dynamic_resources.lds_config.api_config_source"),
        ("envoy_grpc: {cluster_name: xds}",
         "google_grpc: {target_uri: x, stat_prefix: g}",
         "dynamic_resources.ads_config.grpc_services[0].google_grpc"),
        ("type: STATIC", "type: EDS", "static_resources.clusters[0].eds_cluster_config"),
        ("node: {", "overload_manager: {refresh_interval: 1s}\nnode: {", "overload_manager"),
        ("node: {", "tracing: {http: {name: x}}\nnode: {", "tracing"),
        ("node: {", "layered_runtime: {layers: [{name: s, static_layer: {tls: {x: 1}}}]}\nnode: {",
         "layered_runtime.layers[0].static_layer.tls.x"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(
    tmp_path: Path, old: str, new: str, path: str
) -> None:
    assert refused(tmp_path, ADS.replace(old, new, 1)).path.endswith(path)


def test_what_has_no_effect_by_design_is_taken(tmp_path: Path) -> None:
    more = (
        "stats_flush_interval: 5s\nstats_config: {use_all_default_tags: false}\n"
        "layered_runtime: {layers: [{name: s, static_layer: "
        "{envoy.reloadable_features.x: true, re2.max_program_size.warn_level: 32768}}]}\n"
    )
    assert bootstrap.load(write(tmp_path, more + ADS)).cds_ads


def test_regular_expressions_may_be_as_long_as_the_runtime_says(tmp_path: Path) -> None:
    pattern = "x" * 200
    layers = "layered_runtime: {layers: [{name: a, static_layer: {%s}}]}\n"
    bootstrap.load(write(tmp_path, ADS))
    assert regex_error(pattern) is not None
    bootstrap.load(write(tmp_path, layers % "re2.max_program_size.error_level: 300" + ADS))
    assert regex_error(pattern) is None
    assert regex_error(pattern * 2) is not None
    bootstrap.load(write(tmp_path, layers % "re2: {max_program_size: {error_level: 500}}" + ADS))
    assert regex_error(pattern * 2) is None
    bootstrap.load(write(tmp_path, ADS))
    assert regex_error(pattern) is not None


def test_a_limit_of_connections_may_stand_in_the_runtime(tmp_path: Path) -> None:
    limit = "envoy: {resource_limits: {listener: {front: {connection_limit: 10}}}}"
    more = f"layered_runtime: {{layers: [{{name: s, static_layer: {{{limit}}}}}]}}\n"
    ((name, _),) = bootstrap.load(write(tmp_path, more + ADS)).runtime
    assert name == "s"


def test_a_target_without_endpoints_or_with_names_that_grpc_cannot_match(tmp_path: Path) -> None:
    text = ADS[: ADS.index("    load_assignment")]
    with pytest.raises(Rejected, match="no endpoint of the control plane"):
        target_of(bootstrap.load(write(tmp_path, text)), frozenset())
