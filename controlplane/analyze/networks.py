"""IST0126: MeshNetworks with endpoints from a registry that nobody has."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Items
from controlplane.analyze.mesh_settings import mesh_networks
from controlplane.analyze.tls_secrets import data_of

_BUILT_IN = frozenset(("Kubernetes", "External", "Mock"))
_REMOTE = "istio/multiCluster"


def unknown_registries(items: Items) -> Iterator[Finding]:
    known = set(_BUILT_IN)
    for secret in items.of("Secret"):
        if secret.labels.get(_REMOTE) == "true":
            known.update(data_of(secret))
    for item, networks in mesh_networks(items):
        for name, network in networks["networks"].pairs:
            for endpoint in network["endpoints"].items:
                registry = endpoint["fromRegistry"].text
                if registry and registry not in known:
                    message = (
                        f"meshNetworks.networks.{name}: there is no registry {registry!r}; add the "
                        f"secret of that cluster (label {_REMOTE}), or correct the name"
                    )
                    yield Finding("IST0126", item, networks.position, message)
