"""What stands in a bootstrap, as `/config_dump` and `/certs` show it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pool

from protos.types import CDS, LDS, RDS, SDS
from proxy.config.any_types import NAMES
from proxy.config.model import (
    Cluster,
    CommonTls,
    DataSource,
    Secret,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.xds.as_json import as_json, static_resources
from proxy.xds.needs import inline_secrets

HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
    "HttpConnectionManager"
)
BOOTSTRAP = f"""
static_resources:
  secrets: [{{name: own, tls_certificate: {{}}}}]
  clusters: [{{name: web, connectTimeout: 2s}}]
  listeners:
  - name: front
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {HCM}
          stat_prefix: in
          route_config: {{name: local, virtual_hosts: [{{name: all, domains: ["*"]}}]}}
      - name: other
"""


def test_static_resources_and_routes_inside(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(BOOTSTRAP)
    found = list(static_resources(path))
    assert [(type_url, name) for type_url, name, _ in found] == [
        (LDS, "front"),
        (RDS, "local"),
        (CDS, "web"),
        (SDS, "own"),
    ]
    assert as_json(CDS, found[2][2]) == {"name": "web", "connect_timeout": "2s"}
    assert as_json(RDS, found[1][2])["virtual_hosts"] == [{"name": "all", "domains": ["*"]}]


def test_nothing_of_a_file_that_has_gone_or_changed(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    assert list(static_resources(path)) == []
    path.write_text("static_resources: [nonsense]")
    assert list(static_resources(path)) == []


def test_certificates_inside_of_a_cluster() -> None:
    pair = TlsCertificate(DataSource(b"chain"), DataSource(b"key"))
    roots = ValidationContext(DataSource(b"roots"))
    cluster = Cluster("web", tls=UpstreamTls(CommonTls((pair,), validation=roots)))
    assert list(inline_secrets(cluster)) == [
        Secret("web", certificate=pair),
        Secret("web", validation=roots),
    ]
    assert list(inline_secrets(Cluster("plain"))) == []


def test_whatever_may_be_accepted_can_be_shown() -> None:
    assert as_json(CDS, b"") == {}
    for name in NAMES:
        assert descriptor_pool.Default().FindMessageTypeByName(name).full_name == name
