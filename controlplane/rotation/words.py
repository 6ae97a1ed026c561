"""What replicas tell each other of their proxies: who there is, and who holds the next step up.

Pure: bytes and values. Members come in parts, so that one who comes or goes changes little.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any, get_args

from certs.errors import CertificateError
from certs.rotation import State as Authorities
from controlplane.rotation.progress import ProxyProgress, State
from controlplane.rotation.roster import ProxyKey
from protos.frozen import frozen

PARTS = 256
MAX_NAMED = 500
MAX_DETAIL = 200
MAX_BYTES = 8 << 20
"""Of one value, unpacked."""
_STATES: frozenset[str] = frozenset(get_args(State))


@frozen
class Member:
    """A proxy that a replica knows. until: when it has nothing to serve with (Unix seconds)."""

    node_id: str
    identity: str
    until: float
    connected: bool

    @property
    def key(self) -> ProxyKey:
        return self.node_id, self.identity


@frozen
class Report:
    """at: the `mark` of the step that is meant. lacking: who is not ready, the first of them; more:
    how many others."""

    at: str
    lacking: tuple[ProxyProgress, ...] = ()
    more: int = 0


def mark(state: Authorities) -> str:
    """The same at all replicas that have taken the same step."""
    return f"{state.phase} {state.issuing} {state.other or '-'} {state.since!r}"


def part_of(key: ProxyKey) -> int:
    return zlib.crc32("\n".join(key).encode("utf-8", "surrogatepass")) % PARTS


def members_to_bytes(members: Iterable[Member]) -> bytes:
    return _pack([astuple(one) for one in sorted(members, key=lambda one: one.key)])


def members_of(value: bytes) -> tuple[Member, ...]:
    """CertificateError: they are none."""
    try:
        found = [
            Member(str(node), str(who), float(until), bool(here))
            for node, who, until, here in _unpack(value)
        ]
    except (TypeError, ValueError) as error:
        raise CertificateError(f"it is no list of proxies ({error})") from None
    return tuple(found)


def report_of(at: str, lacking: Iterable[ProxyProgress]) -> Report:
    """What is said of those who are not ready."""
    every = tuple(lacking)
    return Report(at, every[:MAX_NAMED], len(every[MAX_NAMED:]))


def report_to_bytes(report: Report) -> bytes:
    said = [(*astuple(one)[:3], one.detail[:MAX_DETAIL]) for one in report.lacking]
    return _pack([report.at, said, report.more])


def report_from_bytes(value: bytes) -> Report:
    """CertificateError: it is none."""
    try:
        at, said, more = _unpack(value)  # any JSON: what is wrong with it is told below
        named = tuple(_progress(*one) for one in said)
        return Report(str(at), named, int(more))
    except (TypeError, ValueError) as error:
        raise CertificateError(f"it is no report ({error})") from None


def _progress(node_id: str, identity: str, state: State, detail: str) -> ProxyProgress:
    if state not in _STATES:
        raise ValueError(f"{state!a} is no state")
    return ProxyProgress(str(node_id), str(identity), state, str(detail))


def progress_to_bytes(found: Iterable[ProxyProgress]) -> bytes:
    """All of them, as a rehearsal has found them."""
    return _pack([(*astuple(one)[:3], one.detail[:MAX_DETAIL]) for one in found])


def progress_from_bytes(value: bytes) -> tuple[ProxyProgress, ...]:
    """CertificateError: it is no such thing."""
    return report_from_bytes(_pack(["", _unpack(value), 0])).lacking


def _pack(value: list[Any]) -> bytes:
    return zlib.compress(json.dumps(value).encode())


def _unpack(value: bytes) -> list[Any]:
    """CertificateError: it is damaged, or too much."""
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(value, MAX_BYTES)
        if opened.unconsumed_tail:
            raise ValueError("it is too long")
        found = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise CertificateError(f"it can't be read ({error})") from None
    if not isinstance(found, list):
        raise CertificateError("it is no list")
    return found
