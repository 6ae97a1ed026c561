"""Virtual hosts put together from a part that is the same to all clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.emit import routes
from controlplane.emit.clients import Client
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Destination, HttpRule, RouteMatch, Service, StringMatch
from controlplane.mesh.stream_rules import StreamMatch, StreamRule
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.host_routes import HostRoutes, is_alike
from protos.types import VHDS
from tests.support.mesh import endpoint, mesh, node, service

TO = (Destination("one"),)
PLAIN = service("one", endpoint(9101))
RULED = replace(PLAIN, rules=(HttpRule((RouteMatch(StringMatch("prefix", "/a")),), TO),))
OF_SHOP = replace(PLAIN, rules=(HttpRule((RouteMatch(source_namespace="shop"),), TO),))
LABELLED = replace(PLAIN, stream_rules=(StreamRule((StreamMatch(source_labels={"a": "b"}),), TO),))
PORT = PLAIN.ports[0].number


@pytest.mark.parametrize("of", [PLAIN, RULED, OF_SHOP, LABELLED])
@pytest.mark.parametrize("namespace", ["shop", "other"])
def test_they_are_what_emission_makes(of: Service, namespace: str) -> None:
    kept, client = HostRoutes(), Client(namespace)
    for domains in (("one",), ("a.one", "ö" * 100)):
        whole = routes.proxied(of, PORT, list(domains), client, Targets(()))
        made = kept.host(client, of, PORT, domains)
        assert made.value == whole.SerializeToString(deterministic=True)


def test_who_is_alike_to_all() -> None:
    assert [is_alike(one) for one in (PLAIN, RULED, OF_SHOP, LABELLED)] == [
        True,
        True,
        False,
        False,
    ]


def test_routes_are_made_once_and_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    whole = routes.proxied

    def counted(of: Service, *rest: object) -> object:
        made.append(of.hostname)
        return whole(of, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(routes, "proxied", counted)
    names = [f"s{number}" for number in range(3)]
    cache = SnapshotCache(mesh(*(service(name, endpoint(9101)) for name in names)), lambda _: ())
    assert not made and len(list(cache.prepare())) > len(made) == 3
    for namespace in ("shop", "other"):
        assert cache.snapshot(node("w", "w", namespace=namespace, on_demand=True)).of(VHDS)
    assert len(made) == 3


def test_those_of_services_that_are_gone_are_forgotten() -> None:
    kept, gone = HostRoutes(), [replace(PLAIN, name=f"{number}") for number in range(1100)]
    for one in gone:
        kept.prepare(one, PORT)
    kept.use((gone[0],))
    assert [found.service for found in kept._made.values()] == gone[:1]
