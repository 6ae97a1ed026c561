"""The version of everything: of what it says, and not of when and from what it was made."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from hypothesis import HealthCheck, given, settings

from controlplane.contents import Contents
from controlplane.inventory import Inventory
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import parse
from controlplane.mesh.credentials import Credential
from controlplane.mesh.gateways import Gateway, Server, ServerTls
from controlplane.mesh.model import ClientTls, Mesh, TrafficPolicy
from controlplane.mesh.scopes import Scope
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from tests.support.histories import CASES, GOLDEN, histories, step
from tests.support.mesh import endpoint, mesh, service


def version(kept: Contents, of: Mesh, cache: SnapshotCache | None = None) -> str:
    cache = cache or SnapshotCache(of, lambda node: ())
    cache.set_mesh(of)
    return kept.version(of, cache.alike, cache.apart)


def of_text(text: str) -> str:
    inventory = Inventory()
    for item in parse(text, "text").objects:
        inventory.put(item)
    return version(Contents(), build(inventory.snapshot(), "cluster.local")[0])


@given(histories())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_came_before_does_not_count(history: list[Object]) -> None:
    inventory, memo, kept = Inventory(), Memo(), Contents()
    cache = SnapshotCache(Mesh("cluster.local"), lambda node: ())
    for item in history:
        step(inventory, item)
        now, _ = build(inventory.snapshot(), "cluster.local", memo)
        assert version(kept, now, cache) == version(Contents(), now)


def test_each_case_has_its_own_wherever_it_is_written_down() -> None:
    texts = [(GOLDEN / f"{case}.in.yaml").read_text("utf-8") for case in CASES]
    found = [of_text(text) for text in texts]
    assert found == [of_text("# moved\n" + text) for text in texts]
    assert len({*found, of_text("")}) == len(texts) + 1


def test_endpoints_and_keys_count() -> None:
    one, other = (mesh(service("a", endpoint(port))) for port in (9000, 9001))
    keys = [Credential("default", "a", private_key=key) for key in (b"x", b"y")]
    every = [one, other, *(replace(one, credentials=(key,)) for key in keys)]
    assert len({version(Contents(), each) for each in every}) == 4


def test_roots_count() -> None:
    """Those of whom a gateway lets in, and of whom a service's clients believe."""
    found = set()
    for roots in ("one", "two"):
        server = Server("a", 443, "HTTP", tls=ServerTls("MUTUAL", roots_pem=roots))
        edge = Gateway("a", "default", Scope("default"), (server,))
        found.add(version(Contents(), replace(mesh(), gateways=(edge,))))
        policy = TrafficPolicy(tls=ClientTls("SIMPLE", roots_pem=roots))
        own = service("a", policy=policy, visible_in=("default",))
        found.add(version(Contents(), mesh(own)))
    assert len(found) == 4


def test_nothing_is_left_out_of_what_is_looked_at() -> None:
    """But keys, which `Contents` looks at by themselves, and what is made of other fields."""
    hidden = {
        f"{cls.__name__}.{one.name}"
        for cls in object.__subclasses__()
        if cls.__module__.startswith("controlplane.mesh.") and is_dataclass(cls)
        for one in fields(cls)
        if one.init and not one.repr
    }
    assert hidden == {f"Credential.{name}" for name in ("chain", "private_key", "roots", "lists")}
