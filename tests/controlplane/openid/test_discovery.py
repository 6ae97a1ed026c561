"""Keys of issuers that are looked up: fetched within bounds, kept, told, and never waited for."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import ECKey

from certs.errors import CertificateError
from controlplane.emit import jwt
from controlplane.errors import StartError
from controlplane.mesh.policy import Security, TokenPolicy, TokenRule
from controlplane.openid.discovery import Discovery
from controlplane.openid.document import MAX_BYTES, count, discovery_url, keys_url, public_keys
from controlplane.openid.fetch import Fetch, FetchError, fetching
from controlplane.openid.fetcher import Fetcher
from controlplane.openid.followed import LATE_AFTER_S, REFRESH_S, Followed
from controlplane.openid.reach import Reach, networks
from controlplane.openid.shelf import Shelf
from controlplane.tasks import spawn
from tests.support.jwt import jwks
from tests.support.ports import Reservation

ISSUER = "https://idp.test/realm"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def jwk(kid: str) -> dict[str, Any]:
    key: dict[str, Any] = dict(ECKey.generate_key("P-256").as_dict(private=True))
    return {**key, "kid": kid, "use": "sig"}


A, B = jwk("a"), jwk("b")


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


# --------------------------------------------------------------------------- documents


def test_where_the_document_is() -> None:
    assert discovery_url("https://a.test") == "https://a.test/.well-known/openid-configuration"
    assert discovery_url("https://a.test/x/") == "https://a.test/x/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"issuer": ISSUER, "jwks_uri": "http://idp.test/keys"}, "is not https, as the issuer is"),
        ({"issuer": ISSUER + "/", "jwks_uri": "https://idp.test/k"}, "not of this issuer"),
        ({"issuer": ISSUER}, "no usable jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "https://idp.test/a b"}, "no usable jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": ["https://idp.test"]}, "no usable jwks_uri"),
        ([], "no JSON object"),
        ("hush", "no JSON object"),
    ],
)
def test_documents_that_are_refused(document: object, why: str) -> None:
    with pytest.raises(CertificateError, match=why) as refused:
        keys_url(json.dumps(document).encode(), ISSUER)
    assert "hush" not in str(refused.value)  # it may be from where nobody should read


def test_keys_mean_the_same_in_any_order_and_without_what_nobody_needs() -> None:
    for_encryption, secret = {**B, "use": "enc"}, json.loads(jwks())["keys"][0]
    found = public_keys(key_set(A, B, for_encryption, secret))
    assert found == public_keys(key_set(B, {**A, "x5t": "other"}))
    assert count(found) == 2
    assert '"d"' not in found and '"k"' not in found
    with pytest.raises(CertificateError, match="any valid public key"):
        public_keys(jwks().encode())  # whoever may ask for a secret could sign with it


# --------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("address", "machine", "mesh"),
    [
        ("93.184.216.34", True, True),
        ("10.1.2.3", True, True),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("::ffff:127.0.0.1", True, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::8efa:b4ae", True, True),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fd00:ec2::254", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_which_addresses_may_be_asked(address: str, machine: bool, mesh: bool) -> None:
    for loopback, may in ((True, machine), (False, mesh)):
        reach = Reach(loopback=loopback)
        if may:
            assert reach.allowed([address, "0.0.0.0"]) == (address,)
        else:
            with pytest.raises(CertificateError, match="not one to ask"):
                reach.allowed([address])


def test_networks_that_the_operator_blocks() -> None:
    reach = Reach(loopback=True, blocked=networks(["10.0.0.0/8", "::1/128"]))
    assert reach.allowed(["10.1.2.3", "11.0.0.1", "::1", "127.0.0.1"]) == ("11.0.0.1", "127.0.0.1")
    with pytest.raises(CertificateError, match="blocked"):
        reach.allowed(["::ffff:10.0.0.1"])
    with pytest.raises(StartError, match=r"--block-jwks: 10\.0\.0\.1/8 has host bits"):
        networks(["10.0.0.1/8"])


# --------------------------------------------------------------------------- fetching


@asynccontextmanager
async def provider(
    document: Handler | None = None, keys: Handler | None = None
) -> AsyncIterator[str]:
    """A provider of identities on this machine; its issuer."""

    async def described(request: web.Request) -> web.StreamResponse:
        return web.json_response({"issuer": issuer, "jwks_uri": f"{issuer}/keys"})

    async def listed(request: web.Request) -> web.StreamResponse:
        return web.Response(body=key_set(A))

    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", document or described)
    application.router.add_get("/keys", keys or listed)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer = f"http://localhost:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        await runner.cleanup()


def fetched(reach: Reach, timeout_s: float = 5.0, **handlers: Handler) -> tuple[str, str]:
    async def fetch() -> tuple[str, str]:
        async with provider(**handlers) as issuer:
            url, keys = await fetching(reach)(issuer, timeout_s)
            return url.removeprefix(issuer), keys

    return asyncio.run(fetch())


HERE = Reach(loopback=True)


def test_document_then_keys() -> None:
    assert fetched(HERE) == ("/keys", public_keys(key_set(A)))


async def _elsewhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/keys")


async def _endless(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b" " * (MAX_BYTES + 1))


async def _slow(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _private(request: web.Request) -> web.StreamResponse:
    return web.Response(text="hush")


@pytest.mark.parametrize(
    ("where", "handler", "why"),
    [
        ("document", _elsewhere, "the server answers 302"),
        ("keys", _elsewhere, "/keys: the server answers 302"),
        ("keys", _endless, "larger than 1048576 bytes"),
        ("keys", _slow, "no whole answer came in time"),
        ("document", _private, "the discovery document is no JSON"),
        ("keys", _private, "Jwks is an invalid JSON"),
    ],
)
def test_answers_that_are_none(where: str, handler: Handler, why: str) -> None:
    with pytest.raises(FetchError, match=why) as failed:
        fetched(HERE, 0.3 if handler is _slow else 20.0, **{where: handler})
    assert "hush" not in str(failed.value)


def test_nobody_there_to_ask() -> None:
    with Reservation() as reservation:
        issuer = f"http://localhost:{reservation.port()}"
        with pytest.raises(FetchError, match=r"openid-configuration: .*[Cc]onnect") as failed:
            asyncio.run(_asked(fetching(HERE), issuer))
        assert "ssl" not in str(failed.value)


def test_what_speaks_no_http_is_not_quoted() -> None:
    async def ask() -> None:
        def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-hush\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            issuer = f"http://localhost:{server.sockets[0].getsockname()[1]}"
            await Fetcher(HERE, ssl.create_default_context())(issuer, 20.0)

    with pytest.raises(FetchError, match="no answer of HTTP") as failed:
        asyncio.run(ask())
    assert "hush" not in str(failed.value)


def test_names_of_forbidden_addresses_are_not_asked() -> None:
    with pytest.raises(FetchError, match=r"localhost:\d+/\.well-known.*not one to ask"):
        fetched(Reach(loopback=False))
    for issuer, why in {
        "http://169.254.169.254/latest": "not one to ask",
        "http://[::ffff:169.254.169.254]": "not one to ask",
        "http://a:b@idp.test": "without a user",
        "http://\uff11\uff16\uff19.254.169.254": "not ASCII",  # wide digits
    }.items():
        fetch = Fetcher(HERE, ssl.create_default_context())
        with pytest.raises(FetchError, match=why):
            asyncio.run(_asked(fetch, issuer))


async def _asked(fetch: Fetch, issuer: str) -> tuple[str, str]:
    return await fetch(issuer, 1.0)


# --------------------------------------------------------------------------- over time


def test_keys_stay_when_the_provider_is_away() -> None:
    followed = Followed(ISSUER, 5.0, 1000.0)
    assert followed.said(1000.0)[:2] == ("info", "KeysAwaited")
    followed.failed("gone", 1000.0, 0.0)
    severity, code, message = followed.said(1000.0)
    assert (severity, code) == ("error", "NoKeys") and "is refused: gone." in message
    assert 1000.0 < followed.due_at < 1010.0
    assert followed.got("https://k", public_keys(key_set(A)), 1001.0, 0.0)
    assert followed.due_at == 1001.0 + REFRESH_S
    told = followed.said(1001.0)
    assert told[2] == f"1 key of '{ISSUER}' from https://k, as of 1970-01-01T00:16:41Z"
    assert not followed.got("https://k", public_keys(key_set(A)), 2000.0, 0.0)
    assert followed.said(2000.0) == told  # nothing has happened
    followed.failed("gone", 3000.0, 0.0)
    assert followed.said(3000.0) == told
    late = followed.said(2001.0 + LATE_AFTER_S)
    assert late[:2] == ("warning", "KeysLate") and "1970-01-01T00:33:20Z (gone)" in late[2]
    assert followed.got("https://k", public_keys(key_set(A, B)), 9000.0, 0.0)
    assert "2 keys" in followed.said(9000.0)[2]


class Provider:
    """A fetch that answers what it is told to, and counts. `asked` is set when somebody asks."""

    def __init__(self) -> None:
        self.keys: bytes | None = None
        self.asked = 0

    async def __call__(self, issuer: str, timeout_s: float) -> tuple[str, str]:
        self.asked += 1
        if self.keys is None:
            raise FetchError(f"{issuer}: away")
        return f"{issuer}/keys", public_keys(self.keys)


def security(*rules: TokenRule) -> Security:
    return Security(tokens=(TokenPolicy("shop", "ids", rules),))


LOOKED_UP = TokenRule(ISSUER, discovers=True)
GIVEN = TokenRule("https://b.test", jwks='{"keys": []}')


def run(folder: Path, found: Provider, rounds: int = 1) -> tuple[Security, list[str]]:
    """What a mesh gets after so many changes, and what was said in each round."""

    async def follow() -> tuple[Security, list[str]]:
        changed = asyncio.Event()
        discovery = Discovery(found, Shelf(folder), changed.set)
        asked, said = security(LOOKED_UP, GIVEN), []
        running = spawn(discovery.run(), "discovery")
        for _ in range(rounds):
            filled = discovery.configure(asked)
            assert discovery.configure(asked) is filled
            said += [status.code for status in discovery.statuses(asked)]
            await asyncio.wait_for(changed.wait(), 5.0)
            changed.clear()
        filled = discovery.configure(asked)
        said += [f"{one.code}: {one.message}" for one in discovery.statuses(asked)]
        running.cancel()
        return filled, said

    return asyncio.run(follow())


def test_a_mesh_gets_keys_as_soon_as_there_are_any(tmp_path: Path) -> None:
    found = Provider()
    found.keys = key_set(A)
    filled, said = run(tmp_path, found)
    first, second = filled.tokens[0].rules
    assert first.jwks == public_keys(key_set(A)) and second == GIVEN
    assert filled.tokens_of.of("shop", {})[0].rules[0].jwks
    assert said[0] == "KeysAwaited"
    assert said[1].startswith("KeysFetched: spec.jwtRules[0]: 1 key of")


def test_until_then_each_token_is_refused_and_it_is_said_why(tmp_path: Path) -> None:
    filled, said = run(tmp_path, Provider())
    assert filled.tokens[0].rules[0] == LOOKED_UP
    assert said[1].startswith("NoKeys: spec.jwtRules[0]: the keys of")
    refusing = jwt.authentication([LOOKED_UP], False).providers["origins-0"]
    assert refusing.remote_jwks.http_uri.cluster == "jwks|unknown"


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    found = Provider()
    found.keys = key_set(A)
    run(tmp_path, found)
    discovery = Discovery(Provider(), Shelf(tmp_path), lambda: None)
    assert discovery.configure(security(LOOKED_UP)).tokens[0].rules[0].jwks
    (file,) = (tmp_path / "openid").iterdir()
    file.write_text("{")
    again = Discovery(Provider(), Shelf(tmp_path), lambda: None)
    assert not again.configure(security(LOOKED_UP)).tokens[0].rules[0].jwks


def test_who_is_named_no_more_is_asked_no_more(tmp_path: Path) -> None:
    discovery = Discovery(Provider(), Shelf(tmp_path), lambda: None)
    discovery.configure(security(LOOKED_UP))
    assert set(discovery.followed) == {ISSUER}
    plain = security(GIVEN)
    assert discovery.configure(plain) is plain
    assert not discovery.followed and discovery.statuses(plain) == ()
