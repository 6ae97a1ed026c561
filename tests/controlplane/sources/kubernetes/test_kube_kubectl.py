"""`kubectl` writes to the fake API server, the source reads from it: what judges the fake is a
client that nobody here has written. Skipped where there is no kubectl."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from controlplane.kinds.core import Service
from controlplane.sources.kubernetes.client import Client
from tests.support import pki
from tests.support.kube_running import Running, Ticket, following
from tests.support.kube_server import KubeServer, kubeconfig, serving

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")

Kubectl = Callable[..., Coroutine[Any, Any, str]]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
}
ROUTE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "v"},
    "spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
}


def kubectl_at(url: str, folder: Path, ca_pem: str) -> Kubectl:
    """Runs it, with a list of objects on its standard input; its standard output."""
    config = folder / "config"
    config.write_text(kubeconfig(url, ca_pem=ca_pem))

    async def run(*words: str, objects: tuple[dict[str, Any], ...] = ()) -> str:
        command = ("kubectl", f"--kubeconfig={config}", f"--cache-dir={folder / 'cache'}", *words)
        pipe = asyncio.subprocess.PIPE
        done = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env={"HOME": str(folder), "PATH": _PATH}
        )
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        out, err = await done.communicate(text.encode() if objects else b"")
        assert done.returncode == 0, err.decode()
        return out.decode()

    return run


_PATH = "/usr/local/bin:/usr/bin:/bin"


async def test_what_kubectl_applies_edits_and_deletes(tmp_path: Path) -> None:
    server = KubeServer()
    authority = pki.Authority("cluster CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(ips=("127.0.0.1",)).write(tmp_path, "apiserver"))
    trust = ssl.create_default_context(cadata=authority.pem)
    async with (
        serving(server.handle, tls=context) as url,  # it sends no token without TLS
        Client(Ticket(url, tls=trust)) as client,
        following(server, client) as one,
    ):
        kubectl = kubectl_at(url, tmp_path, authority.pem)
        said = await kubectl("apply", "--validate=false", "-f", "-", objects=(SERVICE, ROUTE))
        assert said == "service/web created\nvirtualservice.networking.istio.io/v created\n"
        await one.until(lambda: one.find("Service", "web") and one.find("VirtualService", "v"))
        assert one.snapshot.of(Service)[0].spec.ports[0].port == 80
        await _edits(kubectl, one)
        await kubectl("delete", "--wait=false", "service/web", "virtualservice/v")
        await one.until(lambda: not one.snapshot.objects)


async def _edits(kubectl: Kubectl, one: Running) -> None:
    patch = json.dumps({"spec": {"http": None, "hosts": "web"}})
    await kubectl("patch", "virtualservice", "v", "--type=merge", "-p", patch)
    await one.until(one.statuses)
    (status,) = one.statuses()
    assert str(status.position) == "kubernetes:VirtualService/default/v:spec.hosts"
    more = {**SERVICE, "spec": {"ports": [{"name": "http", "port": 81}]}}
    await kubectl("apply", "--server-side", "--validate=false", "-f", "-", objects=(more,))
    await one.until(lambda: one.snapshot.of(Service)[0].spec.ports[0].port == 81)
    found = json.loads(await kubectl("get", "services", "--all-namespaces", "-o", "json"))
    assert [item["metadata"]["name"] for item in found["items"]] == ["web"]
