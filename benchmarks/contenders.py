"""Who runs: the command and configuration of each proxy for the same work.

One worker, keep-alive on both sides, no access log, one route to one upstream. Envoy and Weft get
the same bootstrap file.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.features import ALL, Parts

ROOT = Path(__file__).resolve().parents[1]
ENVOY = ROOT / ".peers" / "envoy" / "bin" / "envoy"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender listens, where it sends, a folder for its files, and what it has to do."""

    port: int
    admin_port: int
    upstream_port: int
    folder: Path
    feature: str = "router"


class NotInstalled(Exception):
    """The text says what is missing and what installs it."""


def bootstrap(place: Place) -> dict[str, Any]:
    """Envoy v3: one listener, one static cluster, and the feature under test."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    manager: dict[str, Any] = {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"},
            }
        ],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {
        "name": "bench",
        "address": _address(place.port),
        "filter_chains": [{"filters": [network]}],
    }
    endpoint = {"endpoint": {"address": _address(place.upstream_port)}}
    cluster: dict[str, Any] = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    ALL[place.feature](Parts(manager, cluster, str(place.folder / "access.log")))
    return {
        "admin": {"address": _address(place.admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def weft(place: Place) -> list[str]:
    path = _write(place, "weft.json", json.dumps(bootstrap(place)))
    door = "from weft.cli import main; main()"
    state = str(place.folder / "weft-state")
    return [sys.executable, "-c", door, "proxy", "-c", path, "--state-dir", state]


def envoy(place: Place) -> list[str]:
    if not ENVOY.exists():
        raise NotInstalled("no Envoy in .peers: `make setup` installs it")
    path = _write(place, "envoy.json", json.dumps(bootstrap(place)))
    quiet = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return [str(ENVOY), "-c", path, *quiet]


NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u;
  scgi_temp_path {folder}/{name}-s;
  {inside}
}}
"""

NGINX_PROXY = """
  upstream up {{ server 127.0.0.1:{upstream_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
  }}
"""

BODY = json.dumps({"items": [{"id": n, "name": f"postcard {n}"} for n in range(16)]})

NGINX_UPSTREAM = """
  server {{
    listen 127.0.0.1:{port}; default_type application/json;
    add_header x-served-by upstream; add_header cache-control no-store;
    location / {{ return 200 '{body}'; }}
  }}
"""


def nginx(place: Place) -> list[str]:
    inside = NGINX_PROXY.format(port=place.port, upstream_port=place.upstream_port)
    return _nginx(place, "nginx", inside)


def upstream(place: Place) -> list[str]:
    """The upstream of everybody: nginx with a JSON body of about 600 bytes."""
    return _nginx(place, "upstream", NGINX_UPSTREAM.format(port=place.port, body=BODY))


def _nginx(place: Place, name: str, inside: str) -> list[str]:
    program = _installed("nginx")
    text = NGINX.format(folder=place.folder, name=name, inside=inside)
    return [program, "-p", str(place.folder), "-c", _write(place, f"{name}.conf", text)]


HAPROXY = """
global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend bench
  bind 127.0.0.1:{port}
  default_backend up
backend up
  server up 127.0.0.1:{upstream_port}
"""


def haproxy(place: Place) -> list[str]:
    text = HAPROXY.format(port=place.port, upstream_port=place.upstream_port)
    return [_installed("haproxy"), "-db", "-f", _write(place, "haproxy.cfg", text)]


def _installed(program: str) -> str:
    found = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if not found:
        raise NotInstalled(f"no {program} on this machine: `sh benchmarks/setup.sh` installs it")
    return found


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _write(place: Place, name: str, text: str) -> str:
    path = place.folder / name
    path.write_text(text)
    return str(path)


CONTENDERS: dict[str, Callable[[Place], list[str]]] = {
    "weft": weft,
    "envoy": envoy,
    "nginx": nginx,
    "haproxy": haproxy,
}
