"""Other people's clients through two Weft proxies in a row, HTTP/2 and mutual TLS between them."""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import h2.connection
import h2.events
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.proxy_row import SIZES, Row, grpc_server, proxy_row

MESSAGE = b"postcard" * 1000
LARGE = bytes(range(256)) * (64 << 12)  # 64 MB


class Web(BaseHTTPRequestHandler):
    """Says what it was asked; `/bytes/N` gives N bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, _, count = self.path.partition("/bytes/")
        body = bytes(int(count)) if count else self.path.encode()
        self._answer(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(hashlib.sha256(body).hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("access-control-allow-origin", "*")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Row]:
    web = Server(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    folder = tmp_path_factory.mktemp("row")
    with grpc_server() as grpc_port, proxy_row(folder, web.server_port, grpc_port) as found:
        yield found
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture
def channel(row: Row) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{row.plain}", options=SIZES) as opened:
        yield opened


def run(*command: str, stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


class TestCurl:
    @pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
    def test_plaintext(self, row: Row, version: str) -> None:
        url = f"http://127.0.0.1:{row.plain}/hello"
        shown = run(program("curl"), "-sS", version, "-w", " %{http_version}", url)
        assert shown == ("/hello 1.1" if version == "--http1.1" else "/hello 2")

    @pytest.mark.parametrize(("version", "said"), [("--http2", "2"), ("--http1.1", "1.1")])
    def test_alpn(self, row: Row, version: str, said: str) -> None:
        command = [program("curl"), "-sS", version, "--cacert", str(row.root)]
        url = f"https://localhost:{row.tls}/hello"
        resolve = f"localhost:{row.tls}:127.0.0.1"
        shown = run(*command, "--resolve", resolve, "-w", " %{http_version}", url)
        assert shown == f"/hello {said}"

    def test_an_upload(self, row: Row) -> None:
        url = f"http://127.0.0.1:{row.plain}/upload"
        command = [program("curl"), "-sS", "--http2-prior-knowledge", "--data-binary", "@-"]
        body = MESSAGE * 500
        assert run(*command, url, stdin=body) == hashlib.sha256(body).hexdigest()

    def test_the_offer_of_h2c_is_declined(self, row: Row) -> None:
        """`--http2` asks by Upgrade first, which Envoy does not take up either."""
        url = f"http://127.0.0.1:{row.plain}/hello"
        shown = run(program("curl"), "-sS", "--http2", "-w", " %{http_version}", url)
        assert shown == "/hello 1.1"


def test_h2load_with_differing_paths(row: Row, tmp_path: Path) -> None:
    uris = tmp_path / "uris"
    base = f"http://127.0.0.1:{row.plain}"
    uris.write_text("".join(f"{base}/item/{n}?page={n * 7919}\n" for n in range(200)))
    shown = run(program("h2load"), "-n2000", "-c8", "-m8", "-i", str(uris))
    assert "2000 succeeded, 0 failed, 0 errored" in shown


def test_wrk(row: Row) -> None:
    url = f"http://127.0.0.1:{row.plain}/hello"
    shown = run(program("wrk"), "-t1", "-c16", "-d1s", url)
    assert "requests in" in shown
    assert "Socket errors" not in shown and "Non-2xx" not in shown


class TestGrpc:
    def test_unary(self, channel: Any) -> None:
        say = channel.unary_unary("/test.Echo/Say")
        assert [say(MESSAGE, timeout=10) for _ in range(50)] == [MESSAGE] * 50

    def test_a_failure_has_its_status(self, channel: Any) -> None:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/test.Echo/Fail")(b"no such card", timeout=10)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        assert failed.value.details() == "no such card"

    def test_streams(self, channel: Any) -> None:
        words = [b"one", b"two", b"three"]
        assert list(channel.unary_stream("/test.Echo/Count")(b"abc")) == [b"a", b"b", b"c"]
        assert channel.stream_unary("/test.Echo/Join")(iter(words)) == b"onetwothree"
        assert list(channel.stream_stream("/test.Echo/Chat")(iter(words))) == words

    def test_a_conversation_is_not_held_back(self, channel: Any) -> None:
        """Each answer comes before the next question is asked."""
        questions = _Questions([b"a", b"b", b"c"])
        answers = channel.stream_stream("/test.Echo/Chat")(questions, timeout=20)
        assert [questions.next_after(answer) for answer in answers] == [b"a", b"b", b"c"]

    def test_a_deadline(self, channel: Any) -> None:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/test.Echo/Wait")(b"", timeout=0.3)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_cancelling(self, channel: Any) -> None:
        call = channel.unary_unary("/test.Echo/Wait").future(b"")
        call.cancel()
        assert call.cancelled()
        assert channel.unary_unary("/test.Echo/Say")(b"on", timeout=10) == b"on"

    def test_64_megabytes(self, channel: Any) -> None:
        assert channel.unary_unary("/test.Echo/Say")(LARGE, timeout=60) == LARGE


class _Questions:
    """An iterator that asks the next one when the answer to the last is here."""

    def __init__(self, words: list[bytes]) -> None:
        self._words = words
        self._at = 0
        self._answered = threading.Semaphore(1)

    def __iter__(self) -> _Questions:
        return self

    def __next__(self) -> bytes:
        assert self._answered.acquire(timeout=20)
        if self._at == len(self._words):
            raise StopIteration
        self._at += 1
        return self._words[self._at - 1]

    def next_after(self, answer: bytes) -> bytes:
        self._answered.release()
        return answer


async def test_websockets(tmp_path: Path) -> None:
    """HTTP/1 at both ends, an extended CONNECT in the middle (RFC 8441)."""

    async def echo(socket: websockets.asyncio.server.ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with proxy_row(tmp_path, port, port) as found:
            url = f"ws://127.0.0.1:{found.plain}/chat"
            async with websockets.asyncio.client.connect(url, max_size=None) as client:
                for message in ("hello", b"\0\1\2", "x" * 300_000):
                    await client.send(message)
                    assert await client.recv() == message


def test_a_thousand_streams_of_one_connection(row: Row) -> None:
    """All are served, whole, and none of them waits for all the others."""
    with socket.create_connection(("127.0.0.1", row.plain), 20) as wire:
        done = _ask_all(wire, 1000, b"/bytes/20000")
    assert sorted(done) == list(range(1, 2001, 2))
    assert set(done.values()) == {20_000}
    order = list(done)
    assert order.index(max(order)) > 0


def _ask_all(wire: socket.socket, count: int, path: bytes) -> dict[int, int]:
    """Opens all streams at once. Stream id -> bytes of its body, in the order of their ends."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.increment_flow_control_window(1 << 24)
    for stream_id in range(1, 2 * count, 2):
        names = ((":method", "GET"), (":scheme", "http"), (":authority", "a"))
        connection.send_headers(stream_id, [*names, (":path", path.decode())], end_stream=True)
    wire.sendall(connection.data_to_send())
    got: dict[int, int] = {}
    done: dict[int, int] = {}
    while len(done) < count:
        for event in connection.receive_data(wire.recv(1 << 16)):
            if isinstance(event, h2.events.DataReceived) and event.stream_id is not None:
                size = event.flow_controlled_length or 0
                got[event.stream_id] = got.get(event.stream_id, 0) + size
                connection.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
                done[event.stream_id] = got.get(event.stream_id, 0)
            assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated)
        wire.sendall(connection.data_to_send())
    return done


def test_a_browsers_fetch(row: Row, tmp_path: Path) -> None:
    """Chromium speaks HTTP/2 to the proxy; it trusts the certificate by its key's hash."""
    chromium = program("chromium")
    leaf = x509.load_pem_x509_certificate((row.root.parent / "leaf.pem").read_bytes())
    key = leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    known = base64.b64encode(hashlib.sha256(key).digest()).decode()
    page = tmp_path / "page.html"
    url = f"https://localhost:{row.tls}/bytes/300000"
    page.write_text(
        "<body><script type=module>"
        f"const answer = await fetch('{url}');"
        "const body = await answer.arrayBuffer();"
        "document.body.append(`${answer.status} ${body.byteLength}`);"
        "</script>"
    )
    shown = run(
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"),
        *(f"--user-data-dir={tmp_path}/profile", f"--ignore-certificate-errors-spki-list={known}"),
        *("--dump-dom", page.as_uri()),
    )
    assert "200 300000" in shown
