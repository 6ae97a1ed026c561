"""The messenger: says one line for the postcard. It knows nothing of a mesh.

PORT=8080 python messenger.py --version v1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MESSAGES = {
    "v1": "The sea is warm, the bread is good, and nobody here has heard of pagers.",
    "v2": "Stayed another week. Sent you a shell in a separate parcel. Do come.",
}


class Messenger(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write: two small ones cost a delayed ACK, 40 ms
    version = "v1"

    def do_GET(self) -> None:
        answer = {"version": self.version, "message": MESSAGES[self.version]}
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the sidecar keeps the access log."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the postcard's message as JSON.")
    parser.add_argument("--version", choices=sorted(MESSAGES), default="v1")
    Messenger.version = parser.parse_args().version
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Messenger)
    print(f"messenger {Messenger.version} listens on port {port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
