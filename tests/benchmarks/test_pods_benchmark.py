"""The benchmark of pods runs, and what it changes is one endpoint."""

from __future__ import annotations

from benchmarks import pods


def test_one_pod_that_changes_is_one_resource() -> None:
    plane = pods.filled(3)
    for number in range(3):
        for each in range(pods.EACH):
            plane.take(pods.PODS, pods.pod(number, each))
    assert pods.spent_s(plane.build) > 0
    assert [pods.changed(plane, number) for number in range(3)] == [1, 1, 1]
