"""What the user is told when statuses change."""

from __future__ import annotations

from dataclasses import replace

from controlplane.announce import announcements
from controlplane.mesh.model import Position, Status

BAD = Status(Position("mesh/a.yaml", 7, 5), "error", "UnknownService", "VirtualService d/x", "no y")
WARN = Status(Position("mesh/a.yaml", 9, 1), "warning", "Shadowed", "VirtualService d/x", "never")
NOTE = replace(WARN, severity="info")


def test_a_new_error_is_one_line_with_severity_file_line_and_column() -> None:
    (line,) = announcements((), (BAD,))
    assert line == "weft: error: mesh/a.yaml:7:5: no y (VirtualService d/x)"


def test_warnings_are_told_notes_are_not() -> None:
    lines = announcements((), (WARN, NOTE))
    assert lines == ["weft: warning: mesh/a.yaml:9:1: never (VirtualService d/x)"]


def test_what_stays_is_not_repeated_even_if_it_moves() -> None:
    moved = replace(BAD, position=Position("mesh/a.yaml", 70, 5))
    assert announcements((BAD,), (moved,)) == []


def test_what_is_gone_is_resolved() -> None:
    (line,) = announcements((BAD, NOTE), ())
    assert line == "weft: resolved: mesh/a.yaml:7:5: no y (VirtualService d/x)"
