"""The suites that there are, by the name of their folder of cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path

import yaml

from tests.conformance.suite import Result, Run
from tests.support.cases import case_folder

KNOWN = Path(__file__).with_name("known_failures.yaml")


@dataclass(frozen=True, slots=True)
class Suite:
    """`module` of this package has `run`. Of a large suite the tests take each `stride`-th case:
    then `run` is called with `stride` too."""

    name: str
    module: str
    stride: int = 1

    def results(self, *, everything: bool) -> Iterator[Result]:
        """Skips the test where the folder of cases is not there."""
        run: Run = import_module(f"tests.conformance.{self.module}").run
        folder = case_folder(self.name)
        if self.stride == 1:
            return run(folder)
        return run(folder, stride=1 if everything else self.stride)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Known:
    """Cases that fail and may: `case` is a pattern with `*`."""

    suite: str
    case: str
    reason: str


_LIST = (
    Suite("envoy-configs", "envoy_configs"),
    Suite("envoy-examples", "envoy_configs"),
    Suite("envoy-route-diff", "route_diff"),
    Suite("envoy-path-diff", "path_diff"),
    Suite("envoy-router-check", "router_check"),
    Suite("http1-raw-diff", "http1_raw"),
    Suite("envoy-http1-corpus", "envoy_http1_corpus"),
    Suite("llhttp-md", "llhttp_md"),
    Suite("envoy-fuzz-corpora", "fuzz_corpora"),
    Suite("envoy-docs-rst", "docs_snippets"),
    Suite("envoy-gateway-golden", "gateway_golden"),
    Suite("envoy-tls", "envoy_tls", stride=6),
    Suite("istio-authz-golden", "authz_golden"),
    Suite("istio-validation", "istio_validation"),
    Suite("istio-samples", "istio_samples"),
    Suite("istio-pilot-config", "istio_pilot_config"),
    Suite("gwapi-schema", "gwapi_schema"),
    Suite("ingress-conformance", "ingress_features"),
    Suite("istio-analyze", "istio_analyze"),
    Suite("istio-configdumps", "istio_configdumps"),
    Suite("istio-simulation", "istio_simulation"),
    Suite("istio-gatewayapi-golden", "gateway_status"),
    Suite("gwapi-conformance", "gwapi_conformance", stride=7),
    Suite("grpc-xds-clients", "grpc_xds_clients"),
    Suite("h2spec", "h2spec"),
    Suite("hpack-test-case", "hpack_stories", stride=5),
    Suite("http2-frame-test-case", "h2_frames"),
    Suite("jwt-vectors", "jwt_vectors"),
    Suite("istio-pki", "istio_pki"),
    Suite("k8s-api-recordings", "k8s_recordings"),
    Suite("go-spiffe-testdata", "spiffe_svids"),
    Suite("py-spiffe-testdata", "spiffe_svids"),
    Suite("spiffe-vectors", "spiffe_ids"),
)
SUITES = {suite.name: suite for suite in _LIST}


@dataclass(slots=True)
class Tally:
    """What a suite gave: `failed` without the known ones, known ones that did not occur, and how
    many configurations were refused for want of what."""

    suite: str
    passed: int
    total: int
    failed: list[Result]
    lacks: Counter[str]
    known: list[Result]
    stale: list[Known]

    def __str__(self) -> str:
        known = f", {len(self.known)} known failures" if self.known else ""
        want = self.lacks.total()
        lacks = f", of which {want} refused by naming what is not supported" if want else ""
        return f"{self.suite}: {self.passed}/{self.total}{lacks}{known}"


@cache
def known_failures() -> tuple[Known, ...]:
    """The table of known_failures.yaml."""
    entries = yaml.load(KNOWN.read_text("utf-8"), yaml.CSafeLoader) or []
    return tuple(Known(**entry) for entry in entries)


def tally(name: str, *, everything: bool = True) -> Tally:
    """Runs a suite."""
    table = [entry for entry in known_failures() if entry.suite == name]
    used: set[Known] = set()
    failed: list[Result] = []
    known: list[Result] = []
    lacks: Counter[str] = Counter()
    total = passed = 0
    for result in SUITES[name].results(everything=everything):
        total += 1
        if result.lacks:
            lacks[result.lacks] += 1
        if result.passed:
            passed += 1
            continue
        entry = next((one for one in table if fnmatchcase(result.name, one.case)), None)
        if entry:
            used.add(entry)
        (known if entry else failed).append(result)
    whole = everything or SUITES[name].stride == 1
    stale = [one for one in table if one not in used] if whole else []
    return Tally(name, passed, total, failed, lacks, known, stale)
