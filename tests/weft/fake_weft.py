"""A stand-in for `weft` with behaviour: `controlplane` and `proxy` that keep the front door's
contracts (files, ports, management API, bootstrap) and carry plain HTTP, without xDS or mTLS.

The control plane keeps what was applied in STATE/fake-entries.json; a proxy reads it there and
forwards a request for the host NAME to the app of the entry whose label `app` is NAME.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENTRIES = "fake-entries.json"
NAME = "weft-controlplane.weft-system.svc"


def certificate() -> tuple[bytes, bytes]:
    """A self-signed server certificate and its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return built.public_bytes(serialization.Encoding.PEM), private


class FakeManagement:
    """Serves weft.v1.Management; every call must carry the admin token."""

    def __init__(self, state: Path, token: str) -> None:
        self.state = state
        self.token = token
        self.entries: dict[str, Any] = {}
        self.lock = threading.Lock()
        self.save()

    def save(self) -> None:
        temporary = self.state / (ENTRIES + ".new")
        temporary.write_text(json.dumps(self.entries), encoding="utf-8")
        temporary.replace(self.state / ENTRIES)

    def check(self, context: Any) -> None:
        import grpc

        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")

    def CreateJoinToken(self, request: Any, context: Any) -> Any:
        from protos.gen.weft.v1 import management_pb2 as pb

        self.check(context)
        return pb.JoinToken(token=f"{request.namespace}/{request.service_account}")

    def Apply(self, request: Any, context: Any) -> Any:
        from protos.gen.weft.v1 import management_pb2 as pb

        self.check(context)
        document = json.loads(request.manifest)
        metadata = document["metadata"]
        with self.lock:
            self.entries[f"{metadata['namespace']}/{metadata['name']}"] = document
            self.save()
        return pb.ApplyResponse()

    def Delete(self, request: Any, context: Any) -> Any:
        from protos.gen.weft.v1 import management_pb2 as pb

        self.check(context)
        with self.lock:
            gone = self.entries.pop(f"{request.namespace}/{request.name}", None)
            self.save()
        return pb.DeleteResponse(existed=gone is not None)

    def GetStatus(self, request: Any, context: Any) -> Any:
        from protos.gen.weft.v1 import management_pb2 as pb

        self.check(context)
        proxies = []
        for file in sorted(self.state.glob("sidecars/*/bootstrap.json")):
            metadata = json.loads(file.read_text("utf-8"))["node"]["metadata"]
            proxies.append(
                pb.ProxyStatus(
                    workload=metadata["WORKLOAD_NAME"],
                    namespace=metadata["NAMESPACE"],
                    synced=True,
                    user_agent="fake 1",
                )
            )
        services = [pb.ServiceStatus(hostname="fake", endpoints_total=len(self.entries))]
        return pb.MeshStatus(version="1", services=services, proxies=proxies)


def controlplane(arguments: argparse.Namespace) -> None:
    import grpc

    from protos.gen.weft.v1 import management_pb2 as pb

    state = Path(arguments.state_dir)
    if os.environ.get("FAKE_CONTROLPLANE_FAILS"):
        sys.exit("weft: error: routes.yaml:3:1: what a mess")
    chain, key = certificate()
    (state / "root.pem").write_bytes(chain)
    (state / "admin.token").write_text("secret\n", "utf-8")
    service = FakeManagement(state, "secret")
    kinds: dict[str, Any] = {
        "CreateJoinToken": pb.CreateJoinTokenRequest,
        "Apply": pb.ApplyRequest,
        "Delete": pb.DeleteRequest,
        "GetStatus": pb.GetStatusRequest,
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(service, name), kind.FromString, lambda reply: reply.SerializeToString()
        )
        for name, kind in kinds.items()
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("weft.v1.Management", handlers),)
    )
    credentials = grpc.ssl_server_credentials([(key, chain)])
    port = server.add_secure_port(f"127.0.0.1:{arguments.port}", credentials)
    server.start()
    found = {
        "pid": os.getpid(),
        "address": f"127.0.0.1:{port}",
        "mtls_address": f"127.0.0.1:{arguments.mtls_port}",
        "admin_address": f"127.0.0.1:{arguments.admin_port}",
    }
    (state / "controlplane.json").write_text(json.dumps(found), "utf-8")
    print("serving", flush=True)
    stop_at_sigterm()


def stop_at_sigterm() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    stopped.wait()


class Forward(BaseHTTPRequestHandler):
    """Gateway and forward proxy: the app of the host's first label."""

    state = Path()
    requests = 0

    def do_GET(self) -> None:
        Forward.requests += 1
        url = urlsplit(self.path)
        name = (url.hostname or self.headers["Host"]).split(":")[0].split(".")[0]
        port = self.app_port(name)
        if port is None:
            self.reply(503, b"no healthy upstream\n")
            return
        try:
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            upstream.request("GET", url.path or "/")
            answer = upstream.getresponse()
            self.reply(answer.status, answer.read())
        except OSError as error:
            self.reply(503, f"{error}\n".encode())

    def app_port(self, name: str) -> int | None:
        entries = json.loads((self.state / ENTRIES).read_text("utf-8"))
        for entry in entries.values():
            if entry["spec"]["labels"].get("app") == name:
                ports = json.loads(entry["metadata"]["annotations"]["weft.dev/app-ports"])
                return int(next(iter(ports.values())))
        return None

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Admin(Forward):
    def do_GET(self) -> None:
        text = f"http.outbound_fake.downstream_rq_total: {Forward.requests}\n"
        self.reply(200, b"LIVE\n" if self.path == "/ready" else text.encode())


def proxy(arguments: argparse.Namespace) -> None:
    bootstrap = json.loads(Path(arguments.bootstrap).read_text("utf-8"))
    metadata = bootstrap["node"]["metadata"]
    Forward.state = Path(arguments.state_dir).parents[1]
    token = Path(arguments.join_token_file).read_text("utf-8").strip()
    if token != f"{metadata['NAMESPACE']}/{metadata['SERVICE_ACCOUNT']}":
        sys.exit("the join token is for another workload")
    ports = [metadata.get("HTTP_PROXY_PORT"), metadata.get("WEFT_GATEWAY", ":").split(":")[1]]
    admin = bootstrap["admin"]["address"]["socket_address"]["port_value"]
    servers = [ThreadingHTTPServer(("127.0.0.1", int(port)), Forward) for port in ports if port]
    servers.append(ThreadingHTTPServer(("127.0.0.1", admin), Admin))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    stop_at_sigterm()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    plane = commands.add_parser("controlplane")
    for option in ("--config", "--state-dir", "--port", "--mtls-port", "--admin-port"):
        plane.add_argument(option, required=True)
    for option in ("--state-passphrase-file", "--store"):
        plane.add_argument(option)
    plane.set_defaults(run=controlplane)
    sidecar = commands.add_parser("proxy")
    sidecar.add_argument("-c", dest="bootstrap", required=True)
    for option in ("--state-dir", "--ca-address", "--ca-root", "--join-token-file"):
        sidecar.add_argument(option, required=True)
    sidecar.set_defaults(run=proxy)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
