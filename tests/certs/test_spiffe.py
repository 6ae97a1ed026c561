"""SPIFFE IDs: our own table, the two reference libraries' tables, and round trips."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from tests.support.cases import case_folder


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not begin with spiffe://"),
        ("spiffe:/td", "does not begin"),
        ("SPIFFE://td/a", "does not begin"),
        (" spiffe://td/a", "does not begin"),
        ("https://td/a", "does not begin"),
        ("spiffe://", "trust domain is missing"),
        ("spiffe:///path", "trust domain is missing"),
        ("spiffe://Td/a", "lowercase"),
        ("spiffe://td:80/a", "lowercase"),
        ("spiffe://user@td/a", "lowercase"),
        ("spiffe://täd/a", "lowercase"),
        ("spiffe://td?q", "lowercase"),
        ("spiffe://td\n/a", "lowercase"),
        ("spiffe://td/", "must not end"),
        ("spiffe://td/a/", "must not end"),
        ("spiffe://td//a", "empty segment"),
        ("spiffe://td/./a", "dot segment"),
        ("spiffe://td/a/..", "dot segment"),
        ("spiffe://td/a%2Fb", "may hold only"),
        ("spiffe://td/a?q=1", "may hold only"),
        ("spiffe://td/a#f", "may hold only"),
        ("spiffe://td/a\n", "may hold only"),
        ("spiffe://td/a b", "may hold only"),
        ("spiffe://" + "t" * 256, "longer than 255"),
        ("spiffe://td/" + "p" * 2037, "longer than 2048"),
    ],
)
def test_refuses(text: str, complaint: str) -> None:
    with pytest.raises(CertificateError, match=complaint):
        SpiffeId.parse(text)


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        ("spiffe://td", "td", ""),
        ("spiffe://1.2.3.4/a", "1.2.3.4", "/a"),
        ("spiffe://a_b-c.d/X.y_z-0/...", "a_b-c.d", "/X.y_z-0/..."),
        ("spiffe://" + "t" * 255, "t" * 255, ""),
        ("spiffe://td/" + "p" * 2036, "td", "/" + "p" * 2036),
    ],
)
def test_accepts(text: str, trust_domain: str, path: str) -> None:
    identity = SpiffeId.parse(text)
    assert (identity.trust_domain, identity.path) == (trust_domain, path)
    assert str(identity) == text


def test_a_message_shows_foreign_text_escaped_and_short() -> None:
    with pytest.raises(CertificateError) as caught:
        SpiffeId.parse("\x1b[31m" + "x" * 10_000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_workload_form() -> None:
    identity = SpiffeId.workload("cluster.local", "shop", "cart")
    assert str(identity) == "spiffe://cluster.local/ns/shop/sa/cart"
    assert (identity.namespace, identity.service_account) == ("shop", "cart")
    assert SpiffeId.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "path", ["", "/a", "/ns/a", "/ns/a/sb/c", "/sa/a/ns/b", "/ns/a/sa/b/c", "/x/ns/a/sa/b"]
)
def test_other_forms_have_no_namespace(path: str) -> None:
    identity = SpiffeId("td", path)
    assert (identity.namespace, identity.service_account) == ("", "")


@pytest.mark.parametrize(
    ("namespace", "account"), [("", "a"), ("a", ""), ("a/sa/admin", "b"), ("a", "b/c"), ("..", "b")]
)
def test_workload_parts_cannot_smuggle_segments(namespace: str, account: str) -> None:
    with pytest.raises(CertificateError):
        SpiffeId.workload("td", namespace, account)


SEGMENT = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
TRUST_DOMAIN = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=40)


@given(TRUST_DOMAIN, st.lists(SEGMENT, max_size=6))
def test_round_trip(trust_domain: str, segments: list[str]) -> None:
    text = "/".join([f"spiffe://{trust_domain}", *segments])
    assert str(SpiffeId.parse(text)) == text


@given(st.text(max_size=60))
def test_any_text_is_refused_or_kept_as_it_is(tail: str) -> None:
    text = "spiffe://" + tail
    try:
        identity = SpiffeId.parse(text)
    except CertificateError:
        return
    assert str(identity) == text


def test_go_spiffe_vectors() -> None:
    vectors = json.loads((case_folder("spiffe-vectors") / "spiffe_id_from_string.json").read_text())
    wrong = [case["in"] for case in vectors if _accepted(case["in"]) != case["ok"]]
    assert wrong == []
    for case in vectors:
        if "path" in case:
            assert SpiffeId.parse(case["in"]).path == case["path"]
    assert len(vectors) > 500


def test_py_spiffe_vectors() -> None:
    """Its case-folding table is left out: go-spiffe refuses these IDs, and so do we."""
    tables = json.loads((case_folder("spiffe-vectors") / "py_spiffe_params.json").read_text())
    by_test = {
        table["test"]: table["values"]
        for table in tables["spiffe/tests/unit/spiffe_id/test_spiffe_id.py"]
    }
    assert [text for text in by_test["test_spiffe_id_valid"] if not _accepted(text)] == []
    assert [text for text, _ in by_test["test_spiffe_id_invalid"] if _accepted(text)] == []
    for text, trust_domain, path in by_test["test_spiffe_id_components"]:
        assert SpiffeId.parse(text) == SpiffeId(trust_domain, path)


def _accepted(text: str) -> bool:
    try:
        SpiffeId.parse(text)
    except CertificateError:
        return False
    return True
