"""The postcard mesh as a user meets it: the page, the way to it, and `--check` for a machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.laptop import POSTCARD, up
from tests.support.postcard import Postcard

pytestmark = pytest.mark.timeout(300)


def test_check_exits_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path, POSTCARD, "--check") as checked:
        assert checked.child.wait(150) == 0, checked.log
    via = "via gateway, greeter, messenger-v1"
    assert re.search(rf"ok   http://greeter\.localhost:\d+/ 200: A postcard.*{via}", checked.log)
    assert re.search(r"ok   http://messenger\.localhost:\d+/ 200: ", checked.log)
    assert "Traceback" not in checked.log


def test_check_exits_with_1_where_a_service_does_not_answer(tmp_path: Path) -> None:
    """The greeter runs and accepts, but every answer of it is 500."""
    directory = tmp_path / "mesh"
    directory.mkdir()
    for name in ("greeter.yaml", "postcard.html"):
        (directory / name).write_bytes((POSTCARD / name).read_bytes())
    text = (POSTCARD / "greeter.py").read_text("utf-8")
    (directory / "greeter.py").write_text(text.replace("self.answer(200,", "self.answer(500,"))
    with up(tmp_path, directory, "--check") as checked:
        assert checked.child.wait(150) == 1, checked.log
    assert re.search(r"http://greeter\.localhost:\d+/ 500", checked.log)
    assert "Traceback" not in checked.log


def test_check_exits_with_1_where_the_configuration_has_an_error(tmp_path: Path) -> None:
    """All services answer; but a route names a field that does not exist."""
    directory = tmp_path / "mesh"
    shutil.copytree(POSTCARD, directory)
    routes = directory / "routes.yaml"
    routes.write_text(routes.read_text("utf-8").replace("weight: 100", "wieght: 100"), "utf-8")
    with up(tmp_path, directory, "--check") as checked:
        assert checked.child.wait(150) == 1, checked.log
    assert re.search(r"ok   http://messenger\.localhost:\d+/ 200: ", checked.log)
    assert re.search(r"FAIL .*routes\.yaml:15:11: error: .*wieght: no such field", checked.log)


def test_the_page_shows_the_message(postcard: Postcard) -> None:
    page = postcard.page()
    assert "The sea is warm" in page
    assert "&mdash; messenger v1" in page


def test_an_unknown_name_is_told_how_to_ask(postcard: Postcard) -> None:
    reply = postcard.up.get("nobody.localhost")
    assert reply.status == 404
    assert f"http://SERVICE.localhost:{postcard.up.port}/" in reply.text
