"""TLS material of the proxy's model, made from a test's `Authority`."""

from __future__ import annotations

import ssl

from proxy.config import model
from tests.support.pki import Authority, KeyPair


def certificate(pair: KeyPair) -> model.TlsCertificate:
    return model.TlsCertificate(
        model.DataSource(pair.certificate.encode()), model.DataSource(pair.key.encode())
    )


def validation(
    authority: Authority | None, *sans: model.SanMatcher
) -> model.ValidationContext | None:
    if authority is None:
        return None
    return model.ValidationContext(model.DataSource(authority.pem.encode()), sans)


def uri(value: str, kind: str = "exact") -> model.SanMatcher:
    return model.SanMatcher("URI", model.StringMatcher(kind, value))  # type: ignore[arg-type]


def python_client(
    authority: Authority, pair: KeyPair | None = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """A plain Python client that trusts `authority` and shows `pair`; host names not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.pem)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if pair is not None:
        load(context, pair)
    return context


def load(context: ssl.SSLContext, pair: KeyPair) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)


def shake_hands(client: ssl.SSLObject, server: ssl.SSLObject, *pipes: ssl.MemoryBIO) -> None:
    """Runs a handshake in memory; raises what either side raises. pipes: client in, client out,
    server in, server out."""
    client_in, client_out, server_in, server_out = pipes
    done: set[ssl.SSLObject] = set()
    while len(done) < 2 or client_out.pending or server_out.pending:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            server_in.write(client_out.read())
            client_in.write(server_out.read())


def handshake(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, server_name: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """(client, server) after a handshake in memory."""
    pipes = [ssl.MemoryBIO() for _ in range(4)]
    client = client_context.wrap_bio(pipes[0], pipes[1], server_hostname=server_name)
    server = server_context.wrap_bio(pipes[2], pipes[3], server_side=True)
    shake_hands(client, server, *pipes)
    return client, server
