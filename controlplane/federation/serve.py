"""The bundle endpoint as a listening port."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from aiohttp import web

from certs.errors import CertificateError
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.federation.endpoint import BundleEndpoint, Shown, from_files
from protos.frozen import frozen

STOP_GRACE_S = 0.5


@frozen
class BundleOptions:
    """port 0: any free one. Without certificate and key the profile is https_spiffe, else
    https_web."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


async def serve_bundle(
    options: BundleOptions,
    authority: LiveAuthority,
    serving: ServingCertificate,
    stack: AsyncExitStack,
) -> int:
    """Serves until `stack` ends; the port. CertificateError: the files are no good. OSError: it
    can't listen there."""
    endpoint = BundleEndpoint(authority, _shown(options, serving))
    runner = web.AppRunner(endpoint.application(), access_log=None, shutdown_timeout=STOP_GRACE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(
        runner, options.host, options.port, ssl_context=endpoint.tls(), reuse_port=False
    ).start()
    return int(runner.addresses[0][1])


def _shown(options: BundleOptions, serving: ServingCertificate) -> Callable[[], Shown]:
    if options.certificate is not None and options.key is not None:
        return partial(from_files, options.certificate, options.key)
    if options.certificate is not None or options.key is not None:
        raise CertificateError("--bundle-certificate and --bundle-key belong together")

    def own() -> Shown:
        secret = serving.current()
        return Shown(secret.chain_pem, secret.key_pem)

    return own
