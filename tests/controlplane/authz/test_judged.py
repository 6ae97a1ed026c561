"""The offline decision is the proxies': a real Envoy's and Weft's, of requests that try every word.

`policies/` has the policies; which rule decided must be the same too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from controlplane.authz.decide import decide
from controlplane.authz.inquiry import Inquiry
from controlplane.authz.tokens import verified
from controlplane.emit.access import Guards, http_filters, network_filters
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.policy import TokenRule
from controlplane.translate import build
from tests.support.authz_asked import here, refusing
from tests.support.authz_court import Court, Trial, Verdict, echo_server, foretold
from tests.support.authz_grid import grid
from tests.support.envoy import envoy
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

POLICIES = Path(__file__).parent / "policies"
NAMES = sorted(path.stem for path in POLICIES.glob("*.yaml"))
TCP = {"connections", "asking_connections"}
MOST = 80
ANY_TOKEN = (TokenRule("", jwks="{}", space_delimited_claims=("permission", "scope")),)


@dataclass(frozen=True, slots=True)
class Shop:
    """The policies of one file, for a workload of the namespace `shop`."""

    name: str
    guards: Guards

    @classmethod
    def read(cls, name: str) -> Shop:
        parsed = parse((POLICIES / f"{name}.yaml").read_text("utf-8"), f"{name}.yaml")
        assert not parsed.has_errors, parsed.statuses
        inventory = Inventory()
        inventory.replace(Origin.file(name), parsed.objects)
        mesh, _ = build(inventory.snapshot(), "cluster.local")
        guards = Guards.of(mesh.security, "shop", {"app": "shop"})
        return cls(name, replace(guards, authorizers=tuple(here(guards.authorizers))))

    @property
    def http(self) -> bool:
        return self.name not in TCP

    def filters(self, port: int, numbers: tuple[int, ...]) -> Sequence[Message]:
        if self.http:
            return http_filters(self.guards, port, numbers)
        return network_filters(self.guards, port, numbers)

    def trial(self) -> Trial:
        asked = [*grid(self.guards.access, self.http, MOST), *(MORE if self.http else ())]
        return Trial(self.name, self.http, self.filters, tuple(asked))

    def expected(self, inquiry: Inquiry) -> Verdict:
        claims = verified(inquiry.claims, ANY_TOKEN).claims
        seen = {one.name: getattr(inquiry, one.name) for one in fields(Inquiry)}
        seen["claims"] = claims
        decision = decide(self.guards.access, Inquiry(**seen), self.guards.authorizers)
        return foretold(decision, self.http)


def ask(path: str, **facts: Any) -> Inquiry:
    facts.setdefault("identity", "spiffe://cluster.local/ns/a/sa/one")
    facts.setdefault("source_ip", "127.0.0.1")
    facts.setdefault("destination_ip", "127.0.0.1")
    return Inquiry(path=path, host="elsewhere.test", ports=(1,), method="POST", **facts)


CLAIMS = {"iss": "issuer", "sub": "subject", "aud": "shop", "azp": "app"}
MORE = (
    ask("/exact?query=/other"),
    ask("/exact/"),
    ask("/x/../exact"),
    ask("/prefix/./a/../secret?x"),
    ask("/x/..;p=1/exact"),
    ask("/prefix/.;/a/..;x\\y/secret"),
    ask("/prefix/a/%2e%2e;/secret"),
    ask("/a|b^c"),
    ask("/one//two"),
    ask("/one/a.b-c_d~e%20f"),
    ask("/one/a/two/"),
    ask("/one/a/two"),
    ask("/one/a/two/b/c"),
    ask("/end"),
    ask("//end"),
    ask("/a/b/end"),
    ask("/x.txt/y"),
    ask("/.txt/y"),
    ask("/not/a/this"),
    ask("/a%20b"),
    ask("/ex%61ct"),
    ask("/EXACT"),
    ask("/token", claims=CLAIMS),
    ask("/token", claims=CLAIMS | {"aud": ["x", "shop"]}),
    ask("/token", claims=CLAIMS | {"aud": ["secret", "shop"]}),
    ask("/token", claims=CLAIMS | {"azp": "badapp"}),
    ask("/token", claims=CLAIMS | {"sub": ""}),
    ask("/claims", claims={"groups": ["x", "develop"]}),
    ask("/claims", claims={"groups": "ops"}),
    ask("/claims", claims={"groups": ["admin", "banned"]}),
    ask("/claims", claims={"groups": {"admin": "admin"}}),
    ask("/claims", claims={"groups": 7}),
    ask("/nested", claims={"realm": {"roles": ["a", "reader"]}}),
    ask("/nested", claims={"realm": ["reader"]}),
    ask("/scope", claims={"scope": "read write"}),
    ask("/scope", claims={"scope": "read write none"}),
    ask("/scope", claims={"scope": "rewrite"}),
    ask("/any", claims={"email": ""}),
    ask("/header", headers={"x-team": "exact value"}),
    ask("/header", headers={"x-team": "red", "x-no": ""}),
    ask("/present", headers={"x-any": ""}),
    ask("/present", headers={"x-any": "badly"}),
    ask("/accounts", identity="spiffe://cluster.local/ns/b/sa/twoxthree"),
    ask("/accounts", identity="spiffe://cluster.local/ns/b/x/y/sa/two/z"),
    ask("/accounts", identity="spiffe://cluster.local/ns/shop/sa/one-more"),
    ask("/namespaces", identity="spiffe://cluster.local/ns/dxe/sa/one"),
    ask("/domains", identity="spiffe://cluster.local.evil/ns/a/sa/one"),
    ask("/domains", identity="spiffe://partner.test/ns/a/sa/one"),
    ask("/domains", identity="spiffe://a.example/ns/a/sa/one"),
    ask("/inline", headers={"x-roles": "x,a.b ,y"}),
    ask("/inline", headers={"x-roles": "axb"}),
    ask("/inline", headers={"x-roles": "x y, \tcomplete"}),
    ask("/inline", headers={"x-roles": "ee,fe"}),
    ask("/inline", headers={"x-roles": "e, bad"}),
    ask("/inline", headers={"x-roles": "e, badly"}),
    ask("/inline", headers={"x-roles": ""}),
    ask("/addresses", remote_ip="::ffff:10.1.0.5"),
    ask("/addresses", remote_ip="10.1.0.5"),
    ask("/tokens", claims={"iss": "https://issuer.test/realm", "sub": "me"}),
    ask("/tokens", claims={"iss": "https://issuer.test", "sub": "realm/me"}),
    ask("/tokens", claims={"iss": "lone"}),
    ask("/tokens", claims={"iss": "lone", "sub": ""}),
)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Verdict]]]:
    trials = [Shop.read(name).trial() for name in NAMES]

    async def judge(
        start: Callable[[dict[str, Any], Path], ProxyProcess],
    ) -> dict[str, list[Verdict]]:
        with Reservation() as reservation:
            async with echo_server() as echo_port, refusing() as clusters:
                court = Court(trials, folder, reservation, clusters, echo_port)
                with start(court.bootstrap(), folder):
                    return await court.verdicts()

    folder = tmp_path_factory.mktemp("court")
    return {
        "envoy": asyncio.run(judge(envoy)),
        "weft": asyncio.run(judge(weft_proxy)),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["envoy", "weft"])
def test_the_proxies_decide_as_foretold(
    verdicts: dict[str, dict[str, list[Verdict]]], who: str, name: str
) -> None:
    shop = Shop.read(name)
    trial = shop.trial()
    expected = [shop.expected(inquiry) for inquiry in trial.inquiries]
    wrong = [
        f"{inquiry}: foretold {wanted}, found {found}"
        for inquiry, wanted, found in zip(
            trial.inquiries, expected, verdicts[who][name], strict=True
        )
        if wanted != found
    ]
    assert {verdict.outcome for verdict in expected} == {"ALLOWED", "DENIED"}
    assert not wrong, f"{len(wrong)} of {len(expected)}:\n" + "\n".join(wrong[:10])
