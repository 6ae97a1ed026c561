"""The grammar of format strings. What is accepted and refused here, Envoy 1.40 does too: see
`tests/proxy/l7/test_format_envoy.py`, which asks it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.format_string import FormatError, Literal, Operator, check_format, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain", (Literal("plain"),)),
        ("100%% of %DURATION%", (Literal("100% of "), Operator("DURATION"))),
        ("%REQ(A?B):12%", (Operator("REQ", "A", "B", 12),)),
        ("%REQ(A?)%", (Operator("REQ", "A"),)),
        ("%REQUEST_HEADER(A)%%RESPONSE_HEADER(B)%", (Operator("REQ", "A"), Operator("RESP", "B"))),
        ("%START_TIME(%Y:%s)%", (Operator("START_TIME", "%Y:%s"),)),
        ("%PATH(NQ:ORIG):3%", (Operator("PATH", "NQ", "ORIG", 3),)),
        ("%DURATION()%", (Operator("DURATION"),)),
        ("%BYTES_SENT%%%", (Operator("BYTES_SENT"), Literal("%"))),
        ("(%PROTOCOL%):3", (Literal("("), Operator("PROTOCOL"), Literal("):3"))),
    ],
)
def test_reads(text: str, parts: tuple[object, ...]) -> None:
    assert parse(text) == parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("%FOO%", "the operator %FOO% is not supported"),
        ("%DURATON%", "did you mean %DURATION%?"),
        ("%CEL(request.path)%", "%CEL% is not supported"),
        ("50% done", "no operator at position 2"),
        ("%REQ(A)", "no operator at position 0"),
        ("%req(A)%", "no operator at position 0"),
        ("%REQ(A):x%", "no operator at position 0"),
        ("%REQ(A\nB)%", "no operator at position 0"),
        ("%REQ%", "%REQ% needs a parameter"),
        ("%REQ()%", "%REQ% needs a parameter"),
        ("%REQ(A?B?C)%", "more than one alternative header"),
        ("%REQ(A B)%", "'A B' is no header name"),
        ("%DURATION(x)%", "%DURATION% takes no parameters"),
        ("%PROTOCOL:2%", "%PROTOCOL% can't have the length 2"),
        ("%REQ(A):99999999999999999999%", "can't have the length"),
        ("%PATH(FOO)%", "'FOO' is not one of WQ, NQ"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST:FOO)%", "'FOO' is not one of ORIG, HOST"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(129)%", "0 to 128"),
        ("%START_TIME(%Y%n)%", "must not make new lines"),
        ("%START_TIME(%E*S)%", "%E* are not supported"),
    ],
)
def test_refuses_by_name(text: str, says: str) -> None:
    with pytest.raises(FormatError) as refused:
        check_format(text)
    assert says in str(refused.value)


@given(st.lists(st.sampled_from([*"%():?ab10\n ", "REQ", "START_TIME", "%REQ(a)%"])).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parts = parse(text)
    except FormatError:
        assert "%" in text
    else:
        literals = [isinstance(part, Literal) for part in parts]
        assert (True, True) not in pairwise(literals)
