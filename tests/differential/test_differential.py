"""Every scenario over the real Envoy and over Weft: client, upstream, access log, statistics."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.differential import scenario as scenarios
from tests.differential.batch import Judges
from tests.differential.compare import Deviation, Difference, deviations, differences
from tests.differential.pki import Pki
from tests.differential.runner import Runner
from tests.support.envoy import envoy, require_envoy
from tests.support.weft_proxy import weft_proxy


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Judges all scenarios that this run chose."""
    require_envoy()
    chosen = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_weft_answers_as_envoy_does
    ]
    folder = tmp_path_factory.mktemp("differential")
    judges = Judges(envoy, weft_proxy, Pki(folder), folder)
    return Runner([scenarios.load(name) for name in chosen], judges)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", scenarios.names())
def test_weft_answers_as_envoy_does(name: str, runner: Runner, notes: list[str]) -> None:
    verdict = runner.verdict(name, 390)
    assert not verdict.trouble, verdict.trouble
    expected = list(verdict.scenario.expect)
    assert verdict.said == expected, "the scenario does not show what it means to show"
    assert not verdict.found, f"{verdict.scenario.about}\n{verdict}"
    if verdict.again:
        notes.append(f"differential {name}: differed among others, not alone")


# --------------------------------------------------------------------------- the harness itself


def test_a_difference_is_found_at_its_place() -> None:
    one = {"client": [{"headers": {"server": ["envoy"]}, "body": ""}]}
    other = {"client": [{"headers": {}, "body": ""}]}
    assert differences("s", one, one, []) == []
    where = Difference("client.0.headers.server", ["envoy"], "(absent)")
    assert differences("s", one, other, []) == [where]


def test_a_list_of_another_length_is_one_difference() -> None:
    assert differences("s", {"log": []}, {"log": [{}]}, []) == [Difference("log", [], [{}])]


def test_statistics_of_one_side_only_count_when_the_scenario_asked() -> None:
    assert differences("s", {"stats": {"a": 1, "b": 2}}, {"stats": {"a": 1}}, []) == []
    asked = differences("s", {"stats": {"a": 1}}, {"stats": {"a": None}}, [])
    assert asked == [Difference("stats.a", 1, None)]


def test_a_deviation_covers_its_scenario_and_path_only() -> None:
    allowed = [Deviation("s*", "log.*.details", "other words")]
    one, other = {"log": [{"details": "x", "code": "1"}]}, {"log": [{"details": "y", "code": "2"}]}
    assert differences("s1", one, other, allowed) == [Difference("log.0.code", "1", "2")]
    assert len(differences("t", one, other, allowed)) == 2


def test_every_deviation_names_a_scenario_that_exists() -> None:
    known = scenarios.names()
    for entry in deviations():
        assert any(fnmatchcase(name, entry.scenario) for name in known)
        assert entry.reason


def test_a_misspelt_field_of_a_scenario_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios, "FOLDER", tmp_path)
    (tmp_path / "x.yaml").write_text("about: x\nuptsreams: {}\nconnections: []\nexpect: []\n")
    with pytest.raises(ValueError, match="uptsreams"):
        scenarios.load("x")
