"""Damaged manifests: parse always answers, and every error has a place in the text."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.kinds.parse import parse

MANIFEST = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: b, labels: {x: "1"}}
spec:
  hosts: [a, '*.b']
  http:
  - match: [{uri: {prefix: /a}, headers: {h: {regex: "a.*"}}, port: 80}]
    route:
    - {destination: {host: a, subset: v1, port: {number: 80}}, weight: 90}
    - {destination: {host: a, subset: v2}, weight: 10}
    retries: {attempts: 3, perTryTimeout: 1.5s, retryOn: "5xx,503"}
    timeout: 1m
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: &s {app: a}
  ports: [{port: 80, targetPort: http, name: http}]
"""
PIECES = [
    "{", "}", "[", "]", ":", "-", "- ", "\n", "\t", "'", '"', "&a", "*a", "*s", "!!int", "!x",
    "<<: ", "~", "#", "|", ">", "?", "%", "---\n", "...", "\x00", "\ud800", "\ufeff", "é", "0x",
    "1e999", "-1", "99999999999999999999", "http:", "spec:", "kind: ", "port: ", "null", "yes",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = MANIFEST
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.just(text[end : end + 20])))
        text = text[:start] + piece + text[end:]
    return text


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(damaged())
def test_a_damaged_manifest_is_answered(text: str) -> None:
    parsed = parse(text, "f")
    lines = text.count("\n") + text.count("\x85") + text.count("\r") + 2
    for status in parsed.statuses:
        assert status.message
        assert 0 <= status.position.line <= lines, status
    for item in parsed.objects:
        assert item.name
        assert item.position.line > 0
    assert parse(text, "f") == parsed


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    parsed = parse(text, "f")
    assert not parsed.objects
