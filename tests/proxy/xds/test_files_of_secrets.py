"""Secrets from files: what they name is read again when another certificate takes its place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml

from proxy.config import bootstrap, model
from proxy.config.snapshot import Snapshot
from proxy.xds.client import XdsClient
from tests.support.pki import Authority, KeyPair
from tests.support.wait import eventually_async

ROOT = Authority()
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def place(folder: Path, version: str, pair: KeyPair) -> None:
    """As Kubernetes mounts a Secret: a folder for each version, and one symbolic link to it that
    is moved to its place."""
    fresh = folder / version
    fresh.mkdir()
    (fresh / "tls.crt").write_text(pair.certificate)
    (fresh / "tls.key").write_text(pair.key)
    link = folder / "..data.new"
    link.symlink_to(version)
    link.rename(folder / "..data")


def configured(folder: Path, mount: Path) -> Path:
    secret = {
        "@type": TLS + "Secret",
        "name": "web",
        "tls_certificate": {
            "certificate_chain": {"filename": str(mount / "tls.crt")},
            "private_key": {"filename": str(mount / "tls.key")},
        },
    }
    (folder / "sds.yaml").write_text(yaml.safe_dump({"resources": [secret]}))
    source = {"path_config_source": {"path": str(folder / "sds.yaml")}}
    common = {"tls_certificate_sds_secret_configs": [{"name": "web", "sds_config": source}]}
    socket = {"@type": TLS + "UpstreamTlsContext", "common_tls_context": common}
    cluster = {"name": "a", "transport_socket": {"name": "tls", "typed_config": socket}}
    path = folder / "bootstrap.yaml"
    path.write_text(yaml.safe_dump({"static_resources": {"clusters": [cluster]}}))
    return path


def shown(seen: list[Snapshot]) -> bytes:
    """The certificate that is in force, b"" before there is one."""
    secret = seen[-1].secrets.get("web") if seen else None
    certificate = secret.certificate if secret is not None else None
    return certificate.chain.data if isinstance(certificate, model.TlsCertificate) else b""


async def test_a_certificate_that_was_moved_to_its_place_is_taken(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    first, second, third = (ROOT.issue(dns=("web.test",)) for _ in range(3))
    place(mount, "1", first)
    seen: list[Snapshot] = []
    client = XdsClient(bootstrap.load(configured(tmp_path, mount)), seen.append)
    task = asyncio.get_running_loop().create_task(client.run())
    try:
        await eventually_async(lambda: shown(seen) == first.certificate.encode(), what="first")
        place(mount, "2", second)
        await eventually_async(lambda: shown(seen) == second.certificate.encode(), what="second")
        place(mount, "bad", KeyPair(third.certificate, first.key))
        place(mount, "3", third)  # what does not fit together was refused meanwhile
        await eventually_async(lambda: shown(seen) == third.certificate.encode(), what="third")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
