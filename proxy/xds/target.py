"""From the bootstrap's ADS cluster to what a gRPC channel needs: addresses and TLS. Pure.

A gRPC channel checks the server's certificate against one name; other ways of matching it are
refused in the bootstrap, not dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from proxy.config.model import (
    Bootstrap,
    Cluster,
    CommonTls,
    SocketAddress,
    TlsCertificate,
    ValidationContext,
)
from proxy.config.rejected import Rejected


@dataclass(frozen=True, slots=True)
class ChannelTls:
    """PEM bytes. server_name '' is the address. own_certificate: the SDS name of a
    certificate that this proxy holds itself and that is put in before each stream.
    roots_origin: the file that the roots were read from."""

    roots: bytes
    server_name: str = ""
    own_certificate: str = ""
    chain: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    roots_origin: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses in gRPC's spelling, tried in turn; tls None is plaintext."""

    addresses: tuple[str, ...]
    tls: ChannelTls | None = None


def target_of(bootstrap: Bootstrap, local_secrets: frozenset[str]) -> Target:
    """The way to the control plane. Rejected if the ADS cluster says what gRPC cannot do."""
    assert bootstrap.ads is not None
    name = bootstrap.ads.cluster
    index, cluster = next(
        (i, each) for i, each in enumerate(bootstrap.clusters) if each.name == name
    )
    path = f"static_resources.clusters[{index}]"
    addresses = _addresses(cluster)
    if not addresses:
        raise Rejected(f"{path}.load_assignment", "has no endpoint of the control plane")
    if cluster.tls is None:
        return Target(addresses)
    where = f"{path}.transport_socket.typed_config.common_tls_context"
    return Target(
        addresses, _tls(cluster.tls.common, cluster.tls.sni, where, bootstrap, local_secrets)
    )


def _addresses(cluster: Cluster) -> tuple[str, ...]:
    assignment = cluster.load_assignment
    localities = assignment.localities if assignment else ()
    return tuple(
        _spelled(endpoint.address)
        for group in sorted(localities, key=lambda each: each.priority)
        for endpoint in group.endpoints
    )


def _spelled(address: SocketAddress) -> str:
    return f"unix:{address.path}" if address.path else str(address)


def _tls(
    common: CommonTls, sni: str, path: str, bootstrap: Bootstrap, local_secrets: frozenset[str]
) -> ChannelTls:
    secrets = {each.name: each for each in bootstrap.secrets}
    validation = common.validation
    if common.validation_sds is not None:
        held = secrets.get(common.validation_sds.name)
        if held is None or held.validation is None:
            where = f"{path}.validation_context_sds_secret_config"
            raise Rejected(where, "the way to the control plane needs its CA in the bootstrap")
        validation = held.validation
    if validation is None or validation.trusted_ca is None:
        raise Rejected(f"{path}.validation_context", "needs trusted_ca to verify the control plane")
    name = _server_name(validation, sni, path)
    certificate, own = None, ""
    if common.certificates:
        certificate = common.certificates[0]
    elif common.certificate_sds is not None:
        own = common.certificate_sds.name
        held = secrets.get(own)
        if held is not None and held.certificate is not None:
            certificate, own = held.certificate, ""
        elif own not in local_secrets:
            where = f"{path}.tls_certificate_sds_secret_configs[0]"
            raise Rejected(where, f"there is no secret `{own}` in the bootstrap or of this proxy")
    trusted = validation.trusted_ca
    tls = ChannelTls(trusted.data, name, own, roots_origin=trusted.origin)
    return own_certificate(tls, certificate) if certificate is not None else tls


def own_certificate(tls: ChannelTls, certificate: TlsCertificate) -> ChannelTls:
    """`tls` with a client certificate in the place of the name of one."""
    chain, key = certificate.chain.data, certificate.private_key.data
    return replace(tls, own_certificate="", chain=chain, key=key)


def _server_name(validation: ValidationContext, sni: str, path: str) -> str:
    """One exact DNS name, or the SNI."""
    if not validation.match_sans:
        return sni
    first = validation.match_sans[0]
    if len(validation.match_sans) > 1 or first.san_type != "DNS" or first.matcher.kind != "exact":
        where = f"{path}.validation_context.match_typed_subject_alt_names"
        raise Rejected(where, "gRPC can match one exact DNS name only")
    return first.matcher.value
