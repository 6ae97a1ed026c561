"""The RBAC filters that Istio makes of its policies, and the seeds of Envoy's fuzzers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf import json_format

from proxy.config.filters import DECODERS
from proxy.config.filters.decode_rbac import TYPE_URL, RbacConfig
from proxy.config.model.rbac import Rules
from proxy.config.rejected import Rejected
from proxy.connection import PeerCertificate
from proxy.filters import FILTERS
from proxy.filters.rbac_engine import Engine
from tests.support.cases import case_folder
from tests.support.filters import FakeStream, context, info, request
from tests.support.text_proto import unescaped

PEERS = [
    PeerCertificate(uri_sans=(f"spiffe://{name}",))
    for name in ("cluster.local/ns/foo/sa/a", "td1/ns/rule[0]/sa/x", "principals", "not-principals")
]
PATHS = ("/", "/paths", "/not-paths", "/exact", "/prefix/a", "/x/suffix", "/methods")


def subjects() -> Iterator[FakeStream]:
    """A grid of requests, with the words that the policies use."""
    words = ("exact.com", "header", "not-header", "rule[0]-from[0]-ns[0]")
    for path, method, peer, word in product(PATHS, ("GET", "POST"), [None, *PEERS], words):
        yield FakeStream(
            request(path, method, x_header=word, x_abc="some-value"),
            info(tls=peer is not None, peer=peer, sni=word),
        )


def golden() -> Iterator[tuple[str, RbacConfig]]:
    """Every RBAC filter of the golden files; other filters (ext_authz) are not ours."""
    folder = case_folder("istio-authz-golden") / "http"
    for path in sorted(folder.glob("*-out*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            config: dict[str, Any] = dict(document["typedConfig"])
            if config.pop("@type").endswith(".rbac.v3.RBAC"):
                message = json_format.ParseDict(config, rbac_pb2.RBAC())
                decoded = DECODERS[TYPE_URL](message.SerializeToString(), path.name)
                assert isinstance(decoded, RbacConfig)
                yield path.stem, decoded


def test_the_rules_of_istio_are_read_and_decide() -> None:
    seen = 0
    for name, config in golden():
        for rules in filter(None, (config.rules, config.shadow_rules)):
            assert isinstance(rules, Rules)
            engine = Engine(rules)
            named = {policy.name for policy in rules.policies}
            found = {engine.judge(subject)[0] for subject in subjects()}
            assert found <= named | {None}, name
            if not rules.policies:
                assert found == {None}, name
            seen += 1
    assert seen > 20


def test_what_is_not_asked_for_is_the_complement() -> None:
    """The same rules with ALLOW and with DENY decide the opposite, whoever asks."""
    for name, config in golden():
        if isinstance(config.rules, Rules) and config.rules.action != "LOG":
            engine = Engine(config.rules)
            other = Engine(
                type(config.rules)(
                    "DENY" if config.rules.action == "ALLOW" else "ALLOW", config.rules.policies
                )
            )
            for subject in subjects():
                assert engine.judge(subject)[1] != other.judge(subject)[1], name


def seeds() -> Iterator[tuple[Path, str, str]]:
    """The configurations of filters that Weft has in the seeds: file, type URL and text."""
    for path in sorted(case_folder("envoy-fuzz-corpora").rglob("filter_corpus/*")):
        text = path.read_text("latin-1")
        for found in re.finditer(r'type_url: *"([^"]+)"\s+value: *"((?:[^"\\]|\\.)*)"', text):
            if found[1] in FILTERS:
                yield path, found[1], found[2]


def test_no_seed_of_the_fuzzers_breaks_a_filter() -> None:
    count = 0
    for path, url, quoted in seeds():
        value = unescaped(quoted)
        count += 1
        try:
            config = DECODERS[url](value, path.name)
        except Rejected:
            continue
        hooks = FILTERS[url](config, context()).for_route(())
        if hooks is not None and hooks.on_request is not None:
            for subject in subjects():
                hooks.on_request(subject)
    assert count > 2
