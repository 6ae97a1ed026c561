"""The date of a response, held against the standard library's."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.date import http_date


@given(st.integers(0, 253_402_300_799))
def test_as_the_standard_library(when_s: int) -> None:
    assert http_date(when_s) == formatdate(when_s, usegmt=True)


def test_a_part_of_a_second() -> None:
    assert http_date(784_111_777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"
