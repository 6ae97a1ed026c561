"""`weft authz`: exit codes of explain, and what shadow shows of the proxies that it finds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from weft.cli import weft

MESH = """
apiVersion: v1
kind: Service
metadata: {name: till}
spec: {selector: {app: till}, ports: [{port: 80, name: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: till}
spec:
  selector: {matchLabels: {app: till}}
  template: {metadata: {labels: {app: till}}, spec: {containers: [{name: a}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: till}
spec:
  rules:
  - to: [{operation: {methods: [POST], paths: [/buy]}}]
    when: [{key: "request.headers[x-a]", values: [b]}]
  - when: [{key: "request.auth.claims[groups]", values: [staff]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: till}
spec: {jwtRules: [{issuer: idp, jwksUri: "https://idp.test/keys"}]}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(weft, ["authz", *words])


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return str(tmp_path)


def test_explain_takes_the_facts_of_a_request(folder: str) -> None:
    asked = ["explain", "--from", "-", "--to", "till", "--method", "POST", "--path", "/buy"]
    assert run(*asked, folder).exit_code == 1
    allowed = run(*asked, "--header", "X-A=b", folder)
    assert (allowed.exit_code, allowed.stdout.split()[0]) == (0, "ALLOWED")
    claims = '{"iss": "idp", "groups": ["staff"]}'
    found = run("explain", "--from", "-", "--to", "till", "--claims", claims, "-o", "json", folder)
    assert found.exit_code == 0
    assert json.loads(found.stdout)[0]["by"]["rule"] == 1


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        (["--from", "-", "--to", "tilll"], 2, "did you mean 'till'?"),
        (["--from", "-", "--to", "till", "--header", "x"], 2, "expected NAME=VALUE"),
        (["--from", "-", "--to", "till", "--claims", "["], 2, "--claims: not JSON"),
        (["--from", "-", "--to", "till", "--claims", "[]"], 2, "expected a JSON object"),
        (["--from", "-"], 2, "--to"),
    ],
)
def test_what_can_not_be_asked(folder: str, words: list[str], code: int, fault: str) -> None:
    found = run("explain", *words, folder)
    assert found.exit_code == code
    assert fault in found.output


# --------------------------------------------------------------------------- shadow


def denial(**facts: Any) -> dict[str, Any]:
    return {
        "time": "2026-11-21T12:00:00.123Z",
        "shadow": True,
        "filter": "http.inbound_1.",
        "policy": "ns[a]-policy[b]-rule[0]",
        "source": "b.yaml:7:3",
        "action": "DENY",
        "principal": "spiffe://cluster.local/ns/a/sa/c",
        "client": "127.0.0.1",
        "method": "GET",
        "host": "till",
        "path": "/x",
        **facts,
    }


LISTED = [
    denial(),
    denial(policy="", source="", principal="", path="/none"),
    denial(policy="istio-ext-authz-p-ns[a]-policy[q]-rule[0]"),
    denial(shadow=False, path="/real"),
]
STATS = """http.inbound_1.rbac.istio_dry_run_deny_.shadow_denied: 3
http.inbound_1.rbac.istio_dry_run_deny_.shadow_allowed: 0
http.inbound_1.rbac.istio_ext_authz_.shadow_denied: 5
http.inbound_1.rbac.denied: 7
"""


class _Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        listed = self.path == "/rbac?format=json"
        body = (json.dumps({"denials": LISTED}) if listed else STATS).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: pytest shows what a test prints."""


@pytest.fixture
def admin_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Admin) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_shadow_lists_what_dry_runs_would_have_denied(tmp_path: Path, admin_port: int) -> None:
    sidecar = tmp_path / "sidecars" / "till-1"
    sidecar.mkdir(parents=True)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}
    (sidecar / "bootstrap.json").write_text(json.dumps({"admin": {"address": address}}))
    (tmp_path / "sidecars" / "new").mkdir()
    found = run("shadow", "--state-dir", str(tmp_path))
    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "till-1: 2 listed",
        "  http.inbound_1.rbac.istio_dry_run_deny_.shadow_denied: 3",
        "  2026-11-21T12:00:00.123Z would deny GET till/x from spiffe://cluster.local/ns/a/sa/c: "
        "ns[a]-policy[b]-rule[0] b.yaml:7:3",
        "  2026-11-21T12:00:00.123Z would deny GET till/none from 127.0.0.1: "
        "no ALLOW policy applies",
    ]


def test_shadow_can_show_what_was_denied(admin_port: int) -> None:
    found = run("shadow", "--admin", str(admin_port), "--enforced", "-o", "json")
    told = json.loads(found.stdout)[f"127.0.0.1:{admin_port}"]
    assert [one["path"] for one in told["denials"]] == ["/x", "/none", "/real"]
    assert told["counters"]["http.inbound_1.rbac.denied"] == 7


def test_shadow_says_who_does_not_answer(tmp_path: Path) -> None:
    found = run("shadow", "--admin", "1")
    assert "the admin does not answer" in found.stdout
    nobody = run("shadow", "--state-dir", str(tmp_path))
    assert "no proxy is known" in str(nobody.exception)
