"""Which resource version is newer, where that can be known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.kubernetes.versions import comparable, is_newer, newest

NUMBERS = st.integers(1, 2**80)


@given(NUMBERS, NUMBERS)
def test_numbers_are_compared_as_numbers_of_any_length(a: int, b: int) -> None:
    assert is_newer(str(a), str(b)) == (a > b)
    assert newest(str(a), str(b)) == str(max(a, b))


@pytest.mark.parametrize("opaque", ["", "...", "0", "01", "-1", "1.5", "٣", "abc"])
def test_what_is_no_number_is_newer_unless_it_is_the_same(opaque: str) -> None:
    assert not comparable(opaque)
    assert is_newer(opaque, "7")
    assert is_newer("7", opaque)
    assert is_newer(opaque, opaque) == (opaque == "")
