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
    def __init__(self, folder: Path) -> None:
        self.inventory = Inventory()
        self.source = FileSource(folder, self.inventory, lambda: None, rescan_ms=5)
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
