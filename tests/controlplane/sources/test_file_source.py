"""A watched directory: what is read, what happens to what is wrong, and every way to change it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.inventory import Inventory
from controlplane.sources.files import FileSource, SourceError
from tests.support.wait import eventually_async


def text(*names: str) -> str:
    return "---\n".join(
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n" for name in names
    )


class Bench:
    def __init__(self, directory: Path, rescan_ms: int = 50) -> None:
        self.directory = directory
        self.inventory = Inventory()
        self.changes = 0
        self.source = FileSource(directory, self.inventory, self._changed, rescan_ms)

    def _changed(self) -> None:
        self.changes += 1

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def names(self) -> str:
        return " ".join(item.name for item in self.inventory.snapshot().objects)

    def said(self) -> list[str]:
        statuses = self.inventory.snapshot().statuses
        return [str(s).replace(f"{self.directory}/", "") for s in statuses]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.source.load()
        task = asyncio.get_running_loop().create_task(self.source.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def becomes(self, names: str) -> None:
        await eventually_async(lambda: self.names() == names, what=f"objects {names}")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    directory = tmp_path / "conf"
    directory.mkdir()
    return Bench(directory)


# --------------------------------------------------------------------------- loading


def test_manifests_of_the_whole_tree_are_read_in_order(bench: Bench) -> None:
    bench.write("b.yml", text("b"))
    bench.write("a/deep/c.yaml", text("c"))
    bench.write("d.json", '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "d"}}')
    for skipped in (
        ".h.yaml",
        ".git/x.yaml",
        "#e.yaml#",
        ".#f.yaml",
        "g.yaml~",
        "h.txt",
        "~i.yaml",
    ):
        bench.write(skipped, text("skipped"))
    bench.source.load()
    assert bench.names() == "b c d"
    assert not bench.said()
    assert bench.changes == 0


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_directory_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=f"the configuration directory .*{name} (does|is) not"):
        FileSource(tmp_path / name, Inventory(), lambda: None).load()


def test_an_empty_directory_is_no_mistake(bench: Bench) -> None:
    bench.source.load()
    assert bench.names() == ""


def test_what_can_not_be_read_is_said_and_disturbs_nothing(bench: Bench) -> None:
    bench.write("a.yaml", text("a"))
    bench.write("b.yaml", b"a: b\n\nc: \xff\n")
    bench.write("c.yaml", "a: [\n")
    (bench.directory / "d.yaml").symlink_to("nowhere")
    bench.write("e.yaml", b"\xef\xbb\xbf" + text("e").encode())
    bench.source.load()
    assert bench.names() == "a e"
    assert bench.said() == [
        "b.yaml:3:4: error: the file is not UTF-8 (byte 0xff) (File b.yaml)",
        "c.yaml:2:1: error: did not find expected node content "
        "(while parsing a flow node) (File c.yaml)",
        "d.yaml: error: the file can not be read: No such file or directory (File d.yaml)",
    ]


def test_a_loop_of_links_is_walked_once(bench: Bench) -> None:
    bench.write("a/a.yaml", text("a"))
    (bench.directory / "a" / "again").symlink_to(bench.directory)
    bench.source.load()
    assert bench.names() == "a"
    assert not bench.said()


# --------------------------------------------------------------------------- changes


async def test_files_come_change_and_go(bench: Bench) -> None:
    path = bench.write("a.yaml", text("one"))
    async with bench.running():
        bench.write("new/b.yaml", text("two"))
        await bench.becomes("one two")
        path.write_text(text("three"))
        await bench.becomes("three two")
        path.unlink()
        await bench.becomes("two")
        shutil.rmtree(bench.directory / "new")
        await bench.becomes("")


async def test_events_alone_are_enough(tmp_path: Path) -> None:
    """No rescan within the test's deadline. When the watch begins can only be seen by trying."""
    bench = Bench(tmp_path, rescan_ms=600_000)
    async with bench.running():
        tries = 0

        def seen() -> bool:
            nonlocal tries
            tries += 1
            bench.write("a.yaml", text(f"try{tries}"))
            return bench.changes > 0

        await eventually_async(seen)
        bench.write("a.yaml", text("one"))
        bench.write("sub/b.yaml", text("two"))
        await bench.becomes("one two")
        (tmp_path / "sub" / "b.yaml").unlink()
        await bench.becomes("one")


async def test_a_file_that_is_touched_is_no_change(bench: Bench) -> None:
    path = bench.write("a.yaml", text("a"))
    async with bench.running():
        path.touch()
        bench.write(".same", text("a")).rename(path)
        bench.write("b.yaml", text("b"))
        await bench.becomes("a b")
        assert bench.changes == 1


