"""Without the control plane requests flow on, and a proxy that starts meanwhile serves them too."""

from __future__ import annotations

import shutil
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part, greeter, messenger, synced
from tests.support.laptop import POSTCARD
from tests.support.load import Load, load
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.timeout(300)

V1 = "cluster.outbound|8080|v1|messenger.default.svc.cluster.local."


class Mesh:
    """A greeter's sidecar and two messengers, with a control plane that comes back to its ports."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.config = Path(shutil.copytree(POSTCARD, directory / "mesh"))
        self.caller, self.one, self.two = greeter(), messenger(), messenger(name="messenger-2")
        routes = self.config / "routes.yaml"
        shorter = routes.read_text("utf-8").replace("baseEjectionTime: 5s", "baseEjectionTime: 1s")
        routes.write_text(shorter, "utf-8")
        for part in self.parts:
            self.entry(part).write_text(part.entry(), "utf-8")
        for part in (self.one, self.two):
            stack.enter_context(part.running())
        ports = ("--port", str(free_port()), "--mtls-port", str(free_port()))
        self.plane = stack.enter_context(ControlPlane(self.config, directory / "state", *ports))
        self.sidecars = {part.name: self._sidecar(part, stack) for part in self.parts}
        eventually(lambda: synced(self.plane, 3), 60, "three proxies in sync")

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.caller, self.one, self.two

    def entry(self, part: Part) -> Path:
        return self.config / f"{part.name}.json"

    def _sidecar(self, part: Part, stack: ExitStack) -> ProxyProcess:
        return stack.enter_context(part.weft(self.plane, self.directory))

    def members(self) -> int:
        """How many messengers the greeter's sidecar knows."""
        return self.sidecars[self.caller.name].stats()[V1 + "membership_total"]

    def served(self, part: Part) -> int:
        """How many requests its sidecar has given to the messenger, in its present life."""
        return (
            self.sidecars[part.name].stats().get(f"cluster.inbound|{part.app}||.upstream_rq_2xx", 0)
        )

    def certificate(self, part: Part) -> str:
        """What its sidecar shows to others."""
        return ssl.get_server_certificate(("127.0.0.1", part.inbound))


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path, stack)


def test_requests_flow_and_a_restarted_proxy_serves_its_last_good_configuration(mesh: Mesh) -> None:
    one = mesh.sidecars[mesh.one.name]
    with load(mesh.caller.outbound, "messenger:8080") as flowing:
        flowing.more(50)
        shown = mesh.certificate(mesh.one)
        mesh.plane.stop(signal.SIGKILL)
        flowing.more(200)
        one.stop(signal.SIGKILL)
        flowing.more(100)
        one.start()
        eventually(lambda: still_served(mesh, flowing), 60, "requests at the restarted proxy")
        assert mesh.certificate(mesh.one) == shown
        assert mesh.members() == 2
        mesh.plane.start()
        eventually(lambda: synced(mesh.plane, 3), 60, "everything in sync again")
        mesh.entry(mesh.two).unlink()
        eventually(lambda: mesh.members() == 1, 60, "a change after the return")
        flowing.more(50)
        eventually(lambda: synced(mesh.plane, 3), 60, "everything in sync with the change")
        assert flowing.failures == []
    for log in (mesh.plane.log, *(sidecar.log for sidecar in mesh.sidecars.values())):
        assert "Traceback" not in log


def still_served(mesh: Mesh, flowing: Load) -> bool:
    flowing.more(20)
    return mesh.served(mesh.one) > 20
