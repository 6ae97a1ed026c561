"""Foreign trust domains as the mesh knows them: whom to ask for their roots, and how."""

from __future__ import annotations

from dataclasses import field

from certs.spiffe import SpiffeId
from certs.spiffe_bundle import SpiffeBundle
from controlplane.mesh.position import NOWHERE, Position
from protos.frozen import frozen


@frozen
class ForeignDomain:
    """endpoint None: the profile https_web, else https_spiffe with this server. first_bundle is
    believed until the endpoint has been reached for the first time; url '': always. Of the mesh's
    own trust domain it has the roots that are believed beside those of its authority. object: who
    says so, as in a Status."""

    trust_domain: str
    url: str
    endpoint: SpiffeId | None = None
    first_bundle: SpiffeBundle | None = None
    position: Position = field(default=NOWHERE, compare=False)
    object: str = field(default="", compare=False)
