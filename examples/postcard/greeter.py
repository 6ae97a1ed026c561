"""The greeter: a web page with a postcard, whose message comes from the messenger service.

It knows nothing of a mesh: it asks http://messenger:8080/ as if that were a host name, and its
HTTP library honours http_proxy. Without a messenger the page still comes, and says so.

    PORT=8080 python greeter.py
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import string
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MESSENGER = os.environ.get("MESSENGER_URL", "http://messenger:8080/")
TIMEOUT_S = 3.0
PAGE = string.Template(Path(__file__).with_name("postcard.html").read_text(encoding="utf-8"))
MISSING = "The message has not arrived yet. The messenger is away; it will find its way here."


def fetch_message() -> tuple[str, str]:
    """(message, version); the version is '' when the messenger did not answer."""
    try:
        with urllib.request.urlopen(MESSENGER, timeout=TIMEOUT_S) as reply:
            answer = json.load(reply)
            return str(answer["message"]), str(answer["version"])
    except (OSError, ValueError, KeyError) as error:
        print(f"no message from {MESSENGER}: {error}", flush=True)
        return MISSING, ""


def page() -> bytes:
    message, version = fetch_message()
    fields = {
        "message": message,
        "version": version or "none",
        "state": "delivered" if version else "missing",
        "carried": "by two sidecars, sealed all the way" if version else "not yet",
        "sender": f"messenger {version}" if version else "no messenger",
    }
    escaped = {name: html.escape(value) for name, value in fields.items()}
    return PAGE.substitute(escaped).encode()


class Greeter(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write: two small ones cost a delayed ACK, 40 ms

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, "text/plain; charset=utf-8", b"ok\n")
        elif self.path == "/":
            self.answer(200, "text/html; charset=utf-8", page())
        else:
            self.answer(404, "text/plain; charset=utf-8", b"only / and /healthz are here\n")

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the sidecar keeps the access log."""


def main() -> None:
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Greeter)
    print(f"greeter listens on port {port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
