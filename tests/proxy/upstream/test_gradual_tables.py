"""A large Maglev table is filled in slices; meanwhile the one before serves."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from proxy.config import model
from proxy.config.model.balancing import MaglevLb
from proxy.stats import Stats
from proxy.upstream.balance.maglev import table
from proxy.upstream.cluster import Cluster
from tests.support.hash_judge import NOBODY, REQUEST
from tests.support.hosts import assignment, endpoint
from tests.support.wait import eventually_async


@dataclass(frozen=True, eq=False)
class Route:
    value: int

    def hash(self, context: object) -> int:
        return self.value

    @property
    def metadata_match(self) -> dict[str, str]:
        return {}


class Asking:
    info, request = NOBODY, REQUEST

    def __init__(self, value: int) -> None:
        self.route = Route(value)
        self.metadata: dict[str, str] = {}


def picks(cluster: Cluster) -> list[str]:
    assert cluster.pick_for is not None
    found = [cluster.pick_for(Asking(value * 7919)) for value in range(300)]
    return [host.text for host in found if host is not None]


async def test_what_has_gone_is_not_picked_and_what_is_new_comes_with_the_table() -> None:
    lb = MaglevLb(table_size=1009)
    cluster = Cluster(
        model.Cluster("a", lb=lb), Stats(), Random(1), lambda *_: None, lambda _: None
    )
    cluster.choosing.fill_later_by(cluster.rebuild)
    cluster.set_endpoints(assignment(endpoint(1), endpoint(2), endpoint(3)))
    before = picks(cluster)
    assert set(before) == {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
    cluster.set_endpoints(assignment(endpoint(2), endpoint(3), endpoint(4)))
    meanwhile = picks(cluster)
    assert "10.0.0.1:80" not in meanwhile and len(meanwhile) == 300
    kept = [at for at, text in enumerate(before) if text != "10.0.0.1:80"]
    assert [meanwhile[at] for at in kept] == [before[at] for at in kept]
    places = table(lb, [(host, 1 / 3) for host in cluster.hosts])
    wanted = [places[value * 7919 % 1009].text for value in range(300)]
    assert meanwhile != wanted
    await eventually_async(lambda: picks(cluster) == wanted, what="the new table")
