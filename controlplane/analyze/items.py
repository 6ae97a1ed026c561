"""All objects of some manifests, as far as their heads can be read, by kind and by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from controlplane.analyze.fields import Field
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.position import Position

DEFAULT_NAMESPACE = "default"
_WITHOUT_NAMESPACE = frozenset(
    [
        "Namespace",
        "Node",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "GatewayClass",
        "ValidatingWebhookConfiguration",
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """group: '' is Kubernetes' core. written: the namespace as it stands in the text."""

    group: str
    kind: str
    written: str
    name: str
    body: Field

    @property
    def namespace(self) -> str:
        return self.written or DEFAULT_NAMESPACE

    @property
    def label(self) -> str:
        """As other statuses name it."""
        return f"{self.kind} {self.full_name}"

    @property
    def full_name(self) -> str:
        return self.name if self.kind in _WITHOUT_NAMESPACE else f"{self.namespace}/{self.name}"

    @property
    def spec(self) -> Field:
        return self.body["spec"]

    @property
    def labels(self) -> Mapping[str, str]:
        return self.body["metadata"]["labels"].labels

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.body["metadata"]["annotations"].labels

    @property
    def position(self) -> Position:
        return self.body.position

    @property
    def name_position(self) -> Position:
        return self.body["metadata"]["name"].position


class Items:
    """Kinds are asked for as they are written; group matters where two groups have a kind."""

    __slots__ = ("_kinds", "_names", "now")

    def __init__(self, documents: Mapping[str, Iterable[Node]], now: datetime) -> None:
        """documents: by the name of their source. now: of which certificates are valid."""
        self.now = now
        self._kinds: dict[str, list[Item]] = defaultdict(list)
        self._names: dict[tuple[str, str, str], Item] = {}
        for source, nodes in documents.items():
            for node in nodes:
                for item in _inside(Field.of(source, node)):
                    self._kinds[item.kind].append(item)
                    key = item.kind, item.namespace, item.name
                    self._names.setdefault(key, item)

    def of(self, kind: str, group: str = "") -> list[Item]:
        """group: its end, such as 'istio.io'; '' is any."""
        return [item for item in self._kinds.get(kind, ()) if item.group.endswith(group)]

    def find(self, kind: str, namespace: str, name: str) -> Item | None:
        return self._names.get((kind, namespace, name))


def _inside(body: Field) -> Iterator[Item]:
    """The object itself, or those of a List."""
    kind = body["kind"].text
    if kind == "List":
        for item in body["items"].items:
            yield from _inside(item)
        return
    group, slash, _ = body["apiVersion"].text.rpartition("/")
    metadata = body["metadata"]
    if kind and metadata["name"].text:
        namespace = metadata["namespace"].text
        yield Item(group if slash else "", kind, namespace, metadata["name"].text, body)
