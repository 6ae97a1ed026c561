"""What changed between two sets of statuses, as lines for the user.

Pure. A status that only moved to another line is not news.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.mesh.model import Status

Key = tuple[str, str, str, str, str]


def announcements(before: Iterable[Status], after: Iterable[Status]) -> list[str]:
    """One line for each new error or warning, then one for each that is resolved."""
    old, new = _by_key(before), _by_key(after)
    lines = [
        f"weft: {status.severity}: {status.position}: {status.message} ({status.object})"
        for key, status in new.items()
        if key not in old
    ]
    lines += [
        f"weft: resolved: {status.position}: {status.message} ({status.object})"
        for key, status in old.items()
        if key not in new
    ]
    return lines


def _by_key(statuses: Iterable[Status]) -> dict[Key, Status]:
    return {_key(status): status for status in statuses if status.severity != "info"}


def _key(status: Status) -> Key:
    return (
        status.position.source,
        status.severity,
        status.code,
        status.object,
        status.message,
    )
