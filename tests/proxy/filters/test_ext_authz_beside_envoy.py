"""What a real gRPC authorization service (grpcio) is asked by Envoy and by Weft, and what becomes
of its answers."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.differential.pki import Pki
from tests.support.authz_server import DENIED, AuthzServer
from tests.support.envoy import envoy, require_envoy
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

TYPES = "type.googleapis.com/envoy.extensions."
EXT_AUTHZ = "envoy.filters.http.ext_authz"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TIME = re.compile(r"\d+-\d+-\d+T[\d:.]+Z")
Start = Callable[[dict[str, Any], Path], ProxyProcess]


@dataclass(frozen=True)
class Asking:
    """A request: with a body in chunks or of a known length, and what the service is to answer."""

    path: str
    method: str = "GET"
    body: bytes | None = None
    chunked: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    answer: dict[str, Any] | None = None


def denial(**fields: Any) -> dict[str, Any]:
    return {**DENIED, "denied_response": fields}


def header(name: str, value: str, **fields: Any) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, **fields}


REQUESTS = (
    Asking("/plain?a=b"),
    Asking("/caller", headers=(("x-envoy-downstream-service-cluster", "svc"), ("x-a", "\xe9"))),
    Asking("/short", "POST", b"hi"),
    Asking("/long", "POST", b"hello world"),
    Asking("/exact", "POST", b"hello"),
    Asking("/chunked", "POST", b"hello world", chunked=True),
    Asking("/bytes", "POST", b"\xff\x00a"),
    Asking("/no", answer=DENIED),
    Asking(
        "/no-way", answer=denial(status={"code": 401}, body="log in", headers=[header("x-r", "1")])
    ),
    Asking("/abort", answer={"abort": "UNAVAILABLE"}),
    Asking("/secret", headers=(("x-secret", "s"), ("cookie", "c=1"))),
)


def bootstrap(port: int, authz: int, pki: Path) -> dict[str, Any]:
    per_route = {"@type": f"{TYPES}filters.http.ext_authz.v3.ExtAuthzPerRoute"}
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "passed"}},
        "metadata": {"filter_metadata": {"mine": {"a": 1}, "other": {}}},
        "typed_per_filter_config": {
            EXT_AUTHZ: {**per_route, "check_settings": {"context_extensions": {"k": "route"}}}
        },
    }
    of_host = {**per_route, "check_settings": {"context_extensions": {"k": "host", "h": "1"}}}
    host = {
        "name": "v",
        "domains": ["*"],
        "routes": [route],
        "typed_per_filter_config": {EXT_AUTHZ: of_host},
    }
    manager = {
        "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {"name": EXT_AUTHZ, "typed_config": filter_config()},
            {"name": "router", "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}], "transport_socket": tls(pki)}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "static_resources": {
            "listeners": [{"name": "l", "address": address, "filter_chains": [chain]}],
            "clusters": [authz_cluster(authz)],
        }
    }


def filter_config() -> dict[str, Any]:
    service = {
        "envoy_grpc": {"cluster_name": "authz", "authority": "authz.test"},
        "timeout": "2s",
        "initial_metadata": [{"key": "x-asked-by", "value": "me for %REQ(:path)%"}],
    }
    return {
        "@type": f"{TYPES}filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": service,
        "with_request_body": {"max_request_bytes": 5, "allow_partial_message": True},
        "route_metadata_context_namespaces": ["mine", "missing"],
        "metadata_context_namespaces": ["missing"],
        "include_tls_session": True,
        "include_peer_certificate": True,
        "disallowed_headers": {"patterns": [{"exact": "x-secret"}]},
    }


def tls(pki: Path) -> dict[str, Any]:
    shown = {
        "certificate_chain": {"filename": f"{pki}/messenger.pem"},
        "private_key": {"filename": f"{pki}/messenger.key"},
    }
    context = {
        "@type": f"{TYPES}transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [shown],
            "validation_context": {"trusted_ca": {"filename": f"{pki}/root.pem"}},
        },
    }
    return {"name": "tls", "typed_config": context}


def authz_cluster(port: int) -> dict[str, Any]:
    http2 = {"@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions"}
    http2["explicit_http_config"] = {"http2_protocol_options": {}}  # type: ignore[assignment]
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    return {
        "name": "authz",
        "typed_extension_protocol_options": {OPTIONS: http2},
        "load_assignment": {
            "cluster_name": "authz",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def ask(port: int, pki: Path, asking: Asking) -> dict[str, Any]:
    """Over TLS with a certificate and a name, on a connection of its own."""
    context = ssl.create_default_context(cafile=f"{pki}/root.pem")
    context.check_hostname = False
    context.load_cert_chain(f"{pki}/greeter.pem", f"{pki}/greeter.key")
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    headers = dict(asking.headers)
    if asking.answer is not None:
        headers["x-answer"] = json.dumps(asking.answer)
    body = iter((asking.body,)) if asking.chunked else asking.body
    connection.request(asking.method, asking.path, body, headers, encode_chunked=asking.chunked)  # type: ignore[arg-type]
    response = connection.getresponse()
    seen = {
        "status": response.status,
        "headers": {
            name: value
            for name, value in response.getheaders()
            if name not in ("date", "server", "connection")
        },
        "body": response.read().decode(),
    }
    connection.close()
    return seen


def steady(asked: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from call to call."""
    attributes = asked["attributes"]
    attributes["source"]["address"]["socketAddress"].pop("portValue")
    request = attributes["request"]
    assert TIME.fullmatch(request.pop("time"))
    assert request["http"].pop("id").isdigit()
    assert request["http"]["headers"].pop("x-request-id")
    return asked


def observed(start: Start, folder: Path, pki: Path) -> dict[str, Any]:
    folder.mkdir()
    port = free_port()
    with AuthzServer() as authz, start(bootstrap(port, authz.port, pki), folder) as proxy:
        answers = {one.path: ask(port, pki, one) for one in REQUESTS}
        questions = [steady(each) for each in authz.asked]
        stats = proxy.admin("/stats?filter=ext_authz.(ok|denied|error|disabled)$").body
    text = json.dumps([answers, questions]).replace(f":{port}", ":PORT").replace(str(port), "1")
    answers, questions = json.loads(text)
    return {"answers": answers, "questions": questions, "stats": sorted(stats.splitlines())}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    require_envoy()
    folder = tmp_path_factory.mktemp("ext_authz")
    pki = Pki(folder).folder
    yield observed(envoy, folder / "envoy", pki), observed(weft_proxy, folder / "weft", pki)


@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=[one.path for one in REQUESTS])
def test_the_service_is_asked_the_same(both: tuple[Any, Any], number: int) -> None:
    envoys, wefts = both
    assert wefts["questions"][number] == envoys["questions"][number]


def test_its_answers_do_the_same(both: tuple[Any, Any]) -> None:
    envoys, wefts = both
    assert wefts["answers"] == envoys["answers"]
    assert wefts["answers"]["/no-way"]["body"] == "log in"
    assert wefts["stats"] == envoys["stats"]
