"""The offline decision is the engine's, of policies and requests made by chance.

Policies go all the way: text, translation, Envoy's RBAC as bytes, Weft's engine. What a real Envoy
says of policies written by hand is in test_judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from controlplane.authz.decide import decide
from controlplane.authz.inquiry import Inquiry
from controlplane.emit.access import Guards, http_filters
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.translate import build
from proxy.config.filters import decode_rbac
from proxy.connection import ConnectionInfo, PeerCertificate
from proxy.filters.rbac_engine import engine
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.http.path import canonical
from tests.support.filters import FakeStream

IDENTITIES = ("td/ns/a/sa/one", "td/ns/a-b/sa/two", "other.td/ns/b/sa/one", "td.evil/ns/a/sa/x/y")
PATHS = ("/a", "/b", "/a/b", "/a//b", "/a/..;x/b", "/a%2fb", "/%61/b.css", "/a|b", "/a\\b?/c")
RANGES = ("127.0.0.0/8", "10.1.2.3", "::/0", "::ffff:10.0.0.0/104", "2001:db8::/32", "0.0.0.0/0")
ADDRESSES = ("127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1")
HOSTS = ("a.test", "A.test:80", "b.a.test")
WORDS = ("red", "redder", "blue", "")
CLAIMS: tuple[Any, ...] = ("red", ["red", "x"], [["red"]], {"red": 1}, 7, None, "")


class Chance:
    """Policies and inquiries of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.pick = self._random.choice

    def _glob(self, words: tuple[str, ...]) -> str:
        word = self.pick(words) or "*"
        cut = self._random.randrange(1, len(word) + 1)
        return self.pick((word, word, "*" + word[cut:], word[:cut] + "*", "*"))

    def _some(self, makers: dict[str, Callable[[], str]]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, make in self._random.sample(sorted(makers.items()), 2):
            negated = f"not{name[0].upper()}{name[1:]}"
            found[self.pick((name, name, negated))] = [make() for _ in range(self.pick((1, 2)))]
        return found

    def _rule(self) -> dict[str, Any]:
        source = self._some(
            {
                "principals": lambda: self._glob(IDENTITIES),
                "namespaces": lambda: self._glob(("a", "a-b", "b")),
                "ipBlocks": lambda: self.pick(RANGES),
                "remoteIpBlocks": lambda: self.pick(RANGES),
                "requestPrincipals": lambda: self._glob(("red/x", "blue/a/x")),
            }
        )
        operation = self._some(
            {
                "paths": lambda: self.pick((self._glob(PATHS), "/b", "/{*}/b")),
                "hosts": lambda: self._glob(HOSTS),
                "methods": lambda: self._glob(("GET", "PUT")),
            }
        )
        key = self.pick(("request.headers[x-a]", "request.auth.claims[c]", "request.auth.claims"))
        key += "[d][e]" if key.endswith("claims") else ""
        condition = {"key": key, self.pick(("values", "notValues")): [self._glob(WORDS)]}
        rule = {
            "from": [{"source": source}],
            "to": [{"operation": operation}],
            "when": [condition],
        }
        return {name: rule[name] for name in self._random.sample(sorted(rule), self.pick((1, 2)))}

    def policy(self, name: str) -> dict[str, Any]:
        rules = [self._rule() for _ in range(2)]
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"action": self.pick(("ALLOW", "ALLOW", "DENY")), "rules": rules},
        }

    def inquiry(self) -> Inquiry:
        claims = {"iss": self.pick(WORDS), "sub": "x", "c": self.pick(CLAIMS)}
        claims["d"] = self.pick(({"e": self.pick(CLAIMS)}, "red", ["e"]))
        return Inquiry(
            identity=self.pick((*(f"spiffe://{one}" for one in IDENTITIES), "")),
            source_ip="127.0.0.1",
            remote_ip=self.pick(ADDRESSES),
            destination_ip="127.0.0.1",
            ports=(80,),
            host=self.pick(HOSTS),
            method=self.pick(("GET", "PUT")),
            path=self.pick(PATHS),
            headers=self.pick(({}, {"x-a": self.pick(WORDS)})),
            claims=self.pick((claims, None)),
        )


def subject(inquiry: Inquiry) -> FakeStream:
    """The inquiry as filters see it, behind jwt_authn."""
    pairs = [(name.encode(), value.encode()) for name, value in inquiry.headers.items()]
    path, here = canonical(inquiry.path.encode()), ("127.0.0.1", 80)
    peer = PeerCertificate(uri_sans=(inquiry.identity,)) if inquiry.identity else None
    token = {"envoy.filters.http.jwt_authn": {"payload": dict(inquiry.claims or {})}}
    return FakeStream(
        request=Request(inquiry.method.encode(), path, inquiry.host.encode(), Headers.of(pairs)),
        info=ConnectionInfo((inquiry.source_ip, 5000), here, here, tls=True, peer=peer),
        remote=(inquiry.remote_ip, 0),
        metadata={} if inquiry.claims is None else token,
    )


def decided(guards: Guards, inquiry: Inquiry) -> str:
    """By Weft's filters in their order: ALLOWED, or the rule that refuses ('': none allows)."""
    for one in http_filters(guards, 80, (80,)):
        config = RBAC()
        one.typed_config.Unpack(config)
        rules = decode_rbac.decode(config.SerializeToString(), "rbac").rules
        assert rules is not None
        policy, allowed = engine(rules).judge(subject(inquiry))
        if not allowed:
            return policy or ""
    return "ALLOWED"


@pytest.mark.parametrize("seed", range(12))
def test_what_is_foretold_is_decided(seed: int) -> None:
    chance = Chance(seed)
    documents = [chance.policy(name) for name in ("one", "two")]
    parsed = parse(yaml.safe_dump_all(documents), "policies.yaml")
    assert not parsed.has_errors, parsed.statuses
    inventory = Inventory()
    inventory.replace(Origin.file("policies.yaml"), parsed.objects)
    mesh, _ = build(inventory.snapshot(), "td")
    guards = Guards.of(mesh.security, "shop", {})
    for inquiry in [chance.inquiry() for _ in range(25)]:
        told = decide(guards.access, inquiry)
        wanted = told.by.name if told.outcome == "DENIED" and told.by is not None else ""
        assert decided(guards, inquiry) == (wanted if told.outcome == "DENIED" else "ALLOWED")
