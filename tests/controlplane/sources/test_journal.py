"""Applied objects across a crash: restored at once, kept only if applied again."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.parse import parse
from controlplane.sources.journal import Journal
from controlplane.sources.memory import MemorySource


def entry(name: str, address: str = "127.0.0.1") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: {address}, ports: {{http: 9101}}}}
---
"""


class Plane:
    """One life of a control plane on `path`."""

    def __init__(self, path: Path) -> None:
        self.inventory = Inventory()
        self.changes = 0
        self.journal = Journal(path, MemorySource(self.inventory, self._changed))

    def _changed(self) -> None:
        self.changes += 1

    def names(self) -> list[str]:
        return [item.key.name for item in self.inventory.snapshot().objects]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "applied.json"


def test_after_a_crash_everything_is_back(path: Path) -> None:
    before = Plane(path)
    before.journal.apply(entry("a") + entry("b"), "weft up")
    before.journal.apply(entry("c"), "weft run")
    before.journal.delete("WorkloadEntry", "default", "b")
    after = Plane(path)
    assert after.journal.restore() == 2
    assert after.names() == before.names() == ["a", "c"]


def test_a_secret_is_not_written_down(path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {tls.key: hush}\n---\n"
    plane = Plane(path)
    assert plane.journal.apply(secret + entry("a"), "api") == ()
    assert sorted(plane.names()) == ["a", "s"]
    assert "hush" not in path.read_text()
    after = Plane(path)
    assert after.journal.restore() == 1 and after.names() == ["a"]


def test_what_nobody_applies_again_goes_after_a_while(path: Path) -> None:
    Plane(path).journal.apply(entry("a") + entry("b"), "weft up")
    after = Plane(path)
    after.journal.restore()
    after.journal.apply(entry("b"), "weft up")
    assert after.journal.expire() == 1
    assert after.names() == ["b"]
    assert after.journal.expire() == 0
    again = Plane(path)
    again.journal.restore()
    assert again.names() == ["b"]


def test_a_clean_stop_leaves_nothing(path: Path) -> None:
    plane = Plane(path)
    plane.journal.apply(entry("a"), "weft up")
    plane.journal.forget()
    assert not path.exists()
    assert Plane(path).journal.restore() == 0


def test_what_was_refused_is_not_kept(path: Path) -> None:
    plane = Plane(path)
    statuses = plane.journal.apply("kind: Nonsense\n", "api")
    assert any(status.severity == "error" for status in statuses)
    assert Plane(path).journal.restore() == 0


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"manifest": "x"}]', "7", "[" * 100_000])
def test_a_damaged_file_is_passed_over(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(content)
    plane = Plane(path)
    assert plane.journal.restore() == 0
    assert str(path) in caplog.text
    plane.journal.apply(entry("a"), "api")
    assert Plane(path).journal.restore() == 1


def test_a_list_is_taken_apart(path: Path) -> None:
    plane = Plane(path)
    document = entry("a").strip().removesuffix("---").strip().replace("\n", "\n  ")
    statuses = plane.journal.apply(f"apiVersion: v1\nkind: List\nitems:\n- {document}\n", "api")
    assert [s for s in statuses if s.severity == "error"] == []
    plane.journal.delete("WorkloadEntry", "default", "a")
    assert Plane(path).journal.restore() == 0


LABELS = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: a
  labels: {day: 2026-11-21, count: 1_000, "v": !!str 1}
  annotations: {time: 12:30:45, sign: =,
    text: "tab\\t, quote \\", back\\\\slash, \\u0085, caf\u00e9, \U0001f600"}
spec: {address: 127.0.0.1, ports: {http: 0x10}, weight: 010}
"""


def test_what_yaml_readers_disagree_about_comes_back_as_it_was_read(path: Path) -> None:
    before = Plane(path)
    assert before.journal.apply(LABELS, "api") == ()
    after = Plane(path)
    assert after.journal.restore() == 1
    assert after.inventory.snapshot().objects == before.inventory.snapshot().objects


def test_what_is_not_restored_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Plane(path).journal.apply(entry("a") + entry("b"), "weft up")
    after = Plane(path)
    after.inventory.replace(Origin.file("a.yaml"), parse(entry("a"), "a.yaml").objects)
    assert after.journal.restore() == 1
    assert "WorkloadEntry default/a is not restored" in caplog.text
    assert "a.yaml" in caplog.text


def test_a_second_crash_while_restoring_loses_nothing(path: Path) -> None:
    Plane(path).journal.apply(entry("a") + entry("b") + entry("c"), "weft up")
    before = path.read_bytes()
    Plane(path).journal.restore()
    assert path.read_bytes() == before


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: till, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}
"""


def denied(plane: Plane) -> list[tuple[str, bool]]:
    """Namespaces, and whether all of it."""
    found = plane.inventory.snapshot().of(AuthorizationPolicy)
    return [(one.key.namespace, not one.spec.rules[0].from_) for one in found]


def test_policies_do_not_expire(path: Path) -> None:
    Plane(path).journal.apply(POLICY + "---\n" + entry("a"), "api")
    after = Plane(path)
    after.journal.restore()
    assert after.journal.expire() == 1
    assert denied(after) == [("shop", False)]
    assert after.journal.delete("AuthorizationPolicy", "shop", "till")
    assert denied(after) == []


@pytest.mark.parametrize(
    ("old", "new"), [("action: DENY", "action: MAYBE"), ("security.istio.io/v1", "of.old/v0")]
)
def test_a_policy_that_is_refused_now_shuts_what_it_guards(path: Path, old: str, new: str) -> None:
    Plane(path).journal.apply(POLICY, "api")
    # As if the rules had changed between two versions.
    path.write_text(path.read_text().replace(_value(old), _value(new)))
    assert _value(new) in path.read_text()
    for _ in range(2):
        after = Plane(path)
        after.journal.restore()
        after.journal.expire()
        assert denied(after) == [("shop", True)]
        (held,) = (s for s in after.inventory.snapshot().statuses if s.code == "HeldShut")
        assert (held.object, held.severity) == ("AuthorizationPolicy shop/till", "error")
    after.journal.apply(POLICY, "api")
    assert denied(after) == [("shop", False)]
    assert after.inventory.snapshot().statuses == ()
    once_more = Plane(path)
    once_more.journal.restore()
    assert denied(once_more) == [("shop", False)]


def test_one_that_is_held_shut_can_be_deleted(path: Path) -> None:
    Plane(path).journal.apply(POLICY, "api")
    path.write_text(path.read_text().replace('"DENY', '"MAYBE').replace('\\"DENY', '\\"MAYBE'))
    after = Plane(path)
    after.journal.restore()
    assert denied(after) == [("shop", True)]
    assert after.journal.delete("AuthorizationPolicy", "shop", "till")
    assert denied(after) == []
    again = Plane(path)
    assert again.journal.restore() == 0


def test_one_that_a_file_has_now_is_not_held_shut(path: Path) -> None:
    Plane(path).journal.apply(POLICY, "api")
    after = Plane(path)
    after.inventory.replace(Origin.file("a.yaml"), parse(POLICY, "a.yaml").objects)
    after.journal.restore()
    assert denied(after) == [("shop", False)]


def _value(words: str) -> str:
    return words.partition(": ")[2] or words


def test_a_spoiled_file_is_told_in_the_status(path: Path) -> None:
    path.write_text('[{"manifest": "kind')
    plane = Plane(path)
    assert plane.journal.restore() == 0
    (told,) = plane.inventory.snapshot().statuses
    assert (told.severity, told.code, str(told.position)) == ("error", "Unreadable", str(path))
    assert "policies must be applied again" in told.message
