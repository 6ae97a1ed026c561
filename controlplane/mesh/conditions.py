"""Gateway API's status conditions: what became of gateways, listeners and routes.

The words (types and reasons) are the specification's. Times and observed generations are added by
whoever writes them to an API server: here everything is about the objects as they are now.
"""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen

CONTROLLERS = ("weft.dev/gateway-controller", "istio.io/gateway-controller")
"""The controllerNames that are Weft's: its own, and Istio's, so that what was made for istiod works
unchanged. The first one is meant where nothing is said."""

PASSING = frozenset(
    ("DefaultGateway", "InsecureFrontendValidationMode", "OverlappingTLSConfig", "PartiallyInvalid")
)
"""Conditions that are there only while they hold: never False, and gone where nothing is said."""

Truth = Literal["True", "False", "Unknown"]
GroupKind = tuple[str, str]
"""(group, kind), group '' for Kubernetes' core."""


@frozen
class Condition:
    type: str
    status: Truth
    reason: str
    message: str = ""


@frozen
class Parent:
    """What a route or policy refers to, as it is written: '' and None where nothing is."""

    group: str
    kind: str
    namespace: str
    name: str
    section_name: str = ""
    port: int | None = None


@frozen
class ParentConditions:
    """controller: of the Gateway's class, '' where none is meant."""

    parent: Parent
    conditions: tuple[Condition, ...]
    controller: str = ""


@frozen
class ListenerConditions:
    name: str
    supported_kinds: tuple[GroupKind, ...]
    attached_routes: int
    conditions: tuple[Condition, ...]


@frozen
class ObjectConditions:
    """Of one object: its own, its listeners' (Gateway, ListenerSet), its parents' (routes and
    BackendTLSPolicy). attached_sets: how many ListenerSets a Gateway has taken. addresses: where a
    Gateway or an Ingress is reached, IP addresses and host names; None where it is not for Weft to
    say. features: which of Gateway API's a GatewayClass has, sorted."""

    kind: str
    namespace: str
    name: str
    conditions: tuple[Condition, ...] = ()
    listeners: tuple[ListenerConditions, ...] = ()
    parents: tuple[ParentConditions, ...] = ()
    attached_sets: int = 0
    addresses: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()
