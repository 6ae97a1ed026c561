"""`weft grpc-bootstrap`: what a program with gRPC's own xDS needs where no `weft up` starts it.

Two files: GRPC_XDS_BOOTSTRAP for the program, and the bootstrap of the agent beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weft.bootstrap import Node, bootstrap
from weft.errors import UserError
from weft.grpc_bootstrap import LONGEST_SOCKET, VARIABLE, GrpcNode, Place, grpc_bootstrap, relay
from weft.locality import of_labels
from weft.state import write_private


@dataclass(frozen=True, slots=True)
class GrpcFiles:
    """control_plane: HOST:PORT of its mutual TLS. root: the trust bundle to verify it by."""

    folder: Path
    control_plane: str
    root: Path
    workload: str
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)
    admin_port: int = 15000


def write(wanted: GrpcFiles) -> str:
    """Writes both; what to run then. UserError: it can't be."""
    place = Place(wanted.folder.absolute())
    if len(os.fsencode(place.socket)) > LONGEST_SOCKET:
        raise UserError(
            f"{place.socket} is too long for a Unix socket ({LONGEST_SOCKET} bytes): choose a "
            "folder with a shorter name"
        )
    host, _, port = wanted.control_plane.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--control-plane {wanted.control_plane!r} is not HOST:PORT")
    who = (wanted.workload, wanted.namespace, wanted.service_account, wanted.labels)
    here = of_labels([wanted.labels])
    agent = Node(*who, app=wanted.workload, agent=True, locality=here)
    content = bootstrap(
        agent,
        xds_host=host.strip("[]"),
        xds_port=int(port),
        admin_port=wanted.admin_port,
        root_file=str(wanted.root.absolute()),
        listeners=[relay(place.socket)],
    )
    told = grpc_bootstrap(GrpcNode(*who, here), f"unix:{place.socket}", place.certificates)
    agent_file = place.folder / "agent.json"
    try:
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.folder.chmod(0o700)
        write_private(agent_file, json.dumps(content, indent=2) + "\n")
        write_private(place.file, json.dumps(told, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{place.folder} can't be written: {error.strerror}") from None
    return (
        f"beside the program, as its user (--ca-address: the control plane's port for tokens):\n"
        f"  weft proxy -c {agent_file} --state-dir {place.folder} "
        f"--output-certs {place.certificates} \\\n"
        f"             --ca-address HOST:PORT --ca-root {wanted.root} --join-token-file TOKEN\n"
        f"the program:\n"
        f"  {VARIABLE}={place.file} PROGRAM"
    )
