"""Both gRPC ports of a control plane, with the same services: by token, and by SVID."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from controlplane.addresses import address_of, check_free
from controlplane.api.introspection import Introspection
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import (
    ServingCertificate,
    mtls_credentials,
    tls_credentials,
)
from controlplane.options import ControlPlaneOptions
from controlplane.rpc.guests import Guests
from controlplane.rpc.methods import Registry
from controlplane.rpc.server import Server

STOP_GRACE_S = 0.5


async def open_ports(
    options: ControlPlaneOptions,
    serving: ServingCertificate,
    authority: LiveAuthority,
    register: Callable[[Registry], None],
    guests: Guests,
    stack: AsyncExitStack,
) -> tuple[int, int]:
    """Their numbers; the stack stops them. register: adds the services. guests: who callers are.
    Raises StartError."""
    for name, port in (("port", options.port), ("mtls-port", options.mtls_port)):
        check_free(options.host, port, name)
    server = Server(guests=guests)
    register(server)
    introspection = Introspection()
    await introspection.register(server)
    by_token, by_svid = tls_credentials(serving), mtls_credentials(serving, authority)
    bound = (
        server.add_secure_port(address_of(options.host, options.port), by_token),
        server.add_secure_port(address_of(options.host, options.mtls_port), by_svid),
    )
    await server.start()
    stack.push_async_callback(server.stop, STOP_GRACE_S)
    stack.push_async_callback(introspection.stopping)
    return bound
