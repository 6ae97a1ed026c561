"""Bundle endpoints of both profiles and those who ask them, over real TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from certs.authority import Authority
from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.spiffe_bundle import MAX_BUNDLE_BYTES, SpiffeBundle, emit_bundle
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.federation.fetch import FetchError, fetch_spiffe, fetch_web
from controlplane.federation.serve import BundleOptions, serve_bundle
from tests.support import pki
from tests.support.live import live, stored

NOW = time.time()
FAR = Authority.create("far", NOW)
NEXT = Authority.create("far", NOW)
SERVER = SpiffeId.workload("far", "weft-system", "weft-controlplane")
FIRST = SpiffeBundle(FAR.bundle.roots)


@asynccontextmanager
async def served(authority: LiveAuthority, **files: Path) -> AsyncIterator[str]:
    """The URL of an endpoint."""
    async with AsyncExitStack() as stack:
        options = BundleOptions("127.0.0.1", 0, **files)
        port = await serve_bundle(options, authority, ServingCertificate(authority), stack)
        yield f"https://127.0.0.1:{port}/"


async def ask_spiffe(
    url: str, server: SpiffeId = SERVER, believed: SpiffeBundle = FIRST
) -> SpiffeBundle:
    return await asyncio.to_thread(fetch_spiffe, url, server, believed)


async def test_https_spiffe() -> None:
    authority = live(FAR, NEXT)
    async with served(authority) as url:
        bundle = await ask_spiffe(url)
    assert bundle.roots == authority.bundle.roots
    assert bundle.refresh_hint_s == 60
    assert bundle.sequence is not None


async def test_the_endpoint_follows_a_rotation() -> None:
    authority = live(FAR)
    async with served(authority) as url:
        assert (await ask_spiffe(url)).roots == FAR.bundle.roots
        authority.swap(stored(FAR, NEXT))
        both = await ask_spiffe(url)
        authority.swap(stored(NEXT))
        assert (await ask_spiffe(url, believed=both)).roots == NEXT.bundle.roots
        with pytest.raises(FetchError, match="certificate verify failed"):
            await ask_spiffe(url)


async def test_a_server_of_another_identity_is_not_believed() -> None:
    async with served(live(FAR)) as url:
        with pytest.raises(FetchError, match=f"the server is {SERVER}, not spiffe://far/other"):
            await ask_spiffe(url, SpiffeId("far", "/other"))
        with pytest.raises(FetchError, match="certificate verify failed"):
            await ask_spiffe(url, believed=SpiffeBundle(NEXT.bundle.roots))


async def test_https_web_and_files_that_rotate(tmp_path: Path) -> None:
    first, second = pki.Authority("web 1"), pki.Authority("web 2")
    chain, key = first.issue(ips=("127.0.0.1",)).write(tmp_path, "web")
    key.chmod(0o600)
    async with served(live(FAR), certificate=chain, key=key) as url:
        assert (await ask_web(url, first)).roots == FAR.bundle.roots
        renewed = second.issue(ips=("127.0.0.1",))
        key.write_text("half a key")
        assert (await ask_web(url, first)).roots == FAR.bundle.roots
        renewed.write(tmp_path, "web")
        assert (await ask_web(url, second)).roots == FAR.bundle.roots


async def ask_web(url: str, authority: pki.Authority) -> SpiffeBundle:
    roots = ssl.create_default_context(cadata=authority.pem)
    return await asyncio.to_thread(fetch_web, url, roots)


async def test_https_web_checks_the_name(tmp_path: Path) -> None:
    authority = pki.Authority("web")
    chain, key = authority.issue(dns=("elsewhere",)).write(tmp_path, "web")
    key.chmod(0o600)
    async with served(live(FAR), certificate=chain, key=key) as url:
        with pytest.raises(FetchError, match="IP address mismatch"):
            await ask_web(url, authority)


async def test_files_that_cannot_be_served(tmp_path: Path) -> None:
    pair = pki.Authority("web").issue(dns=("a",)).write(tmp_path, "web")
    other = pki.Authority("web").issue(dns=("a",)).write(tmp_path, "other")
    for path in (pair[1], other[1]):
        path.chmod(0o600)
    for files, words in (
        ({"certificate": pair[0]}, "belong together"),
        ({"certificate": pair[0], "key": tmp_path / "absent"}, "absent: No such file"),
        ({"certificate": pair[0], "key": other[1]}, "can't be served"),
    ):
        with pytest.raises(CertificateError, match=words):
            async with served(live(FAR), **files):
                pass


@asynccontextmanager
async def answering(handler: web.RequestHandler | object, folder: Path) -> AsyncIterator[str]:
    """A server of the web whose answer to GET / is the handler's."""
    application = web.Application()
    application.router.add_get("/", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    pair = WEB.issue(ips=("127.0.0.1",)).write(folder, "answering")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


WEB = pki.Authority("web")
TWICE = json.dumps({"keys": [{"use": "x509-svid", "x5c": ["a", "b"]}]})


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "", "answers 404"),
        (302, "", "answers 302"),
        (200, "", "bundle is not JSON"),
        (200, '{"keys": []}', "no key of use x509-svid"),
        (200, TWICE, "exactly one certificate"),
        (200, " " * (MAX_BUNDLE_BYTES + 1), "larger than"),
    ],
)
async def test_bad_answers(tmp_path: Path, status: int, body: str, words: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"location": "/elsewhere"})

    async with answering(handler, tmp_path) as url:
        with pytest.raises(FetchError) as caught:
            await ask_web(url, WEB)
    assert words in str(caught.value) and url in str(caught.value)


async def test_an_answer_without_end(tmp_path: Path) -> None:
    """More than a bundle may have, and then nothing: whoever read on would wait."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" " * (MAX_BUNDLE_BYTES + 1))
        await asyncio.Event().wait()
        return response

    async with answering(handler, tmp_path) as url:
        with pytest.raises(FetchError, match="the bundle is larger than"):
            await ask_web(url, WEB)


async def test_a_server_that_sends_byte_by_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, and the whole in a minute: it must not keep a thread so long."""
    monkeypatch.setattr("controlplane.federation.fetch.TIMEOUT_S", 0.3)
    body = emit_bundle(FAR.bundle.roots, 1, 60)
    cut = asyncio.Event()
    late = b"content-length: %d\r\n\r\n" % len(body)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(3000):
            writer.write(b"a")
            await asyncio.sleep(0.02)
            if reader.at_eof():
                cut.set()
                break
        else:
            writer.write(b"\r\n" + late + body)
        writer.close()

    pair = WEB.issue(ips=("127.0.0.1",)).write(tmp_path, "slow")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    async with await asyncio.start_server(drip, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchError, match="no whole bundle came within"):
            await ask_web(f"https://127.0.0.1:{port}/", WEB)
        await cut.wait()


async def test_a_path_is_asked_as_it_is_written(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=emit_bundle(FAR.bundle.roots, 1, 60))

    async with answering(handler, tmp_path) as url:
        assert (await ask_web(url, WEB)).sequence == 1
        with pytest.raises(FetchError, match="answers 404"):
            await ask_web(f"{url}/other", WEB)


async def test_nobody_there() -> None:
    with pytest.raises(FetchError, match="refused"):
        await ask_web("https://127.0.0.1:1/", WEB)
