"""Which principals an alias adds, by Istio's rule."""

from __future__ import annotations

import pytest

from controlplane.translate.trust_domains import TrustDomains

MESH = TrustDomains(("td1", "td2", "old-td"))


@pytest.mark.parametrize(
    ("principal", "meant"),
    [
        ("td1/ns/a/sa/b", ["td1/ns/a/sa/b", "td2/ns/a/sa/b", "old-td/ns/a/sa/b"]),
        ("td2/ns/a/sa/b", ["td1/ns/a/sa/b", "td2/ns/a/sa/b", "old-td/ns/a/sa/b"]),
        ("cluster.local/ns/a/sa/b", ["td1/ns/a/sa/b", "td2/ns/a/sa/b", "old-td/ns/a/sa/b"]),
        ("other/ns/a/sa/b", ["other/ns/a/sa/b"]),
        ("*/ns/a/sa/b", ["*/ns/a/sa/b"]),
        ("*-td/ns/a/sa/b", ["td1/ns/a/sa/b", "td2/ns/a/sa/b", "*-td/ns/a/sa/b"]),
        ("*d2/ns/a/sa/b", ["td1/ns/a/sa/b", "*d2/ns/a/sa/b", "old-td/ns/a/sa/b"]),
        ("td*/ns/a/sa/b", ["td1/ns/a/sa/b", "td2/ns/a/sa/b", "old-td/ns/a/sa/b"]),
        ("td1", ["td1"]),
        ("td1/sa/b", ["td1/sa/b"]),
        ("td1/ns/a/sa/b/c", ["td1/ns/a/sa/b/c"]),
        ("*", ["*"]),
    ],
)
def test_a_principal_means_those_of_all_aliases(principal: str, meant: list[str]) -> None:
    assert list(MESH.principals((principal,))) == [(principal, one) for one in meant]


def test_nothing_is_meant_twice() -> None:
    both_end_alike = TrustDomains(("new-td", "old-td"))
    assert list(both_end_alike.principals(("*-td/ns/a/sa/b",))) == [
        ("*-td/ns/a/sa/b", "*-td/ns/a/sa/b")
    ]


def test_a_bare_domain_means_all_aliases_too() -> None:
    found = [meant for _, meant in MESH.domains(("td2", "other", "td*"))]
    assert found == ["td1", "td2", "old-td", "other", "td*"]
