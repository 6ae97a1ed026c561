"""A provider of identities, asked for its keys: discovery document, then key set.

Bounded in bytes and time, without redirects, at addresses that may be asked only: a name is looked
up once for each connection, and what was looked at is what is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from ssl import SSLContext
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from certs.errors import CertificateError
from controlplane.openid.document import MAX_BYTES, discovery_url, keys_url, public_keys
from controlplane.openid.fetch import FetchError
from controlplane.openid.reach import Reach

MAX_TIMEOUT_S = 60.0
_CHUNK_BYTES = 65_536
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


class Fetcher:
    """roots: verify servers."""

    def __init__(self, reach: Reach, roots: SSLContext) -> None:
        self._reach = reach
        self._roots = roots

    async def __call__(self, issuer: str, timeout_s: float) -> tuple[str, str]:
        """Where the keys of the issuer are, and the keys as a JWKS document."""
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._reach),
            ssl=self._roots,
            use_dns_cache=False,
            force_close=True,
        )
        limits = aiohttp.ClientTimeout(total=min(timeout_s, MAX_TIMEOUT_S))
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
        ) as session:
            where = discovery_url(issuer)
            url = await _said(where, self._get(session, where), lambda text: keys_url(text, issuer))
            return url, await _said(url, self._get(session, url), public_keys)

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        _check(url, self._reach)
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise CertificateError(f"the server answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise CertificateError(f"the answer is larger than {MAX_BYTES} bytes")
            return bytes(body)


async def _said(url: str, text: Awaitable[bytes], read: Callable[[bytes], str]) -> str:
    """What is read in the answer of `url`, which an error names."""
    try:
        return read(await text)
    except TimeoutError:
        raise FetchError(f"{url}: no whole answer came in time") from None
    except (CertificateError, aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(f"{url}: {_line(error)}") from None


def _check(url: str, reach: Reach) -> None:
    """What the resolver does not see."""
    parts = urlsplit(url)
    if not url.isascii():  # the client makes digits of what looks like them: of wide ones, say
        raise CertificateError("an URL that is not ASCII")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise CertificateError("not an http or https URL without a user")
    try:
        ip_address(parts.hostname)
    except ValueError:
        return  # a name
    reach.allowed((parts.hostname,))


class _Resolver(AbstractResolver):
    """Of the addresses of a name those that may be asked."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._inner = ThreadedResolver(asyncio.get_running_loop())

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = self._reach.allowed(one["host"] for one in found)
        return [one for one in found if one["host"] in allowed]

    async def close(self) -> None:
        await self._inner.close()


def _line(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    elif isinstance(error, aiohttp.ClientError):
        return "no answer of HTTP"  # the library's words quote what came instead
    return " ".join(str(error).split())[:300] or type(error).__name__
