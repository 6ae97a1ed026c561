"""A policy with an error opens nothing at a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.inventory import Inventory
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.sources.files import FileSource

KINDS = ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"]


def manifest(kind: str, spec: str) -> str:
    head = f"apiVersion: security.istio.io/v1\nkind: {kind}\n"
    return f"{head}metadata: {{name: till, namespace: shop}}\nspec: {spec}\n"


class Started:
    def __init__(self, folder: Path, last_good: Path | None = None) -> None:
        self.inventory = Inventory()
        self.source = FileSource(
            folder, self.inventory, lambda: None, rescan_ms=5, last_good=last_good
        )
        self.source.load()

    @property
    def denied(self) -> list[str]:
        found = self.inventory.snapshot().of(AuthorizationPolicy)
        return [one.namespace for one in found if one.spec.action == "DENY" and one.spec.rules]

    @property
    def told(self) -> list[str]:
        statuses = self.inventory.snapshot().statuses
        return [f"{s.position} {s.severity}" for s in statuses if s.code == "HeldShut"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_policy_that_can_not_be_read_at_a_start_shuts_its_namespace(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(manifest(kind, "{wrong: 1}"))
    one = Started(tmp_path)
    assert one.denied == ["shop"]
    assert one.told == [f"{path}:4:8 error"]
    path.write_text(manifest(kind, "{still: wrong}"))
    await one.source._rescan()
    assert (one.denied, len(one.told)) == (["shop"], 1)
    path.write_text(manifest(kind, "{}"))
    await one.source._rescan()
    assert (one.denied, one.told) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
async def test_later_the_last_good_version_is_known(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(manifest(kind, "{}"))
    one = Started(tmp_path)
    path.write_text(manifest(kind, "{wrong: 1}"))
    (tmp_path / "b.yaml").write_text(manifest(kind, "{wrong: 1}").replace("till", "new"))
    await one.source._rescan()
    assert (one.denied, one.told) == ([], [])


def test_several_of_one_namespace_and_one_with_a_wrong_name(tmp_path: Path) -> None:
    text = manifest("AuthorizationPolicy", "{wrong: 1}")
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("till", '"Not \\"A Name"'))
    one = Started(tmp_path)
    assert one.denied == ["shop", "shop"]
    assert len(one.told) == 2
    assert "Duplicate" not in {status.code for status in one.inventory.snapshot().statuses}


def test_other_kinds_shut_nothing(tmp_path: Path) -> None:
    text = manifest("DestinationRule", "{wrong: 1}").replace("security", "networking")
    (tmp_path / "a.yaml").write_text(text)
    assert Started(tmp_path).denied == []


# ------------------------------------------------------------------ over a restart


BROKEN = "kind: [\n"
SECRET = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {tls.key: hush}\n"
SPEC = "{action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}"


async def started(folder: Path, state: Path) -> Started:
    one = Started(folder, state / "last-good.json")
    await one.source._keep()
    return one


async def test_a_restart_knows_the_last_good_policies_of_a_file_that_is_no_yaml(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    path = folder / "a.yaml"
    path.write_text("\n\n" + manifest("AuthorizationPolicy", SPEC) + SECRET)
    before = await started(folder, tmp_path)
    (policy,) = before.inventory.snapshot().of(AuthorizationPolicy)
    path.write_text(BROKEN)
    after = await started(folder, tmp_path)
    (found,) = after.inventory.snapshot().of(AuthorizationPolicy)
    assert (found.key, found.spec) == (policy.key, policy.spec)
    assert str(found.position) == f"{path}:3:1"
    assert after.source.doubts() == ()
    codes = {status.code for status in after.inventory.snapshot().statuses}
    assert codes == {"ParseError", "HeldLastGood"}
    # Once more, as nothing new was learned; and what else stands in the file is not kept.
    again = await started(folder, tmp_path)
    assert len(again.inventory.snapshot().of(AuthorizationPolicy)) == 1
    kept = tmp_path / "last-good.json"
    assert "hush" not in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_a_restart_knows_the_last_good_version_of_one_policy(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    path = folder / "a.yaml"
    other = "---\n" + manifest("PeerAuthentication", "{}")
    path.write_text(manifest("AuthorizationPolicy", SPEC) + other)
    await started(folder, tmp_path)
    path.write_text(manifest("AuthorizationPolicy", "{wrong: 1}") + other)
    for _ in range(2):
        one = await started(folder, tmp_path)
        assert (one.denied, one.told) == (["shop"], [])
        (policy,) = one.inventory.snapshot().of(AuthorizationPolicy)
        assert policy.key.name == "till"
    path.write_text("")
    await one.source._rescan()
    await one.source._rescan()
    assert (await started(folder, tmp_path)).denied == []


async def test_nobody_knows_what_a_file_holds_that_could_never_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    path = folder / "a.yaml"
    path.write_text(BROKEN)
    for _ in range(2):
        one = await started(folder, tmp_path)
        (doubt,) = one.source.doubts()
        assert doubt.startswith(f"{path}:2:1: ")
        assert doubt.endswith("what policies it holds is not known; correct or remove it")
    path.write_text("# nothing\n")
    await one.source._rescan()
    assert one.source.doubts() == ()
    path.write_text(BROKEN)
    await one.source._rescan()
    # There was none while it could be read, and a restart knows that.
    assert one.source.doubts() == ()
    assert (await started(folder, tmp_path)).source.doubts() == ()
    path.unlink()
    (folder / "b.yaml").write_text(BROKEN)
    one = await started(folder, tmp_path)
    assert len(one.source.doubts()) == 1
    (folder / "b.yaml").unlink()
    await one.source._rescan()
    assert one.source.doubts() == ()


async def test_what_was_kept_and_is_spoiled_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.yaml").write_text(manifest("AuthorizationPolicy", SPEC))
    await started(folder, tmp_path)
    kept = tmp_path / "last-good.json"
    kept.write_text(kept.read_text().replace("DENY", "ALLOW"))
    (folder / "a.yaml").write_text(BROKEN)
    one = await started(folder, tmp_path)
    assert "its checksum does not fit" in caplog.text
    assert len(one.source.doubts()) == 1
