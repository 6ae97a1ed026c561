"""Tokens taken apart: what is malformed, in Envoy's words, and when one counts."""

from __future__ import annotations

import base64
import json

import pytest

from certs.jwt_token import Jwt, JwtError, comparable

NOW = 1_800_000_000.0
HEADER = {"alg": "RS256", "kid": "k"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: object = None, header: object = None, *, signature: str = "c2ln") -> str:
    parts = (header if header is not None else HEADER, claims if claims is not None else {})
    return ".".join([*(b64(json.dumps(part).encode()) for part in parts), signature])


def test_what_a_token_says() -> None:
    claims = {
        "iss": "i", "sub": "s", "aud": ["a", "b"],
        "exp": 30, "nbf": 10.5, "iat": 20, "more": {"x": 1},
    }  # fmt: skip
    text = token(claims)
    jwt = Jwt(text)
    assert (jwt.alg, jwt.kid, jwt.issuer, jwt.subject) == ("RS256", "k", "i", "s")
    assert (jwt.audiences, jwt.expires_at, jwt.not_before, jwt.issued_at) == (
        ("a", "b"),
        30,
        10,
        20,
    )
    assert jwt.claims["more"] == {"x": 1}
    assert jwt.signature == b"sig"
    assert jwt.signed.decode() + ".c2ln" == text
    assert jwt.payload == text.split(".")[1]


def test_what_a_token_leaves_out() -> None:
    jwt = Jwt(token({}, {"alg": "ES256"}))
    assert (jwt.kid, jwt.issuer, jwt.subject, jwt.audiences) == ("", "", "", ())
    assert (jwt.expires_at, jwt.not_before, jwt.issued_at) == (0, 0, 0)
    assert Jwt(token({"aud": "one"})).audiences == ("one",)


BAD_FORM = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
BAD_HEADER_JSON = "Jwt header is an invalid JSON"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", BAD_FORM),
        ("a.b", BAD_FORM),
        ("a.b.", BAD_FORM),
        ("a..c", BAD_FORM),
        ("a.b.c.d", BAD_FORM),
        ("a." + "b" * 70_000 + ".c", BAD_FORM),
        ("a+b.b.c", "Jwt header is an invalid Base64url encoded"),
        ("abcde.b.c", "Jwt header is an invalid Base64url encoded"),
        (token().replace(".", "=.", 1), "Jwt header is an invalid Base64url encoded"),
        ("ä.b.c", "Jwt header is an invalid Base64url encoded"),
        (f"{b64(b'{')}.b.c", BAD_HEADER_JSON),
        (f"{b64(b'[]')}.b.c", BAD_HEADER_JSON),
        (f"{b64(bytes([255]))}.b.c", BAD_HEADER_JSON),
        (f"{b64(b'[' * 5000)}.b.c", BAD_HEADER_JSON),
        (b64(b'{"alg":NaN}') + ".b.c", BAD_HEADER_JSON),
        (token(header={}), "Jwt header [alg] field is required and must be a string"),
        (token(header={"alg": 256}), "Jwt header [alg] field is required and must be a string"),
        (token(header={"alg": "none"}), "Jwt header [alg] is not supported"),
        (token(header={"alg": "rs256"}), "Jwt header [alg] is not supported"),
        (token(header={"alg": "RS256", "kid": 1}), "Jwt header [kid] field is not a string"),
        (token(header={"alg": "RS256", "crit": ["b64"]}), "Jwt header [crit] is not supported"),
        (f"{b64(json.dumps(HEADER).encode())}.a.c", "Jwt payload is an invalid Base64url encoded"),
        (f"{b64(json.dumps(HEADER).encode())}.YQ.c", "Jwt payload is an invalid JSON"),
        (token({"iss": 1}), "Jwt payload [iss] field is not a string"),
        (token({"sub": None}), "Jwt payload [sub] field is not a string"),
        (token({"jti": []}), "Jwt payload [jti] field is not a string"),
        (token({"exp": "1"}), "Jwt payload [exp] field is not an integer"),
        (token({"exp": None}), "Jwt payload [exp] field is not an integer"),
        (token({"nbf": True}), "Jwt payload [nbf] field is not an integer"),
        (token({"exp": -1}), "Jwt payload [exp] field is not a positive 64 bit integer"),
        (token({"iat": 1e40}), "Jwt payload [iat] field is not a positive 64 bit integer"),
        (token({"aud": 1}), "Jwt payload [aud] field is not a string or string list"),
        (token({"aud": ["a", 1]}), "Jwt payload [aud] field is not a string or string list"),
        (token(signature="c2l*"), "Jwt signature is an invalid Base64url encoded"),
    ],
)
def test_malformed(text: str, status: str) -> None:
    with pytest.raises(JwtError) as caught:
        Jwt(text)
    assert str(caught.value) == status


