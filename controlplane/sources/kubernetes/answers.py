"""What an API server says: resources, events, failures. Values only; the shells read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a streaming list."""

_TOO_LARGE = "ResourceVersionTooLarge"
"""A cause of 504 Timeout: this server knows less than the one that gave the version."""

Document = dict[str, Any]
"""An object as JSON was read."""


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """A kind under one version, as the server serves it. group '' is the core's."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Of the collection (in one namespace, or in all), of an object or of a part of it."""
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"namespaces/{namespace}" if namespace and self.namespaced else ""
        parts = (root, self.version, within, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


class Event(NamedTuple):
    """One line of a watch. type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: Document

    @property
    def ends_initial(self) -> bool:
        return self.type == "BOOKMARK" and INITIAL_EVENTS_END in annotations_of(self.object)


class ApiError(Exception):
    """The server refuses: a metav1.Status, or as much as can be told without one.

    status: the HTTP status code, also of an ERROR event. retry_after_s: 0 where it says nothing."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def expired(self) -> bool:
        """The version that was asked for is not to be had, any more or yet: list anew."""
        return self.status == 410 or self.reason in ("Expired", "Gone", _TOO_LARGE)


class Broken(Exception):
    """What came is not what an API server says: cut off in the middle, or no JSON."""


def error_of(status: int, body: object, retry_after: str = "") -> ApiError:
    """From an answer's body, read as JSON where it is some, or the object of an ERROR event."""
    said = body if isinstance(body, Mapping) and body.get("kind") == "Status" else {}
    details = mapping(said.get("details"))
    after = details.get("retryAfterSeconds") or retry_after
    code = said.get("code")
    causes = [mapping(one).get("reason") for one in details.get("causes") or ()]
    message = str(said.get("message") or (body if isinstance(body, str) else "")).strip()
    return ApiError(
        code if isinstance(code, int) and not status else status,
        _TOO_LARGE if _TOO_LARGE in causes else str(said.get("reason") or ""),
        message[:500] or f"HTTP status {status}",
        float(after) if str(after).isdigit() else 0.0,
    )


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a mapping; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def metadata(document: Document) -> Mapping[str, Any]:
    return mapping(document.get("metadata"))


def annotations_of(document: Document) -> Mapping[str, Any]:
    return mapping(metadata(document).get("annotations"))


def version_of(document: Document) -> str:
    """metadata.resourceVersion, '' where there is none."""
    return str(metadata(document).get("resourceVersion") or "")


def place_of(document: Document) -> tuple[str, str]:
    """(namespace, name); the namespace of what has none is ''."""
    said = metadata(document)
    return str(said.get("namespace") or ""), str(said.get("name") or "")
