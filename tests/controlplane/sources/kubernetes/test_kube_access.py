"""Kubeconfigs and pods: where the server is, who we are, and that again when it changes."""

from __future__ import annotations

import base64
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.sources.files import SourceError
from controlplane.sources.kubernetes.access import (
    AccessOptions,
    KubeconfigAccess,
    PodAccess,
    open_access,
)
from controlplane.sources.kubernetes.answers import ApiError
from controlplane.sources.kubernetes.client import Client, names_a_proxy
from tests.support import pki
from tests.support.kube_running import Ticket
from tests.support.kube_server import KubeServer, kubeconfig, serving


def write(path: Path, user: dict[str, Any], **cluster: Any) -> str:
    made = yaml.safe_load(kubeconfig("http://127.0.0.1:1"))
    made["users"][0]["user"] = user
    made["clusters"][0]["cluster"] |= cluster
    made["contexts"].append({"name": "bare", "context": {"cluster": "fake"}})
    path.write_text(yaml.safe_dump(made))
    return str(path)


async def test_a_token_and_the_context(tmp_path: Path) -> None:
    path = write(tmp_path / "c", {"token": "t1"})
    access = KubeconfigAccess(path, "")
    await access.load()
    assert (access.server, access.tls) == ("http://127.0.0.1:1", None)
    assert await access.authorization() == "Bearer t1"
    bare = KubeconfigAccess(path, "bare")
    await bare.load()
    assert await bare.authorization() == ""


async def test_inline_keys_are_on_disk_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    authority = pki.Authority("cluster CA")
    certificate, key = authority.issue(ips=("127.0.0.1",)).write(tmp_path, "client")
    encoded = {
        "client-certificate-data": _base64(Path(certificate)),
        "client-key-data": _base64(Path(key)),
    }
    (tmp_path / "ca.crt").write_text(authority.pem)
    ca = {"certificate-authority-data": _base64(tmp_path / "ca.crt")}
    path = write(tmp_path / "c", encoded, server="https://127.0.0.1:1", **ca)
    before = set(os.listdir(tmp_path))
    access = KubeconfigAccess(path, "")
    await access.load()
    await access.load()
    assert isinstance(access.tls, ssl.SSLContext)
    assert access.tls.check_hostname
    assert set(os.listdir(tmp_path)) == before


async def test_a_plugin_is_run_again_when_its_token_ends(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = tmp_path / "plugin.py"
    program.write_text(
        "import datetime, json, pathlib\n"
        f"p = pathlib.Path({str(count)!r})\n"
        "n = len(p.read_text()) + 1 if p.exists() else 1\n"
        "p.write_text('x' * n)\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=10)\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        "status = {'token': f't{n}', 'expirationTimestamp': end.isoformat()}\n"
        "print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))\n"
    )
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-S", str(program)],
    }
    now = [0.0]
    access = KubeconfigAccess(write(tmp_path / "c", {"exec": plugin}), "", lambda: now[0])
    await access.load()
    assert await access.authorization() == "Bearer t1"
    now[0] = 500.0
    assert await access.authorization() == "Bearer t1"
    now[0] = 560.0
    assert await access.authorization() == "Bearer t2"


async def test_a_token_file_is_read_again_and_its_loss_survived(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t1")
    now = [0.0]
    path = write(tmp_path / "c", {"tokenFile": str(token)})
    access = KubeconfigAccess(path, "", lambda: now[0])
    await access.load()
    token.write_text("t2")
    assert await access.authorization() == "Bearer t1"
    now[0] = 61.0
    assert await access.authorization() == "Bearer t2"
    os.remove(path)
    now[0] = 130.0
    assert await access.authorization() == "Bearer t2"


async def test_a_refused_token_is_renewed_but_not_all_the_time(tmp_path: Path) -> None:
    now = [100.0]
    path = write(tmp_path / "c", {"token": "t1"})
    access = KubeconfigAccess(path, "", lambda: now[0])
    await access.load()
    write(tmp_path / "c", {"token": "t2"})
    assert not await access.renew(distrusted=False)
    assert await access.authorization() == "Bearer t1"
    now[0] = 106.0
    assert not await access.renew(distrusted=False), "connections may stay: it is only a token"
    assert await access.authorization() == "Bearer t2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the kubeconfig"),
        ("{", "the kubeconfig"),
        ("contexts: []\nclusters: []\ncurrent-context: x\n", "x"),
    ],
)
async def test_a_bad_kubeconfig_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(SourceError, match=says):
        await KubeconfigAccess(str(tmp_path / "c"), "").load()


async def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "c", {"token": "t1"})
    with pytest.raises(SourceError, match=r"c: no context 'nope'; it has fake, bare$"):
        await KubeconfigAccess(path, "nope").load()


async def test_no_kubeconfig_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="name one with --kubeconfig"):
        await KubeconfigAccess(f"{tmp_path}/a:{tmp_path}/b", "").load()


async def test_in_a_pod(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(pki.Authority("cluster CA").pem)
    (tmp_path / "token").write_text("t1\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = PodAccess(environment, tmp_path)
    await access.load()
    assert access.server == "https://[fd00::1]:443"
    assert await access.authorization() == "Bearer t1"
    (tmp_path / "token").write_text("t2")
    assert await access.authorization() == "Bearer t2"
    first = access.tls
    assert await access.renew(distrusted=True)
    assert access.tls is not first
    (tmp_path / "ca.crt").unlink()
    assert not await access.renew(distrusted=True)
    with pytest.raises(SourceError, match="the service account's mount"):
        await access.load()


def test_which_of_them(tmp_path: Path) -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert isinstance(open_access(AccessOptions(), pod), PodAccess)
    assert isinstance(open_access(AccessOptions(), {}), KubeconfigAccess)
    assert isinstance(open_access(AccessOptions(tmp_path), pod), KubeconfigAccess)
    assert isinstance(open_access(AccessOptions(context="x"), pod), KubeconfigAccess)


@pytest.mark.parametrize(
    ("environment", "named"),
    [({}, False), ({"NO_PROXY": "*"}, False), ({"https_proxy": "x"}, True)],
)
def test_passwords_of_a_netrc_are_not_looked_for(environment: dict[str, str], named: bool) -> None:
    assert names_a_proxy(environment) == named


async def test_a_client_goes_on_with_a_renewed_token() -> None:
    server = KubeServer(tokens={"t2"})
    async with serving(server.handle) as url, Client(Ticket(url, "t1", ["t2"])) as client:
        with pytest.raises(ApiError, match="Unauthorized"):
            await client.get("/version")
        assert (await client.get("/version"))["major"] == "1"


async def test_a_server_that_is_not_the_one(tmp_path: Path) -> None:
    """Over TLS: another CA's certificate is refused, and the CA is read again."""
    authority = pki.Authority("cluster CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(ips=("127.0.0.1",)).write(tmp_path, "apiserver"))
    (tmp_path / "token").write_text("admintoken")
    (tmp_path / "ca.crt").write_text(pki.Authority("another CA").pem)
    async with serving(KubeServer().handle, tls=context) as url:
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
        environment["KUBERNETES_SERVICE_PORT"] = url.rpartition(":")[2]
        async with Client(PodAccess(environment, tmp_path)) as client:
            (tmp_path / "ca.crt").write_text(authority.pem)
            with pytest.raises(OSError, match="certificate"):
                await client.get("/version")
            assert (await client.get("/version"))["minor"] == "36"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
