"""Who was turned away of late, or would have been by rules that are only tried: a bounded list.

What is noted is what a person wants to know first: which policy, where it stands, who asked for
what. Nothing of it is worked out before somebody reads it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from proxy.connection import ConnectionInfo
from proxy.http.message import Request

MAX_DENIALS = 200
MAX_PATH_BYTES = 512


POINTS_OUT = "istio_ext_authz_"
"""The prefix of shadow rules by which Istio says which requests another service is to be asked
about (CUSTOM): what they deny is nobody's denial."""

EXPLAINED = "weft.rbac"
"""The namespace of the dynamic metadata that tells the log which policy denied, and its place."""


@dataclass(slots=True)
class Denial:
    """unix_s: when. shadow: nobody was turned away. filter: its prefix in the statistics. policy:
    '' if none applied where one had to, or none is known. source: where it stands, as the
    configuration says. Of a connection there is no method, host and path. reason: what was wrong,
    where that is not the policy itself."""

    unix_s: float
    shadow: bool
    filter: str
    action: str
    policy: str
    source: str
    info: ConnectionInfo
    method: bytes = b""
    host: bytes = b""
    path: bytes = b""
    reason: str = ""

    @property
    def principal(self) -> str:
        """The first name of the client's certificate."""
        peer = self.info.peer
        if peer is None:
            return ""
        return next(iter((*peer.uri_sans, *peer.dns_sans)), peer.subject)


def of_request(
    request: Request, info: ConnectionInfo, unix_s: float, filter: str, action: str
) -> Denial:
    """One that is real, of which no policy is known yet."""
    path = request.path[:MAX_PATH_BYTES]
    who = (filter, action, "", "", info)
    return Denial(unix_s, False, *who, request.method, request.authority, path)


class Denials:
    """The last MAX_DENIALS that were real, and as many that were not; newest first. Whoever is
    turned away again and again takes no place from what is tried."""

    def __init__(self) -> None:
        self._real: deque[Denial] = deque(maxlen=MAX_DENIALS)
        self._tried: deque[Denial] = deque(maxlen=MAX_DENIALS)

    def note(self, denial: Denial) -> None:
        (self._tried if denial.shadow else self._real).append(denial)

    def __iter__(self) -> Iterator[Denial]:
        both = reversed(self._real), reversed(self._tried)
        return merge(*both, key=lambda one: -one.unix_s)

    def __len__(self) -> int:
        return len(self._real) + len(self._tried)
