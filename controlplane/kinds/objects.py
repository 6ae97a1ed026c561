"""What all kinds have in common: metadata, the key of an object, its name in messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from controlplane.kinds.decoders import LABELS, NAME, map_of, text
from controlplane.kinds.schema import Place, Record, names, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node


class ObjectKey(NamedTuple):
    """kind is 'Service', or 'Gateway.gateway.networking.k8s.io' where a bare kind is ambiguous."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def _annotations(node: Node, place: Place) -> Mapping[str, str]:
    """Annotations without those that only kubectl reads."""
    found = map_of(text)(node, place)
    return {k: v for k, v in found.items() if not k.startswith("kubectl.kubernetes.io/")}


def _namespace(node: Node, place: Place) -> str:
    return (text(node, place) and NAME(node, place)) or "default"


@record
class Metadata(Record):
    IGNORED = names(
        "clusterName deletionGracePeriodSeconds deletionTimestamp finalizers generateName "
        "generation managedFields ownerReferences resourceVersion selfLink uid"
    )
    name: str = required(NAME)
    namespace: str = optional(_namespace, "default")
    labels: Mapping[str, str] = optional(LABELS, {})
    annotations: Mapping[str, str] = optional(_annotations, {})
    creation_timestamp: str = optional(text, "")


@record
class TemplateMetadata(Record):
    """Metadata of a pod template: everything is optional."""

    IGNORED = names("name namespace") | Metadata.IGNORED | {"creationTimestamp"}
    labels: Mapping[str, str] = optional(LABELS, {})
    annotations: Mapping[str, str] = optional(_annotations, {})


@record
class Object(Record):
    """A Kubernetes-style object. Subclasses say API_VERSIONS and add spec (or other fields).

    ABOUT: what the user is told about a kind that has no effect in the control plane."""

    API_VERSIONS: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar[str] = ""
    ABOUT: ClassVar[str] = ""
    IGNORED = names("apiVersion kind status")

    metadata: Metadata = required(obj(Metadata))

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> ObjectKey:
        kind = self.KIND or type(self).__name__
        return ObjectKey(kind, self.metadata.namespace, self.metadata.name)

    @classmethod
    def kind(cls) -> str:
        """The word of YAML's `kind:`."""
        return (cls.KIND or cls.__name__).partition(".")[0]
