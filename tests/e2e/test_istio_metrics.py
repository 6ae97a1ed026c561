"""What a dashboard of Istio's reads of two sidecars between which requests have gone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.members import Member
from tests.support.postcard import Postcard
from tests.support.wait import eventually
from weft import loopback

pytestmark = pytest.mark.timeout(300)

GREETER = "spiffe://cluster.local/ns/default/sa/greeter"
MESSENGER = "spiffe://cluster.local/ns/default/sa/messenger"
TELEMETRY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: metrics}
spec:
  selector: {matchLabels: {app: greeter}}
  metrics:
  - overrides:
    - match: {metric: REQUEST_COUNT, mode: CLIENT}
      tagOverrides:
        asked_by: {value: "request.method"}
        source_version: {operation: REMOVE}
"""
Samples = list[tuple[Mapping[str, str], float]]


def samples(member: Member, name: str, **wanted: str) -> Samples:
    text = loopback.get_now(member.admin_port, "/stats/prometheus").text
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and wanted.items() <= sample.labels.items()
    ]


def total(found: Samples) -> float:
    return sum(value for _, value in found)


def test_both_sides_say_who_called_whom(postcard: Postcard) -> None:
    caller = postcard.member("greeter")
    here = [postcard.member(name) for name in ("messenger-v1", "messenger-v1-2")]
    ours = {"source_workload": "greeter", "response_code": "200"}

    def came() -> Samples:
        return [one for member in here for one in samples(member, "istio_requests_total", **ours)]

    before = total(came())
    for _ in range(5):
        assert "The sea is warm" in postcard.page()
    service = "messenger.default.svc.cluster.local"
    good = {"response_code": "200", "destination_version": "v1"}
    called = samples(caller, "istio_requests_total", destination_service=service, **good)
    labels = called[0][0]
    assert total(called) >= 5
    assert labels["reporter"] == "source"
    assert (labels["source_workload"], labels["source_principal"]) == ("greeter", GREETER)
    assert (labels["source_app"], labels["destination_app"]) == ("greeter", "messenger")
    assert labels["destination_principal"] == MESSENGER
    assert labels["destination_service_name"] == "messenger"
    assert labels["destination_workload_namespace"] == "default"
    assert {one["destination_workload"] for one, _ in called} <= {"messenger-v1", "messenger-v1-2"}
    assert total(came()) >= before + 5
    for labels, _ in came():
        assert labels["reporter"] == "destination"
        assert (labels["source_principal"], labels["destination_principal"]) == (GREETER, MESSENGER)
        assert labels["destination_service"] == service
        assert labels["connection_security_policy"] == "mutual_tls"
        assert (labels["source_canonical_service"], labels["request_protocol"]) == (
            "greeter",
            "http",
        )
    count = "istio_request_duration_milliseconds_count"
    assert total(samples(caller, count, reporter="source", destination_service=service)) >= 5


def test_a_telemetry_changes_what_one_workload_counts(postcard: Postcard) -> None:
    caller = postcard.member("greeter")
    (postcard.directory / "telemetry.yaml").write_text(TELEMETRY, "utf-8")

    def changed() -> Samples:
        postcard.page()
        return samples(caller, "istio_requests_total", asked_by="GET")

    found = eventually(changed, 60, "the greeter counts by methods")
    assert all("source_version" not in labels for labels, _ in found)
    assert samples(postcard.member("messenger-v1"), "istio_requests_total", asked_by="GET") == []
