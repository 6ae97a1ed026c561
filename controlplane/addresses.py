"""Where a control plane listens: whether it can, and under what names clients dial it."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from controlplane.errors import StartError


def check_free(host: str, port: int, option: str) -> None:
    """Asks the kernel before grpc does, whose message would be a page of C++."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(
                f"cannot listen on {address_of(host, port)}: {reason}: choose another address with "
                f"--{option} (0 takes any free port) or --host"
            ) from None


def names_of(host: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The DNS names and IP addresses of the serving certificate for clients that dial --host."""
    try:
        address = ip_address(host)
    except ValueError:
        return (host,), ()
    return (), (() if address.is_unspecified else (host,))


def reachable(host: str) -> str:
    """An IP address at which proxies reach what listens on --host."""
    try:
        wildcard = ip_address(host).is_unspecified
    except ValueError:
        wildcard = False
    try:
        return socket.gethostbyname(socket.gethostname() if wildcard else host)
    except OSError:
        return host  # IPv6, or a host that does not know its own name


def address_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on --host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
