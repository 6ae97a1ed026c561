"""What a mesh's directory says must run, and whether that has changed since it was read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from weft.deployment import Deployment, deployments
from weft.errors import UserError
from weft.manifest import manifests, read_directory
from weft.proxy_configs import ProxyConfigs
from weft.services import Service, services
from weft.workload import in_mesh

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """The Deployments, with their ports named as the services find them, and the Services."""

    deployments: tuple[Deployment, ...]
    services: tuple[Service, ...]

    @property
    def notices(self) -> list[str]:
        return [notice for deployment in self.deployments for notice in deployment.notices]


def read(directory: Path) -> Contents:
    """UserError at the first thing that is wrong."""
    documents = read_directory(directory)
    found = services(documents)
    configs = ProxyConfigs(documents)
    running = tuple(
        in_mesh(replace(one, proxy=configs.of(one.namespace, one.labels, one.annotation)), found)
        for one in deployments(documents)
    )
    if not running:
        raise UserError(f"{directory} has no Deployment (apps/v1): nothing to run")
    return Contents(running, tuple(found))


def stamp(directory: Path) -> Stamp:
    """Differs when a manifest was changed, added or removed."""
    found = []
    for file in manifests(directory):
        try:
            status = file.stat()
        except OSError:  # removed while we look: the next look sees it
            continue
        found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)
