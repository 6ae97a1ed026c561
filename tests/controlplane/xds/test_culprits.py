"""Who is blamed for what a proxy refuses."""

from __future__ import annotations

from controlplane.inventory import Snapshot
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Status
from controlplane.translate import build
from controlplane.xds.culprits import Culprits
from controlplane.xds.refusals import Refusal
from protos.types import CDS, LDS, RDS, VHDS
from tests.support.mesh import TRUST_DOMAIN, node

ME = node("cart-1", labels={"app": "cart"})
CLUSTER = "outbound|80||cart.default.svc.cluster.local"
BASE = """
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}], selector: {app: cart}}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec: {host: %s, trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}}
"""
ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec: {hosts: [%s], http: [{timeout: 1s, route: [{destination: {host: cart}}]}]}
"""
PATCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: %s}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {portNumber: %d}}
    patch: {operation: MERGE, value: {connect_timeout: 0s}}
"""


def objects(*texts: str) -> tuple[Object, ...]:
    return tuple(one for at, text in enumerate(texts) for one in parse(text, f"{at}.yaml").objects)


class Room:
    """Configurations one after the other."""

    def __init__(self) -> None:
        self.culprits = Culprits()

    def said(self, found: tuple[Object, ...], *refusals: Refusal) -> tuple[Status, ...]:
        snapshot = Snapshot(found)
        return self.culprits.statuses(refusals, build(snapshot, TRUST_DOMAIN)[0], snapshot)

    def blamed(self, found: tuple[Object, ...], *refusals: Refusal) -> list[tuple[str, str]]:
        return [
            (one.object.rpartition("/")[2], one.severity) for one in self.said(found, *refusals)
        ]


def refused(type_url: str, name: str, serial: int = 1) -> Refusal:
    return Refusal(ME, type_url, name, "it is\nwrong.", serial)


def test_the_rule_of_the_cluster_is_blamed_with_the_words_of_the_proxy() -> None:
    found = objects(BASE, RULE % ("one", "cart", 1), RULE % ("other", "else", 1))
    (status,) = Room().said(found, refused(CDS, CLUSTER))
    assert (status.object, status.position.source) == ("DestinationRule default/one", "1.yaml")
    expected = f"CDS {CLUSTER} is refused by default/cart-1: it is wrong. Correct it"
    assert status.message.startswith(expected)


def test_a_patch_is_blamed_only_for_what_it_changes() -> None:
    found = objects(BASE, PATCH % ("mine", 80), PATCH % ("others", 81))
    (status,) = Room().said(found, refused(CDS, CLUSTER))
    assert (status.object, status.position.line) == ("EnvoyFilter default/mine", 7)
    assert "spec.configPatches[0]" in status.message


def test_what_has_changed_since_all_was_well_comes_first() -> None:
    room = Room()
    old = objects(BASE, PATCH % ("mine", 80), RULE % ("one", "cart", 1))
    assert room.said(old) == ()
    new = objects(BASE, PATCH % ("mine", 80), RULE % ("one", "cart", 2))
    assert room.said(new) == ()
    assert room.blamed(new, refused(CDS, CLUSTER)) == [("one", "error")]
    assert Room().blamed(new, refused(CDS, CLUSTER)) == [("mine", "warning"), ("one", "warning")]


def test_of_a_table_of_all_the_changed_rule_is_blamed() -> None:
    room = Room()
    room.said(objects(BASE, ROUTES % ("one", "cart")))
    found = objects(BASE, ROUTES % ("one", "cart"), ROUTES % ("two", "else.test"))
    room.said(found)
    assert room.blamed(found, refused(RDS, "http_proxy")) == [("two", "error")]
    assert Room().blamed(found, refused(VHDS, "http_proxy/else.test:80")) == [("two", "error")]


def test_blame_stays_where_it_is_until_there_is_another_answer() -> None:
    room = Room()
    bad = objects(BASE, RULE % ("one", "cart", 2))
    assert room.blamed(bad, refused(CDS, CLUSTER)) == [("one", "error")]
    assert room.blamed(objects(BASE, PATCH % ("new", 80)), refused(CDS, CLUSTER)) == []
    both = objects(BASE, RULE % ("one", "cart", 2), PATCH % ("new", 80))
    assert room.blamed(both, refused(CDS, CLUSTER, 2)) == [("new", "warning"), ("one", "warning")]
    assert room.said(both) == ()


def test_what_nobody_can_be_blamed_for_is_told_of_the_proxy() -> None:
    (status,) = Room().said(
        objects(*(RULE % (f"r{n}", f"h{n}", 1) for n in range(9))), refused(LDS, "x")
    )
    assert (status.object, status.severity) == ("Proxy default/cart-1", "error")


def test_long_words_are_cut_in_the_middle_and_many_resources_named_once() -> None:
    words = "begin " + "x" * 5000 + " reason"
    found = [Refusal(ME, CDS, f"c{number}", words) for number in range(9)]
    (status,) = Room().said(objects(BASE), *found)
    assert "begin" in status.message
    assert "reason" in status.message
    assert "and 4 more" in status.message
    assert len(status.message) < 700
