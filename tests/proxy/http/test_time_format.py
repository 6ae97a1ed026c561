"""Time formats; the expected texts are Envoy 1.40's for the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from proxy.http.time_format import DEFAULT, DEFAULT_LOCAL, compile_time, time_format_fault

AT_S = 1795241068.625  # 2026-11-21T06:04:28 UTC


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        (DEFAULT, "2026-11-21T06:04:28.625Z"),
        ("%s", "1795241068"),
        ("%3s", "1795241068"),
        ("%s.%3f", "1795241068.625"),
        ("%1f|%6f", "6|625000"),
        ("%Y %Z %z %j %E3S %Ez", "2026 UTC +0000 325 28.625 +00:00"),
        ("%Q x%%y", "%Q x%y"),
        ("%a, %d %b %Y", "Sat, 21 Nov 2026"),
        ("no time", "no time"),
    ],
)
def test_renders(text: str, rendered: str) -> None:
    assert compile_time(text)(AT_S) == rendered


def test_every_call_has_its_own_time() -> None:
    at = compile_time("%S.%3f")
    assert [at(s) for s in (59.5, 59.75, 60.0, 3.25)] == ["59.500", "59.750", "00.000", "03.250"]


@pytest.fixture
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_somewhere")
def test_local_time() -> None:
    assert compile_time(DEFAULT_LOCAL, local=True)(AT_S) == "2026-11-21T11:34:28.625+0530"
    assert compile_time("%Ez %Z", local=True)(AT_S) == "+05:30 XYZ"
    assert compile_time("%Ez %Z")(AT_S) == "+00:00 UTC"


@pytest.mark.parametrize("text", ["%n", "a\nb", "%-n", "%En"])
def test_a_time_makes_no_new_line(text: str) -> None:
    assert time_format_fault(text) == "a time format must not make new lines"


@pytest.mark.parametrize("text", ["%E4Y", "%E*S", "%ET"])
def test_what_is_not_supported_is_said(text: str) -> None:
    assert text[:3] in time_format_fault(text)


@pytest.mark.parametrize("text", ["%E3S", "%Ey %Od", ""])
def test_what_is_fine(text: str) -> None:
    assert time_format_fault(text) == ""
