"""Secrets: what TLS needs of them is read, and no message or log shows a value."""

from __future__ import annotations

from base64 import b64encode

import pytest

from controlplane.kinds.parse import parse
from controlplane.kinds.secrets import MAX_BYTES, Secret

HEAD = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"


def read(text: str) -> Secret:
    parsed = parse(HEAD + text, "a.yaml")
    assert not parsed.statuses, parsed.statuses
    (secret,) = parsed.objects
    assert isinstance(secret, Secret)
    return secret


def test_values_in_base64_and_as_they_are() -> None:
    wrapped = b64encode(b"x" * 60).decode()
    text = f"""type: kubernetes.io/tls
immutable: true
data:
  tls.crt: {b64encode(b"chain").decode()}
  tls.key: |
    {wrapped[:40]}
    {wrapped[40:]}
  ca.crt:
  password: {b64encode(b"mine").decode()}
stringData: {{tls.crt: other}}
"""
    secret = read(text)
    assert secret.values == {"tls.crt": b"other", "tls.key": b"x" * 60, "ca.crt": b""}
    assert str(secret.place_of("tls.crt")) == "a.yaml:13:23"
    assert str(secret.place_of("tls.key")) == "a.yaml:8:12"


def test_a_printed_secret_has_no_values() -> None:
    secret = read("stringData: {tls.key: hush}")
    assert "hush" not in repr(secret) and "hush" not in str(secret)


WRONG = {
    "data: {tls.key: h*sh}": "4:17 data.tls.key: expected a value in Base64",
    "data: {other: h*sh}": "4:15 data.other: expected a value in Base64",
    "data: {other: aHVzaA}": "4:15 data.other: expected a value in Base64",
    "stringData: {pin: 7777}": "4:19 stringData.pin: expected a string",
    "stringData: {a: [hush]}": "4:17 stringData.a: expected a string",
    "data: hush": "4:7 data: expected a mapping",
    "type: kubernetes.io/tls\ndata: {tls.crt: YQ==}": "4:7 type: a Secret of type "
    "kubernetes.io/tls needs tls.key",
    f"stringData: {{key: {'k' * (MAX_BYTES + 1)}}}": f"1:1 data: more than {MAX_BYTES} bytes",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_its_place_and_without_the_value(text: str) -> None:
    parsed = parse(HEAD + text, "a.yaml")
    assert not parsed.objects
    (status,) = parsed.statuses
    where, _, why = WRONG[text].partition(" ")
    assert status.message == why
    assert f"{status.position.line}:{status.position.column}" == where
    for value in ("hush", "h*sh", "7777", "aHVzaA", "kkk"):
        assert value not in str(status)