def test_long_headers_are_read_too() -> None:
    assert Jwt(token(header={"alg": "RS256", "x5t": "x" * 5000})).alg == "RS256"


@pytest.mark.parametrize(
    ("claims", "skew_s", "status"),
    [
        ({}, 0, ""),
        ({"exp": NOW, "nbf": NOW}, 0, ""),
        ({"exp": NOW - 1}, 0, "Jwt is expired"),
        ({"exp": NOW - 60}, 60, ""),
        ({"exp": NOW - 61}, 60, "Jwt is expired"),
        ({"nbf": NOW + 1}, 0, "Jwt not yet valid"),
        ({"nbf": NOW + 60}, 60, ""),
        ({"nbf": 2**63 - 1}, 60, "Jwt not yet valid"),
    ],
)
def test_times(claims: dict[str, float], skew_s: float, status: str) -> None:
    jwt = Jwt(token(claims))
    if not status:
        jwt.check_time(NOW + 0.9, skew_s)
        return
    with pytest.raises(JwtError) as caught:
        jwt.check_time(NOW + 0.9, skew_s)
    assert str(caught.value) == status


@pytest.mark.parametrize(
    ("audience", "allowed", "fits"),
    [
        ([], [], True),
        ([], ["a"], False),
        (["a"], ["a"], True),
        (["b", "a"], ["c", "a"], True),
        (["A"], ["a"], False),
        (["https://a/"], ["http://a"], True),
        (["a/"], ["https://a"], True),
        (["https://a/b"], ["a/b/"], True),
        (["a//"], ["a"], False),
    ],
)
def test_audiences(audience: list[str], allowed: list[str], fits: bool) -> None:
    jwt = Jwt(token({"aud": audience}))
    if fits:
        jwt.check_audience(comparable(allowed))
        return
    with pytest.raises(JwtError, match="Audiences in Jwt are not allowed"):
        jwt.check_audience(comparable(allowed))


@pytest.mark.parametrize("what", ["payload", "header"])
@pytest.mark.parametrize(
    "value", [b'["\\ud800"]', b'"a\\udc0db"', b'{"\\uDBFF":1}', b"1e400", b"-1" + b"0" * 400]
)
def test_what_no_text_or_number_can_hold_is_malformed(what: str, value: bytes) -> None:
    """Whoever tells it on would fail: a header, a log, a Struct."""
    parts = {"header": b'{"alg":"RS256","x":1}', "payload": b"{}"}
    parts[what] = b'{"alg":"RS256","x":%b}' % value
    text = f"{b64(parts['header'])}.{b64(parts['payload'])}.c2ln"
    with pytest.raises(JwtError, match=f"Jwt {what} is an invalid JSON"):
        Jwt(text)


def test_whole_surrogate_pairs_and_large_numbers_are_read() -> None:
    claims = b'{"x":"\\ud83d\\ude00","n":1' + b"0" * 300 + b"}"
    head = b64(b'{"alg":"RS256"}')
    found = Jwt(f"{head}.{b64(claims)}.c2ln").claims
    assert found == {"x": "\U0001f600", "n": 10**300}
