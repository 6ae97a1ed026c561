"""Services: selection, the ports that speak HTTP, and names for a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from weft.deployment import Deployment
from weft.manifest import read_file
from weft.services import Service, entry_port, host_name, services
from weft.workload import in_mesh


def read(tmp_path: Path, ports: str, extra: str = "") -> Service:
    file = tmp_path / "s.yaml"
    text = f"""\
apiVersion: v1
kind: Service
metadata: {{name: web{extra}}}
spec: {{selector: {{app: web}}, ports: {ports}}}
"""
    file.write_text(text, "utf-8")
    (service,) = services(read_file(file))
    return service


@pytest.mark.parametrize(
    ("ports", "http"),
    [
        ("[{name: http, port: 80}]", 80),
        ("[{name: http-api, port: 81}]", 81),
        ("[{name: web, appProtocol: http, port: 82}]", 82),
        ("[{name: tcp, port: 1}, {name: http2, port: 83}]", 83),
        ("[{name: http, appProtocol: tcp, port: 80}]", None),
        ("[{name: grpc, port: 80}]", None),
        ("[{name: grpc-web, port: 80}]", 80),
        ("[{port: 80}]", 80),
        ("[{name: web, port: 84}]", 84),
        ("[{port: 53, protocol: UDP}]", None),
        ("[{name: db, port: 5432}]", None),
    ],
)
def test_an_http_port_is_found_by_protocol_or_name(
    tmp_path: Path, ports: str, http: int | None
) -> None:
    assert read(tmp_path, ports).http == http


def test_a_service_is_listed_unless_it_says_otherwise(tmp_path: Path) -> None:
    hidden = ', annotations: {weft.dev/expose: "false"}'
    assert read(tmp_path, "[]").exposed
    assert not read(tmp_path, "[]", hidden).exposed


@pytest.mark.parametrize(
    ("namespace", "labels", "selected"),
    [
        ("default", {"app": "web", "version": "v1"}, True),
        ("default", {"app": "other"}, False),
        ("default", {}, False),
        ("shop", {"app": "web"}, False),
    ],
)
def test_selection(tmp_path: Path, namespace: str, labels: dict[str, str], selected: bool) -> None:
    assert read(tmp_path, "[]").selects(namespace, labels) is selected


def test_a_service_without_selector_selects_nothing() -> None:
    assert not named("web").selects("default", {"app": "web"})


@pytest.mark.parametrize(
    ("target", "expected"), [("web", "web"), ("8080", "http"), ("9090", "web")]
)
def test_a_port_meant_by_number_is_registered_under_the_service_ports_name(
    target: str, expected: str
) -> None:
    service = named("x", ports=(("http", 80, target),))
    assert entry_port("web", 8080, [service]) == expected


def test_a_port_that_no_container_declares_is_known_by_its_number() -> None:
    plain = named("x", ports=(("", 80, "8080"), ("", 81, "by-name")))
    web = Deployment("web", "default", "default", {"app": "web"}, 1, ("web",), (), {}, "", "-")
    assert in_mesh(web, [replace(plain, selector={"app": "web"})]).ports == {"port-8080": 8080}
    assert in_mesh(web, [plain]).ports == {}


def test_host_names() -> None:
    one, two = named("cart", "shop"), named("cart", "default")
    assert host_name(one, [one]) == "cart.localhost"
    assert host_name(one, [one, two]) == "cart.shop.localhost"
    assert host_name(two, [one, two]) == "cart.localhost"


def named(
    name: str, namespace: str = "default", ports: tuple[tuple[str, int, str], ...] = ()
) -> Service:
    return Service(name, namespace, {}, ports, 80, True, "-")
