"""A certificate authority that is not ours, behind Istio's CSR service: for tests of our client.

Certificates are made by the `openssl` command. The messages of istio.v1.auth are put together and
taken apart by hand (protobuf's wire format, fields as in istio.io/api security/v1alpha1/ca.proto),
so that a mistake in our generated code, or in our signing, cannot hide on both sides. It answers as
istiod's server does: UNAUTHENTICATED in its words, one certificate per element, roots at the end.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc import aio

SERVICE_NAME = "istiod.istio-system.svc"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CA_USAGE = "keyUsage=critical,keyCertSign,cRLSign"
_LEAF = """basicConstraints=critical,CA:{ca}
keyUsage=critical,{usage}
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=critical,{names}
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came over the wire."""

    csr: str
    validity_s: int
    authorization: str


Answer = Callable[[Asked, "Context"], Awaitable[list[str]]]
Context = aio.ServicerContext[bytes, bytes]


class OpensslCa:
    """Root, intermediate and the service's own certificate, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.root = self.make_root("root")
        request = self._request("intermediate", "/O=cluster.local/CN=intermediate")
        extensions = f"basicConstraints=critical,CA:TRUE,pathlen:0\n{_CA_USAGE}\n"
        self.intermediate = self._sign(request, "intermediate", "root", extensions)
        request = self._request("server", "/CN=istiod")
        names = f"DNS:{SERVICE_NAME}"
        self.server = self.leaf(request.read_text(), names) + self.intermediate

    def make_root(self, name: str) -> str:
        """PEM of another self-signed one; its key lies beside it."""
        out = self.folder / f"{name}.pem"
        subject = ("-subj", "/O=cluster.local", "-days", "3650", "-addext", _CA_USAGE)
        self._openssl("req", "-x509", *_EC, "-keyout", f"{name}.key", "-out", out.name, *subject)
        return out.read_text()

    def leaf(
        self,
        csr: str,
        names: str,
        *,
        days: int = 1,
        issuer: str = "intermediate",
        authority: bool = False,
    ) -> str:
        """PEM of a certificate for the CSR. names: as OpenSSL writes them, `URI:spiffe://...`."""
        path = self.folder / "asked.csr"
        path.write_text(csr)
        usage = "keyCertSign" if authority else "digitalSignature,keyEncipherment"
        extensions = _LEAF.format(ca=str(authority).upper(), usage=usage, names=names)
        return self._sign(path, "leaf", issuer, extensions, days)

    def csr(self) -> str:
        """Of a key that is nobody's."""
        return self._request("nobody", "/CN=nobody").read_text()

    def _request(self, name: str, subject: str) -> Path:
        out = self.folder / f"{name}.csr"
        key = ("-keyout", f"{name}.key", "-out", out.name)
        self._openssl("req", "-new", *_EC, *key, "-subj", subject)
        return out

    def _sign(self, request: Path, name: str, issuer: str, extensions: str, days: int = 1) -> str:
        (self.folder / "extensions").write_text(extensions)
        out = self.folder / f"{name}.pem"
        by = ("-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-days", str(days))
        files = ("-in", request.name, "-out", out.name, "-extfile", "extensions")
        self._openssl("x509", "-req", *files, *by)
        return out.read_text()

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)


@dataclass
class CsrService:
    """`answer` says what it does; `asked` is all that came."""

    answer: Answer
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    async def create(self, request: bytes, context: Context) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        fields = dict(_fields(request))
        csr, validity_s = fields.get(1, b""), fields.get(3, 0)
        assert isinstance(csr, bytes) and isinstance(validity_s, int)
        self.asked.append(Asked(csr.decode(), validity_s, metadata.get("authorization", "")))
        chain = await self.answer(self.asked[-1], context)
        return b"".join(b"\x0a" + _varint(len(one)) + one for one in map(str.encode, chain))


@asynccontextmanager
async def serving(ca: OpensslCa, answer: Answer) -> AsyncIterator[CsrService]:
    service = CsrService(answer)
    create = grpc.unary_unary_rpc_method_handler(service.create)
    handler = grpc.method_handlers_generic_handler(
        "istio.v1.auth.IstioCertificateService", {"CreateCertificate": create}
    )
    key = (ca.folder / "server.key").read_bytes()
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    credentials = grpc.ssl_server_credentials([(key, ca.server.encode())])
    service.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield service
    finally:
        await server.stop(0)


def signing(ca: OpensslCa, names: str, token: str) -> Answer:
    """What istiod does: for whoever shows the token a leaf with these names, its intermediate and
    the root."""

    async def answer(asked: Asked, context: Context) -> list[str]:
        if asked.authorization != f"Bearer {token}":
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, "request authenticate failure")
        leaf = await asyncio.to_thread(ca.leaf, asked.csr, names)
        return [leaf, ca.intermediate, ca.root]

    return answer


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(number, value) of each field: varints and what has a length."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            yield tag >> 3, message[at : at + value]
            at += value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = message[at]
        value |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if octet < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*octets, value))
