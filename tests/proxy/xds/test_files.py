"""Resources from files: read at start, read again when moved, kept when they are bad."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from protos.types import CDS, EDS
from proxy.config import bootstrap
from proxy.config.positions import BadConfig
from proxy.config.snapshot import Snapshot
from proxy.xds.client import XdsClient
from proxy.xds.files import Files, contents
from proxy.xds.update import Update
from tests.support.wait import eventually_async

CLUSTER = """
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: {name}
  type: EDS
  eds_cluster_config: {{eds_config: {{path_config_source: {{path: {folder}/eds.yaml}}}}}}
"""
ENDPOINTS = """
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: {name}
  endpoints:
  - lb_endpoints:
    - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


def move(path: Path, *resources: str) -> None:
    """As who changes such a file should: a new one takes its place."""
    fresh = path.with_suffix(".new")
    fresh.write_text("resources:" + "".join(resources))
    fresh.rename(path)


def clusters(folder: Path, *names: str) -> list[str]:
    return [CLUSTER.format(name=name, folder=folder) for name in names]


class Proxy:
    def __init__(self, folder: Path) -> None:
        path = folder / "bootstrap.yaml"
        source = f"{{path_config_source: {{path: {folder}/cds.yaml}}}}"
        path.write_text(f"dynamic_resources: {{cds_config: {source}}}")
        self.seen: list[Snapshot] = []
        self.client = XdsClient(bootstrap.load(path), self.seen.append)
        self._task = asyncio.get_running_loop().create_task(self.client.run())

    def port(self, name: str) -> int:
        (group,) = self.seen[-1].assignments[name].localities
        return group.endpoints[0].address.port

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_files_name_files(tmp_path: Path) -> None:
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a"))
    move(tmp_path / "eds.yaml", ENDPOINTS.format(name="a", port=81))
    proxy = Proxy(tmp_path)
    await eventually_async(lambda: bool(proxy.seen), what="the first snapshot")
    assert len(proxy.seen) == 1 and proxy.port("a") == 81
    await proxy.stop()


async def test_a_move_is_seen_and_what_is_bad_changes_nothing(tmp_path: Path) -> None:
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a"))
    move(tmp_path / "eds.yaml", ENDPOINTS.format(name="a", port=81))
    proxy = Proxy(tmp_path)
    await eventually_async(lambda: bool(proxy.seen), what="the first snapshot")
    move(tmp_path / "eds.yaml", ENDPOINTS.format(name="a", port=82))
    await eventually_async(lambda: proxy.port("a") == 82, what="the moved file")
    move(tmp_path / "eds.yaml", " [nonsense")
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a", "b"))
    await eventually_async(lambda: proxy.client.status().warming_clusters == {"b"}, what="b")
    assert proxy.port("a") == 82
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "b"))
    await eventually_async(lambda: "a" not in proxy.seen[-1].clusters, what="the removal")
    await proxy.stop()


async def test_files_moved_while_nobody_looked(tmp_path: Path) -> None:
    """The second may get the number of the first, by which files are told apart."""
    path = tmp_path / "cds.yaml"
    heard: list[str] = []

    async def take(update: Update) -> None:
        heard.append(update.version)

    def write(version: int) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(f"version_info: '{version}'")
        fresh.rename(path)

    write(0)
    files = Files(lambda: {(CDS, str(path)): frozenset()}, take, lambda: None)
    for version in range(1, 10, 2):
        await files.follow()
        write(version)
        write(version + 1)
    await files.follow()
    await files.follow()
    files.close()
    assert heard == ["0", "2", "4", "6", "8", "10"]


async def test_a_move_that_nobody_tells_is_found(tmp_path: Path) -> None:
    """What the path leads to is in a folder that nobody watches."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a"))
    move(elsewhere / "real.yaml", ENDPOINTS.format(name="a", port=81))
    (tmp_path / "eds.yaml").symlink_to(elsewhere / "real.yaml")
    proxy = Proxy(tmp_path)
    await eventually_async(lambda: bool(proxy.seen), what="the first snapshot")
    move(elsewhere / "real.yaml", ENDPOINTS.format(name="a", port=82))
    await eventually_async(lambda: proxy.port("a") == 82, what="the moved file")
    await proxy.stop()


@pytest.mark.parametrize("others", [(), ("b",)])
async def test_a_cluster_comes_back(tmp_path: Path, others: tuple[str, ...]) -> None:
    both = [ENDPOINTS.format(name=name, port=81) for name in "ab"]
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a", *others))
    move(tmp_path / "eds.yaml", *both)
    proxy = Proxy(tmp_path)
    await eventually_async(lambda: bool(proxy.seen), what="the first snapshot")
    move(tmp_path / "cds.yaml", *clusters(tmp_path, *others) or [" []"])
    await eventually_async(lambda: "a" not in proxy.seen[-1].clusters, what="the removal")
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a", *others))
    await eventually_async(lambda: "a" in proxy.seen[-1].clusters, what="the return")
    assert proxy.port("a") == 81
    await proxy.stop()


async def test_a_log_beside_the_files_does_not_tell_of_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of a log that is in the folder which is watched would never end."""
    caplog.set_level(logging.INFO)
    move(tmp_path / "cds.yaml", *clusters(tmp_path, "a"))
    move(tmp_path / "eds.yaml", ENDPOINTS.format(name="a", port=81))
    proxy = Proxy(tmp_path)
    await eventually_async(lambda: bool(proxy.seen), what="the first snapshot")
    move(tmp_path / "eds.yaml", ENDPOINTS.format(name="a", port=82))
    await eventually_async(lambda: proxy.port("a") == 82, what="the moved file")
    await proxy.stop()
    assert [one for one in caplog.records if one.name.startswith("watchfiles")] == []


def test_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "eds.json"
    path.write_text('{"version_info": "7", "resources": []}')
    assert contents(EDS, path).version == "7" and not contents(EDS, path).complete
    path.write_text("{}")
    assert contents(CDS, path).complete and contents(CDS, path).version
    path.write_text('{"resourcs": []}')
    with pytest.raises(BadConfig, match="resourcs"):
        contents(CDS, path)


def test_a_file_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text("dynamic_resources: {cds_config: {path_config_source: {path: /not/there}}}")
    with pytest.raises(BadConfig, match="`/not/there` does not exist"):
        bootstrap.load(path)
