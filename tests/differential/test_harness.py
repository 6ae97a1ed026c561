"""The harness itself, without a proxy: names in a batch, placeholders, tolerance, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tests.differential import runner
from tests.differential import scenario as scenarios
from tests.differential.batch import Judges, Verdict, batches
from tests.differential.compare import Difference, differences
from tests.differential.configure import Place, bootstrap, placed
from tests.differential.record import cleaned, counted
from tests.differential.requests import read_request
from tests.differential.runner import Runner
from tests.differential.scenario import Scenario, Yaml, build
from tests.differential.statistics import named

PLACE = Place("~s", 10000, {"a": (1, 2), "b": (3,), "all": ()}, Path("/f"), Path("/p"))


def _scenario(name: str = "s", **fields: Any) -> Scenario:
    data = {"about": "x", "connections": [], "expect": [], **fields}
    return build(name, "area", data)


def _resources(**fields: Any) -> tuple[Any, dict[str, Any]]:
    """The connection manager and the clusters by name that a scenario gives."""
    scenario = placed(_scenario(**fields), PLACE)
    static = bootstrap([(scenario, PLACE)])["static_resources"]
    chain = static["listeners"][0]["filter_chains"][0]
    return chain["filters"][0]["typed_config"], {one["name"]: one for one in static["clusters"]}


# --------------------------------------------------------------------------- names


def test_clusters_carry_the_name_of_the_scenario_wherever_one_is_named() -> None:
    weighted = {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]}
    routes = [
        {"match": {"prefix": "/w"}, "route": {"weighted_clusters": weighted}},
        {"match": {"prefix": "/o"}, "route": {"cluster": "elsewhere"}, "name": "a"},
    ]
    two = {"hosts": 2}
    aggregate = {"cluster_type": {"typed_config": {"clusters": ["b", "a"]}}}
    manager, clusters = _resources(
        upstreams={"a": two, "b": {}}, clusters={"all": aggregate}, routes=routes
    )
    given = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [one["name"] for one in given[0]["route"]["weighted_clusters"]["clusters"]] == [
        "a~s",
        "b~s",
    ]
    assert given[1]["route"]["cluster"] == "elsewhere"
    assert given[1]["name"] == "a"
    assert clusters["all~s"]["cluster_type"]["typed_config"]["clusters"] == ["b~s", "a~s"]
    assert clusters["a~s"]["load_assignment"]["cluster_name"] == "a~s"
    assert manager["stat_prefix"] == "test~s"


def test_statistics_are_called_by_the_names_of_the_batch() -> None:
    assert named("cluster.a.upstream_rq_total", "~s") == "cluster.a~s.upstream_rq_total"
    assert named("http.test.rbac.allowed", "~s") == "http.test~s.rbac.allowed"
    assert named("server.live", "~s") == "server.live"
    assert named("cluster.a.x", "") == "cluster.a.x"


def test_what_was_seen_is_told_without_the_names_of_the_batch() -> None:
    seen = {"log": [{"cluster": "a~s"}], "x~s": "took 12 ms"}
    assert cleaned(seen, "~s", {r"\d+ ms": "<ms>"}) == {
        "log": [{"cluster": "a"}],
        "x": "took <ms>",
    }


def test_placeholders_are_filled_in_everywhere() -> None:
    request = {"path": "/{port:a.1}", "headers": {"x": "{cluster:b}", "host": "h:{port}"}}
    found = placed(_scenario(connections=[request], stats=["{folder} {pki}"]), PLACE)
    asked = found.conversations[0].requests[0]
    assert asked.path == "/2"
    assert asked.headers == [("host", "h:10000"), ("x", "b~s")]
    assert found.stats == ("/f /p",)


# --------------------------------------------------------------------------- chance


def test_a_distribution_may_differ_within_its_tolerance() -> None:
    judged = counted(["x"] * 50 + ["y"] * 50, 0.1)
    near, far = counted(["x"] * 58 + ["y"] * 42, 0.1), counted(["x"] * 62 + ["y"] * 38, 0.1)
    assert differences("s", judged, near, []) == []
    where = Difference("", {"x": 50, "y": 50}, {"x": 62, "y": 38})
    assert differences("s", judged, far, []) == [where]
    assert differences("s", judged, counted(["x"] * 50, 0.1), []), "another number of answers"


def test_a_set_says_what_came_at_all() -> None:
    assert counted(["b", "a", "b"], 0.0, as_set=True) == {"set": ["a", "b"]}


# --------------------------------------------------------------------------- batches


def test_batches_keep_fragments_apart_and_some_scenarios_alone() -> None:
    runtime: Yaml = {"bootstrap": {"layered_runtime": {}}}
    listed = [_scenario(f"s{number}") for number in range(5)]
    listed += [
        _scenario("r1", **runtime),
        _scenario("only", alone=True),
        _scenario("r2", **runtime),
    ]
    named = [[one.name for one in batch] for batch in batches(listed, size=3)]
    assert named == [["s0", "s1", "s2"], ["s3", "s4"], ["r1", "r2"], ["only"]]


def test_trouble_of_one_batch_leaves_the_others_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def judged(batch: list[Scenario], _: Judges) -> list[Verdict]:
        if batch[0].name == "broken":
            raise OSError("no such program")
        return [Verdict(scenario) for scenario in batch]

    monkeypatch.setattr(runner, "judge", judged)
    found = Runner([_scenario("broken", alone=True), _scenario("fine")], cast("Judges", None))
    assert found.verdict("fine", 60).equal
    with pytest.raises(OSError, match="no such program"):
        found.verdict("broken", 60)


def test_a_stat_prefix_of_its_own_puts_a_scenario_alone() -> None:
    assert _scenario(hcm={"stat_prefix": "mine"}).alone


def test_two_scenarios_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios, "FOLDER", tmp_path)
    for area in ("one", "other"):
        (tmp_path / area).mkdir()
        (tmp_path / area / "x.yaml").write_text("about: x\n")
    with pytest.raises(ValueError, match="x"):
        scenarios.names()


# --------------------------------------------------------------------------- requests


def test_a_request_is_written_for_both_protocols() -> None:
    request = read_request({"path": "/p", "body": "abc", "headers": {"X-A": ["1", "2"]}})
    assert request.head + b"".join(request.framed) == (
        b"GET /p HTTP/1.1\r\nhost: weft.test\r\nX-A: 1\r\nX-A: 2\r\ncontent-length: 3\r\n\r\nabc"
    )
    assert request.fields("http") == [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "weft.test"),
        (":path", "/p"),
        ("x-a", "1"),
        ("x-a", "2"),
    ]


def test_a_header_that_yaml_reads_as_a_truth_value_is_refused() -> None:
    with pytest.raises(ValueError, match="quote"):
        read_request({"headers": {"x": False}})
    with pytest.raises(ValueError, match="pathh"):
        read_request({"pathh": "/"})
