"""Connections that the kernel redirects, through a real Envoy, which holds the whole mesh, and
through Weft's proxy, which holds what it calls: both do the same with each of them
(tests/support/redirected.py). So does a Weft that holds everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.envoy import ROOT, require_envoy
from tests.support.redirected import (
    ELSEWHERE,
    ELSEWHERE_6,
    NFT,
    POD,
    POD_6,
    RULES,
    SECOND_POD,
    TPROXY_RULES,
)

BOUNDED_S = 180.0


SOURCES = {"REDIRECT": ("127.0.0.6", "127.0.0.6"), "TPROXY": (POD, SECOND_POD)}
"""Where the application sees connections of its own pod and of another come from: with TPROXY from
where they do."""


SOURCES_6 = {"REDIRECT": "::6", "TPROXY": POD_6}


def _from_app(port: int, peer: bool, source: str) -> str:
    return "200 " + json.dumps({"at": f"{POD}:{port}", "from": source, "peer": peer})


def _over_6(port: int, source: str) -> str:
    return "200 " + json.dumps({"at": f"{POD_6}:{port}", "from": source, "peer": False})


def _echoed(address: str, port: int) -> str:
    return f"{address}:{port} \x00bytes"


def _to_services(own: str, other: str) -> dict[str, str]:
    return {
        "http to a service": _from_app(8080, True, own),
        "tcp to a service": _echoed(POD, 8082),
        "http to a port of no protocol": _from_app(8083, False, own),
        "bytes to a port of no protocol": _echoed(POD, 8083),
        "a server that speaks first": "hello",
        "http to a strict port": _from_app(8084, True, own),
        "gRPC to a service": "again: hello",
        "http without TLS to a strict port": "no answer",
        "one endpoint of a headless service": _echoed(SECOND_POD, 6000),
        "the other endpoint": _echoed(ELSEWHERE, 6000),
        "TLS by its server name": f"{SECOND_POD}:6000",
        "TLS by another server name": f"{ELSEWHERE}:6000",
        "tcp to an address": _echoed(ELSEWHERE, 9000),
        "tcp to an address of a subnet": _echoed(SECOND_POD, 6000),
        "the port of the sidecar itself": "",
        "http to a service over IPv6": _from_app(8080, True, own),
        "tcp to a service over IPv6": _echoed(POD, 8082),
        "the port of the sidecar itself over IPv6": "",
        "where http from another pod comes from": other,
    }


PLACE = json.dumps({"at": f"{ELSEWHERE}:80", "from": ELSEWHERE, "peer": False})


def _expected(mode: str) -> dict[str, dict[str, str]]:
    own, other = SOURCES[mode]
    services = _to_services(own, other)
    anything = services | {
        "http without TLS": _from_app(8080, False, own),
        "bytes to a port that no service has": _echoed(POD, 9000),
        "http without TLS over IPv6": _over_6(8080, SOURCES_6[mode]),
        "bytes to a port that no service has over IPv6": _echoed(POD_6, 9000),
        "bytes to an unknown place over IPv6": _echoed(ELSEWHERE_6, 9000),
        "http to an unknown place": f"200 {PLACE}",
        "bytes to an unknown place": _echoed(ELSEWHERE, 9000),
        "http to a service that comes later": "503",
        "tcp to a service that comes later": "",
    }
    return {
        "ALLOW_ANY": anything,
        "again": anything,
        "later": anything
        | {
            "http to a service that comes later": _from_app(8080, True, own),
            "tcp to a service that comes later": _echoed(POD, 8082),
            "tcp to a service": "",
            "tcp to a service over IPv6": "",
        },
        # A pod's address is no service's, so that nothing goes there in plain text.
        "REGISTRY_ONLY": services
        | {
            "http without TLS": "no answer",
            "bytes to a port that no service has": "",
            "http without TLS over IPv6": "no answer",
            "bytes to a port that no service has over IPv6": "",
            "bytes to an unknown place over IPv6": "",
            "http to an unknown place": "502",
            "http to a service that comes later": "502",
            "tcp to a service that comes later": "",
            "bytes to an unknown place": "",
        },
    }


def require_redirection(rules: str) -> None:
    """Skips the test where the machine can't: it takes root, a namespace and nft (`make setup`)."""
    if not NFT.exists() and os.environ.get("CI"):
        pytest.fail(f"no nft at {NFT.relative_to(ROOT)}: `make setup` fetches it")
    if not NFT.exists():
        pytest.skip(f"no nft at {NFT.relative_to(ROOT)}: `make setup` fetches it")
    tried = subprocess.run(
        ("unshare", "-n", str(NFT), "-c", "-f", "-"),
        input=rules.encode(),
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"this machine redirects no connections: {tried.stderr.decode()[:200]}")


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_envoy_and_weft_do_the_same_with_redirected_connections(tmp_path: Path, mode: str) -> None:
    require_envoy()
    require_redirection(TPROXY_RULES if mode == "TPROXY" else RULES)
    running = {}
    for kind in ("envoy", "weft", "whole") if mode == "REDIRECT" else ("envoy", "weft"):
        directory = tmp_path / kind
        directory.mkdir()
        inside = (sys.executable, "-m", "tests.support.redirected", kind, mode, str(directory))
        running[kind] = subprocess.Popen(
            ("unshare", "-n", *inside), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    try:
        written = {kind: child.communicate(timeout=BOUNDED_S) for kind, child in running.items()}
    finally:
        for child in running.values():
            child.kill()
    for kind, (out, err) in written.items():
        assert running[kind].returncode == 0, f"{kind}: {err.decode()[-4000:]}"
        found = json.loads(out)
        (held,) = found.pop("held").values()
        assert found == _expected(mode), kind
        assert held == ("nothing" if kind == "weft" else "something")
