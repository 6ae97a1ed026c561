"""Wrong YAML in the directory of a running mesh: said with its place, and nothing else changes."""

from __future__ import annotations

import re

import pytest

from tests.support.load import load
from tests.support.members import weft
from tests.support.postcard import Postcard, all_of
from tests.support.wait import eventually

pytestmark = pytest.mark.timeout(300)

# Each: what to write in place of what in routes.yaml, the column, and how it helps.
MISTAKES = {
    "syntax": ("hosts:\n    - messenger", "hosts: [messenger", 3, "expected"),
    "unknown field": ("weight: 100", "wieght: 100", 11, "did you mean 'weight'?"),
    "wrong type": ("weight: 100", "weight: heavy", 19, "expected"),
    "wrong unit": ("timeout: 2s", "timeout: 2 apples", 16, "expected"),
    "unknown kind": (
        "kind: VirtualService",
        "kind: VirtualServce",
        7,
        "did you mean 'VirtualService'?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_with_its_place_and_the_last_good_state_stays(
    postcard: Postcard, name: str
) -> None:
    right, wrong, column, words = MISTAKES[name]
    heard = len(postcard.up.log)
    line = postcard.write_routes(right, wrong)
    place = rf"routes\.yaml:{line}:{column}: "
    if name == "syntax":  # the parser notices at the end of what it could not finish
        place = r"routes\.yaml:\d+:\d+: "
    said = eventually(lambda: told(postcard, heard, "error: ", place), 60, f"{place} in the output")
    assert words in said
    shown = weft("status", "--state-dir", str(postcard.up.state))
    assert shown.returncode == 1
    found = [each for each in shown.stdout.splitlines() if re.search(place, each)]
    assert len(found) == 1, shown.stdout
    assert words in found[0]
    with load(postcard.up.port, f"messenger.localhost:{postcard.up.port}") as flowing:
        assert all_of(flowing, "v1", 30)  # by the rules of the file as it was
        postcard.write_routes(wrong, right)
        eventually(lambda: told(postcard, heard, "resolved: ", place), 60, "its end in the output")
        assert all_of(flowing, "v1", 30)
        assert flowing.failures == []
    assert weft("status", "--state-dir", str(postcard.up.state)).returncode == 0


def told(postcard: Postcard, since: int, word: str, place: str) -> str:
    """The first line of the output after `since` characters that has both."""
    for line in postcard.up.log[since:].splitlines():
        if word in line and re.search(place, line):
            return line
    return ""


def test_other_files_go_on_while_one_is_wrong(postcard: Postcard) -> None:
    heard = len(postcard.up.log)
    broken = postcard.directory / "broken.yaml"
    broken.write_text("apiVersion: v1\nkind: [Service\n", "utf-8")
    eventually(lambda: told(postcard, heard, "error: ", r"broken\.yaml:\d+:\d+: "), 60, "its error")
    with load(postcard.up.port, f"messenger.localhost:{postcard.up.port}") as flowing:
        postcard.write_routes("weight: 100", "weight: 0")
        postcard.write_routes("subset: v2\n          weight: 0", "subset: v2\n          weight: 1")
        eventually(lambda: all_of(flowing, "v2"), 60, "the change of the other file")
        assert flowing.failures == []
    broken.unlink()
    eventually(lambda: told(postcard, heard, "resolved: ", r"broken\.yaml:"), 60, "its end")


def test_a_route_to_nowhere_is_503_nc_and_named_with_its_place(postcard: Postcard) -> None:
    heard = len(postcard.up.log)
    lost = "- match: [{uri: {prefix: /lost}}]\n      route: [{destination: {host: nowhere}}]\n"
    line = postcard.write_routes("- route:", f"{lost}    - route:") + 1
    place = rf"routes\.yaml:{line}:\d+: "
    said = eventually(lambda: told(postcard, heard, "", place), 60, f"{place} in the output")
    assert "nowhere" in said
    status = weft("status", "--state-dir", str(postcard.up.state)).stdout
    assert [each for each in status.splitlines() if re.search(place, each) and "nowhere" in each]
    postcard.version()
    assert postcard.up.get("messenger.localhost", "/lost").status == 503
    assert "The sea is warm" in postcard.page()  # the other route of the same file
    assert_logged_with_flag(postcard, "NC")


def assert_logged_with_flag(postcard: Postcard, flag: str) -> None:
    log = postcard.up.state / "logs" / "gateway-sidecar.log"

    def logged() -> bool:
        lines = log.read_text("utf-8").splitlines()
        return any(f'"GET /lost HTTP/1.1" 503 {flag} ' in line for line in lines)

    eventually(logged, 20, f"503 {flag} in {log.read_text('utf-8')[-2000:]}")
