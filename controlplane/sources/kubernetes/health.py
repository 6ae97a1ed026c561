"""What can go wrong with the API server, in words for the user. Pure.

A server that is away is one status, whatever number of kinds it concerns, from the first of them to
the last; what is refused is one for each kind, with the rule that it lacks. None of them tells how
often it was tried, so that each outage is told once, and its end once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from controlplane.mesh.model import Position, Status
from controlplane.sources.kubernetes.answers import ApiError
from controlplane.sources.kubernetes.intake import SOURCE
from controlplane.sources.kubernetes.wanted import Followed, Plan
from protos.frozen import frozen

TELL_AFTER = 2
"""Failures in a row until a server counts as away: one may be a watch that was cut off, or a kind
that has just been removed."""

Kind = Literal["away", "forbidden", "unauthorized", "refused"]


@frozen
class Failure:
    """since: ISO 8601, UTC."""

    trouble: Kind
    message: str
    since: str


def trouble_of(error: Exception) -> Kind:
    if not isinstance(error, ApiError) or error.status >= 500 or error.status == 429:
        return "away"
    if error.status == 403:
        return "forbidden"
    return "unauthorized" if error.status == 401 else "refused"


def message_of(error: Exception) -> str:
    """Without what differs from one attempt to the next."""
    if isinstance(error, ApiError):
        return f"{error.status} {error.message}" if error.status else error.message
    return str(error) or type(error).__name__


class Trouble:
    """Failures in a row; `told` when there is something to tell."""

    __slots__ = ("_about", "_clock", "failures", "told")

    def __init__(self, clock: Callable[[], float], about: str = "discovery") -> None:
        """about: what the server is asked for; it may have trouble with that alone."""
        self._about = about
        self._clock = clock
        self.failures = 0
        self.told: Failure | None = None

    def failed(self, error: Exception) -> bool:
        """True: there is something new to tell."""
        self.failures += 1
        trouble, before = trouble_of(error), self.told
        if before is not None and before.trouble == trouble:
            return False
        if trouble in ("away", "refused") and self.failures < TELL_AFTER:
            return False
        since = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        message = message_of(error)
        if trouble == "away" and isinstance(error, ApiError):
            message = f"{self._about}: {message}"
        self.told = Failure(trouble, message, since)
        return True

    def succeeded(self) -> bool:
        """True: there was something told."""
        self.failures = 0
        told, self.told = self.told, None
        return told is not None


@frozen
class State:
    """outage: since when, and why, something or everything can not be asked for. refused: what the
    server does not let us have. unseen: not everything was listed yet, so that nothing is served
    to proxies."""

    server: str
    plan: Plan
    outage: Failure | None = None
    refused: tuple[tuple[Followed, Failure], ...] = ()
    discovery: Failure | None = None
    unseen: bool = False


def statuses(state: State) -> tuple[Status, ...]:
    told: list[Status] = []
    if state.discovery is not None and state.discovery.trouble != "away":
        told.append(_undiscovered(state.server, state.discovery))
    if state.outage is not None:
        told.append(_away(state, state.outage))
    refused = sorted(state.refused, key=lambda pair: pair[0])
    told += [_refused(*pair) for pair in refused if pair[1].trouble != "away"]
    told += [_missing(kind, versions) for kind, versions in state.plan.missing]
    return tuple(told)


def _undiscovered(server: str, failure: Failure) -> Status:
    hint = _UNAUTHORIZED if failure.trouble == "unauthorized" else _DISCOVERY
    message = f"it does not tell what it serves: {failure.message}: {hint}"
    return Status(Position(SOURCE), "error", "ApiServerRefuses", f"Kubernetes {server}", message)


_UNAUTHORIZED = "the credentials are not accepted: renew them, or name others with --kubeconfig"
_DISCOVERY = "bind our account to the ClusterRole system:discovery"


def _away(state: State, outage: Failure) -> Status:
    holds = "the last state stays in force"
    if state.unseen:
        holds = "nothing is served before everything was listed once"
    message = f"the API server can not be asked since {outage.since} ({outage.message}); {holds}"
    severity: Literal["error", "warning"] = "error" if state.unseen else "warning"
    label = f"Kubernetes {state.server}"
    return Status(Position(SOURCE), severity, "ApiServerAway", label, message)


def _refused(followed: Followed, failure: Failure) -> Status:
    said = f"{followed.kind} can not be listed or watched since {failure.since}: {failure.message}"
    if failure.trouble == "forbidden":
        code, hint = "Forbidden", f"; the account lacks this rule: {rule(followed)}"
    elif failure.trouble == "unauthorized":
        code, hint = "Unauthorized", f"; {_UNAUTHORIZED}"
    else:
        code, hint = "ApiServerRefuses", ""
    return Status(Position(SOURCE), "error", code, followed.kind, said + hint)


def rule(followed: Followed) -> str:
    """The rule of a Role or ClusterRole that a kind takes, as YAML in flow style."""
    resource = followed.resource
    where = f"Role in {followed.namespace}" if followed.namespace else "ClusterRole"
    verbs = "verbs: [get, list, watch]"
    what = f'apiGroups: ["{resource.group}"], resources: [{resource.plural}], {verbs}'
    return f"{{{what}}} ({where})"


def _missing(kind: str, versions: tuple[str, ...]) -> Status:
    message = (
        f"the API server does not serve {kind} ({', '.join(versions)}); where it is needed, "
        "install its CustomResourceDefinition: it is followed as soon as it is there"
    )
    return Status(Position(SOURCE), "info", "KindNotServed", kind, message)
