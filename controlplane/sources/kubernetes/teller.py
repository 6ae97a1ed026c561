"""What a translation has to say of the objects that came from Kubernetes, for the status writer.

Gateway API's objects get their conditions. Istio's get what is wrong with them, while something
is: `validationMessages` (code and level, as Istio's analysis writes them) and a condition
`Accepted` that has the text. What has been said is not said again, so that a change costs what it
concerns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from controlplane.kinds.objects import ObjectKey
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import Status
from controlplane.sources.kubernetes.conditions import edit_of, key_of, withdrawn
from controlplane.sources.kubernetes.edits import Cleared, Edit, Fields
from controlplane.sources.kubernetes.intake import SOURCE
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.kubernetes.status_writer import StatusWriter

ISTIO = frozenset({"networking.istio.io", "security.istio.io", "telemetry.istio.io"})
ACCEPTED = "Accepted"
_MESSAGES = "validationMessages"
MAX_MESSAGES = 20
_LEVELS = {"error": "ERROR", "warning": "WARNING"}

Said = ObjectConditions | tuple[Status, ...]


class Teller:
    __slots__ = ("_source", "_told", "_writer")

    def __init__(self, source: KubernetesSource, writer: StatusWriter) -> None:
        self._source = source
        self._writer = writer
        self._told: dict[ObjectKey, tuple[Said, int]] = {}

    def tell(self, found: Iterable[ObjectConditions], statuses: Iterable[Status]) -> None:
        """Call it when the inventory was translated: the generations are those of now."""
        news: dict[ObjectKey, tuple[Said, int]] = {}
        every: list[tuple[ObjectKey, Said]] = [(key_of(one), one) for one in found]
        every += self._wrong(statuses)
        for key, said in every:
            generation = self._source.generation_of(key)
            if generation is not None:
                news.setdefault(key, (said, generation))
        for key, pair in news.items():
            if self._told.get(key) != pair:
                self._writer.write_status(key, _edit(*pair))
        for key in self._told.keys() - news.keys():
            self._withdraw(key)
        self._told = news

    def _wrong(self, statuses: Iterable[Status]) -> Iterator[tuple[ObjectKey, tuple[Status, ...]]]:
        """Errors and warnings of Istio's objects."""
        found: dict[str, list[Status]] = defaultdict(list)
        for status in statuses:
            if status.severity in _LEVELS and status.position.source.startswith(f"{SOURCE}:"):
                found[status.object].append(status)
        for label, wrong in found.items():
            kind, _, place = label.partition(" ")
            namespace, _, name = place.partition("/")
            resource = self._source.resource_of(kind)
            if resource is not None and resource.group in ISTIO:
                yield ObjectKey(kind, namespace, name), tuple(wrong[:MAX_MESSAGES])

    def _withdraw(self, key: ObjectKey) -> None:
        resource = self._source.resource_of(key.kind)
        if resource is None or self._source.generation_of(key) is None:
            self._writer.forget(key)
            return
        if resource.group in ISTIO:
            edit: Edit | None = Cleared((_MESSAGES,), ACCEPTED)
        else:
            edit = withdrawn(resource.kind)
        if edit is None:
            self._writer.forget(key)
        else:
            self._writer.write_status(key, edit)


def _edit(said: Said, generation: int) -> Edit:
    if isinstance(said, ObjectConditions):
        return edit_of(said, generation)
    refused = any(status.severity == "error" for status in said)
    condition = {
        "type": ACCEPTED,
        "status": "False" if refused else "True",
        "reason": said[0].code,
        "message": "; ".join(status.message for status in said),
        "observedGeneration": generation,
    }
    messages = [
        {"type": {"name": status.code, "code": status.code}, "level": _LEVELS[status.severity]}
        for status in said
    ]
    return Fields({_MESSAGES: messages, "conditions": [condition]})
