"""Envoy's sample bootstraps: accepted where Envoy 1.40 accepts; what Weft lacks is named.

Envoy's tests fill in templates and lay certificates beside the files; so does this.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.loading import crashed, judged, refusal
from tests.conformance.suite import Result
from tests.support.pki import Authority

VERDICTS = "envoy-1.40.0.validate.shared.json"
WORDS = {
    "ip_loopback_address": "127.0.0.1",
    "ntop_ip_loopback_address": "127.0.0.1",
    "ip_any_address": "0.0.0.0",
    "dns_lookup_family": "V4_ONLY",
    "null_device_path": "/dev/null",
    "sol_socket": "1",
    "so_reuseport": "15",
    "enable_reuse_port": "false",
    "upstream_0": "10000",
    "upstream_1": "10001",
    "health_check_timeout": "1s",
    "health_check_interval": "1s",
}


def run(cases: Path) -> Iterator[Result]:
    verdicts = json.loads((cases / VERDICTS).read_text())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _certificates(place)
        for name, verdict in verdicts.items():
            path = place / Path(name).name
            path.write_text(_filled(cases / name, place))
            yield _judge(name, path, verdict["envoy-1.40.0"] == "ok")


def _judge(name: str, path: Path, envoy_accepts: bool) -> Result:
    try:
        return judged(name, envoy_accepts, refusal(path).replace(str(path), name))
    except Exception as error:
        return crashed(name, error)


def _filled(source: Path, place: Path) -> str:
    """The text with its placeholders; one that nobody knows stands for itself."""
    text = source.read_text("utf-8", "surrogateescape")
    text = re.sub(r"\{\{ (\w+) \}\}", lambda found: WORDS.get(found[1], found[1]), text)
    return re.sub(r"(?<![\w/])certs/", f"{place}/certs/", text)


def _certificates(place: Path) -> None:
    """Made by the same authority: they belong together, as Envoy's do."""
    folder = place / "certs"
    folder.mkdir()
    authority = Authority()
    (folder / "cacert.pem").write_text(authority.pem)
    for name in ("server", "client"):
        pair = authority.issue(dns=(f"{name}.example.com",))
        (folder / f"{name}cert.pem").write_text(pair.certificate)
        (folder / f"{name}key.pem").write_text(pair.key)