async def test_a_file_that_no_longer_parses_keeps_its_last_good_objects(bench: Bench) -> None:
    path = bench.write("a.yaml", text("a", "b"))
    async with bench.running():
        path.write_text("kind: [\n")
        await eventually_async(bench.said)
        assert bench.names() == "a b"
        path.write_text(text("b", "c"))
        await bench.becomes("b c")
        assert not bench.said()


async def test_a_wrong_object_keeps_its_last_good_version_and_others_go_on(bench: Bench) -> None:
    path = bench.write("a.yaml", text("a", "b"))
    async with bench.running():
        path.write_text(text("a", "new").replace("{name: a}", "{name: a, labels: 5}"))
        await bench.becomes("a new")
        assert bench.said() == [
            "a.yaml:3:29: error: metadata.labels: expected a mapping, got the integer 5 "
            "(Namespace default/a)"
        ]
        path.write_text(text("new"))
        await bench.becomes("new")


async def test_a_document_that_lost_its_name_removes_nothing(bench: Bench) -> None:
    path = bench.write("a.yaml", text("a", "b"))
    async with bench.running():
        path.write_text(text("a", "c").replace("{name: a}", "{nmae: a}"))
        await bench.becomes("a b c")
        path.write_text(text("c"))
        await bench.becomes("c")


async def test_a_broken_file_that_is_deleted_loses_its_objects(bench: Bench) -> None:
    path = bench.write("a.yaml", text("a"))
    async with bench.running():
        path.write_text("[")
        await eventually_async(bench.said)
        path.unlink()
        await bench.becomes("")
        assert not bench.said()


async def test_a_file_replaced_by_rename_is_read(bench: Bench) -> None:
    bench.write("a.yaml", text("old"))
    async with bench.running():
        temporary = bench.write(".a.yaml.swp", text("new"))
        temporary.rename(bench.directory / "a.yaml")
        await bench.becomes("new")


async def test_a_file_emptied_for_writing_is_not_a_deletion(bench: Bench) -> None:
    """open(..., 'w') leaves an empty file for a moment: only one that stays empty counts."""
    path = bench.write("a.yaml", text("a"))
    bench.source.load()
    path.write_text("")
    bench.source.load()
    assert bench.names() == "a"
    path.write_text(text("b"))
    bench.source.load()
    assert bench.names() == "b"
    path.write_text("")
    async with bench.running():
        await bench.becomes("")


async def test_a_config_map_volume_is_swapped_as_kubernetes_does(bench: Bench) -> None:
    """..data -> ..1, a.yaml -> ..data/a.yaml, sub -> ..data/sub; then ..data is renamed over."""
    bench.write("..1/a.yaml", text("old"))
    bench.write("..1/sub/b.yaml", text("sub-old"))
    (bench.directory / "..data").symlink_to("..1")
    (bench.directory / "a.yaml").symlink_to("..data/a.yaml")
    (bench.directory / "sub").symlink_to("..data/sub")
    async with bench.running():
        assert bench.names() == "old sub-old"
        bench.write("..2/a.yaml", text("new"))
        bench.write("..2/sub/b.yaml", text("sub-new"))
        (bench.directory / "..tmp").symlink_to("..2")
        os.rename(bench.directory / "..tmp", bench.directory / "..data")
        shutil.rmtree(bench.directory / "..1")
        await bench.becomes("new sub-new")
        assert not bench.said()


async def test_a_directory_that_vanishes_keeps_everything_until_it_returns(bench: Bench) -> None:
    bench.write("a.yaml", text("a"))
    async with bench.running():
        bench.directory.rename(bench.directory.with_name("away"))
        await eventually_async(bench.said)
        assert "the configuration directory is gone" in bench.said()[0]
        assert bench.names() == "a"
        bench.write("b.yaml", text("b"))
        await bench.becomes("b")
        assert not bench.said()
        bench.write("c.yaml", text("c"))
        await bench.becomes("b c")


async def test_the_target_of_a_link_out_of_the_directory_is_followed(
    bench: Bench, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(text("old"))
    (bench.directory / "a.yaml").symlink_to(outside)
    async with bench.running():
        outside.write_text(text("new"))
        await bench.becomes("new")


async def test_a_folder_that_can_not_be_listed_takes_nothing_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.write("a.yaml", text("one"))
    bench.write("team/b.yaml", text("two"))
    listed = os.scandir

    def scandir(path: str) -> Any:
        """Also for root, whom no mode keeps out."""
        if str(path).endswith("/team"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    async with bench.running():
        assert bench.names() == "one two"
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", scandir)
            await eventually_async(bench.said, what="an error")
            (said,) = bench.said()
            assert "team: error: the folder can not be listed: Permission denied" in said
            assert bench.names() == "one two"
        await eventually_async(lambda: not bench.said(), what="no error")
        shutil.rmtree(tmp_path / "team")
        await bench.becomes("one")
