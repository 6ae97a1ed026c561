"""What is an IP address, held against the standard library."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.mesh.ip import is_ip


def expected(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


_octets = st.sampled_from(["0", "1", "10", "99", "199", "249", "255", "256", "01", "+1", " 1", "²"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.ip_addresses().map(str)
    | st.lists(_octets, min_size=3, max_size=5).map(".".join)
    | st.text("0123456789abcdef:.%/ ", max_size=20)
)
@example("::ffff:1.2.3.4")
@example("fe80::1%eth0")
@example("1.2.3.4\n")
@example("1.2.3.4/32")
@example("١.2.3.4")
def test_it_says_what_the_standard_library_says(word: str) -> None:
    assert is_ip(word) is expected(word)


@pytest.mark.parametrize("word", ["10.0.0.1", "::1", "0.0.0.0", "255.255.255.255"])
def test_addresses_are_addresses(word: str) -> None:
    assert is_ip(word)
