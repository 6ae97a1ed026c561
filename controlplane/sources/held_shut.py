"""What stands in for a policy that can't be read and of which no last good version is known.

At a start a policy with an error would simply be absent, and what it guards open. So its namespace
(of the root namespace: the mesh) is shut by a DENY policy until the text is right. The same holds
for one that was applied before a crash, and that today's rules refuse.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator

from controlplane.kinds.authorization_policy import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    Rule,
)
from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.objects import Metadata, Object, ObjectKey
from controlplane.kinds.parse import Parsed
from controlplane.mesh.model import Position, Status

KINDS = frozenset({"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"})
MAX_NAME = 40
_NOT_FOR_NAMES = re.compile(r"[^a-z0-9-]+")


def stand_ins(
    parsed: Parsed, before: Collection[ObjectKey], source: str, *, starting: bool
) -> Iterator[tuple[Object, Status]]:
    """before: what was in force of this file. One that was put up at the start stays as long as
    its policy has errors."""
    for key in sorted(parsed.failed):
        if key.kind not in KINDS or key in before:
            continue
        made = _deny(key, _place(key, parsed, source))
        if starting or made.key in before:
            yield made, _told(key, made.position)


def shut(key: ObjectKey, parsed: Parsed, source: str) -> tuple[tuple[Object, ...], Status]:
    """What stands in for one policy, and what is said of it."""
    made = _deny(key, _place(key, parsed, source))
    return (made,), _told(key, made.position)


def _deny(key: ObjectKey, position: Position) -> AuthorizationPolicy:
    """Denies everything. Logs and explanations show its name and place, which are the text's."""
    rules = (Rule(position=position),)
    spec = AuthorizationPolicySpec(action="DENY", rules=rules, position=position)
    metadata = Metadata(name=_name(key), namespace=key.namespace, position=position)
    return AuthorizationPolicy(metadata=metadata, spec=spec, position=position)


def _name(key: ObjectKey) -> str:
    """The policy's own may be what is wrong with it, and may be another one's, too."""
    digest = hashlib.sha256(str(key).encode()).hexdigest()[:8]
    words = _NOT_FOR_NAMES.sub("-", key.name.lower())[:MAX_NAME].strip("-")
    return f"unread-{words}-{digest}"


def _place(key: ObjectKey, parsed: Parsed, source: str) -> Position:
    places = [one.position for one in parsed.statuses if one.object == str(key)]
    return places[0] if places else Position(source)


def _told(key: ObjectKey, position: Position) -> Status:
    where = f"in the namespace {key.namespace}"
    if key.namespace == ROOT_NAMESPACE:
        where = f"in every namespace, as {ROOT_NAMESPACE} is the root"
    message = (
        f"{key} can't be read, and how it was before is not known: everything is denied {where}, "
        "until it is corrected or removed"
    )
    return Status(position, "error", "HeldShut", str(key), message)
