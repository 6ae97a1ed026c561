"""What stands in for a policy that can't be read and of which no last good version is known.

At a start a policy with an error would simply be absent, and what it guards open. So its namespace
(of the root namespace: the mesh) is shut by a DENY policy until the text is right. The same holds
for one that was applied before a crash, and that today's rules refuse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator

from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Position, Status

KINDS = frozenset({"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"})
_DENY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: unread-{digest}, namespace: {namespace}}}
spec: {{action: DENY, rules: [{{}}]}}
"""


def stand_ins(
    parsed: Parsed, before: Collection[ObjectKey], source: str, *, starting: bool
) -> Iterator[tuple[Object, Status]]:
    """before: what was in force of this file. One that was put up at the start stays as long as
    its policy has errors."""
    for key in sorted(parsed.failed):
        if key.kind not in KINDS or key in before:
            continue
        for made in _deny(key, source):
            if starting or made.key in before:
                yield made, _told(key, parsed, source)


def shut(key: ObjectKey, parsed: Parsed, source: str) -> tuple[tuple[Object, ...], Status]:
    """What stands in for one policy, and what is said of it."""
    return _deny(key, source), _told(key, parsed, source)


def _deny(key: ObjectKey, source: str) -> tuple[Object, ...]:
    # The policy's own name may be what is wrong with it.
    digest = hashlib.sha256(str(key).encode()).hexdigest()[:16]
    text = _DENY.format(digest=digest, namespace=json.dumps(key.namespace))
    return parse(text, source).objects


def _told(key: ObjectKey, parsed: Parsed, source: str) -> Status:
    places = [one.position for one in parsed.statuses if one.object == str(key)]
    message = (
        f"{key} can't be read and no last good version of it is known, so everything is denied in "
        f"the namespace {key.namespace} (all of them, if it is the root namespace) until it is "
        "corrected or removed"
    )
    position = places[0] if places else Position(source)
    return Status(position, "error", "HeldShut", str(key), message)
