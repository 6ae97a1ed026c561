"""A server of lines over TCP, for the tests of the laptop mesh."""

from __future__ import annotations

import os
import socketserver


class Lines(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"line " + line)


socketserver.ThreadingTCPServer.daemon_threads = True
with socketserver.ThreadingTCPServer(("127.0.0.1", int(os.environ["PORT"])), Lines) as server:
    server.serve_forever()
