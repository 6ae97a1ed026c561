"""One provider of JSON Web Tokens: is this token its, and what does a good one leave behind?

Headers are written and tokens taken out as soon as a token is accepted; metadata is gathered by
whoever asked.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from certs.jwt_token import (
    VERIFICATION_FAILS,
    Jwt,
    JwtError,
    comparable,
)
from proxy import match
from proxy.config.model.jwt import JwtProvider
from proxy.filters.jwt_key_source import KeySource
from proxy.filters.jwt_places import Token, written_headers
from proxy.filters.jwt_status import OK
from proxy.http.field_value import is_field_value
from proxy.http.message import Request

MAX_UINT64 = 2.0**64


class UnwritableClaim(ValueError):
    """A good token with a claim that can't be told in its header; `header` is the name."""

    def __init__(self, header: str) -> None:
        super().__init__(header)
        self.header = header


class Provider:
    """cache: tokens that were accepted of late, None where none are kept. writes: headers that only
    it may write, for what is behind us."""

    def __init__(self, config: JwtProvider, source: KeySource) -> None:
        self.config = config
        self.source = source
        self.cache = TokenCache(config.cache_size) if config.cache_size else None
        self.writes = written_headers(config)
        self._audiences = comparable(config.audiences)
        self._subject = match.string(config.subjects) if config.subjects is not None else None

    def objection(self, jwt: Jwt, audiences: frozenset[str] | None, unix_now: float) -> str:
        """What is wrong with its claims; OK if nothing is. audiences: in place of our own."""
        config = self.config
        if self._subject is not None and not self._subject(jwt.subject.encode()):
            return VERIFICATION_FAILS
        if config.require_expiration and not jwt.expires_at:
            return VERIFICATION_FAILS
        if config.max_lifetime_s is not None:
            left_s = jwt.expires_at - unix_now
            if not jwt.expires_at or left_s >= config.max_lifetime_s:
                return VERIFICATION_FAILS
        try:
            jwt.check_time(unix_now, config.clock_skew_s)
            jwt.check_audience(self._audiences if audiences is None else audiences)
        except JwtError as error:
            return str(error)
        return OK

    def accept(self, jwt: Jwt, token: Token, request: Request, told: dict[str, Any]) -> bool:
        """Writes what the configuration asks for. True: the route may be another one now.
        UnwritableClaim: the request must not go on."""
        config = self.config
        if config.forward_payload_header:
            payload = jwt.payload
            if config.pad_forward_payload_header:
                payload += "=" * (-len(payload) % 4)
            request.headers.add(config.forward_payload_header.encode(), payload.encode())
        added = False
        for claim, header in config.claim_to_headers:
            value = claim_text(claim_value(jwt.claims, claim)).encode()
            if not is_field_value(value):
                raise UnwritableClaim(header)
            if value:
                request.headers.add(header.encode(), value)
                added = True
        if not config.forward:
            token.remove(request)
        if config.header_in_metadata:
            told[config.header_in_metadata] = dict(jwt.header)
        if config.payload_in_metadata:
            told[config.payload_in_metadata] = self._normalized(jwt.claims)
        return added and config.clear_route_cache

    def _normalized(self, claims: Mapping[str, object]) -> dict[str, object]:
        found = dict(claims)
        for name in self.config.space_delimited_claims:
            value = found.get(name)
            if isinstance(value, str):
                found[name] = value.split(" ") if "  " not in value else value.split()
        return found


class TokenCache:
    """The tokens accepted last; the one used least is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[str, Jwt] = OrderedDict()

    def get(self, text: str) -> Jwt | None:
        found = self._known.get(text)
        if found is not None:
            self._known.move_to_end(text)
        return found

    def keep(self, text: str, jwt: Jwt) -> None:
        self._known[text] = jwt
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def claim_value(claims: Mapping[str, object], name: str) -> object:
    """By a path of names joined by dots, as far as there are objects; None if it is not there."""
    found: object = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def claim_text(value: object) -> str:
    """As a header tells it (Envoy): objects and lists as JSON in Base64; '' for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        whole = 0 <= value < MAX_UINT64 and float(value).is_integer()
        return str(int(float(value))) if whole else f"{float(value):f}"
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return b64encode(text.encode()).decode()
