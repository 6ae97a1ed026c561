"""The part of Istio's MeshConfig that says where access logs go and how they look."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.decoders import PORT, boolean, json_object, list_of, text
from controlplane.kinds.schema import Place, Record, obj, optional, record, required
from controlplane.kinds.selectors import named
from controlplane.kinds.yaml_nodes import Node


def absolute_path(node: Node, place: Place) -> str:
    value = named(node, place)
    if not value.startswith("/") or "\0" in value:
        raise place.refuse(node, "the path of a file, such as /dev/stdout")
    return value


@record
class LogFormat(Record):
    """text, or labels: a JSON object whose strings are texts of that kind."""

    text: str = optional(text, "")
    labels: str | None = optional(json_object)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.text and self.labels is not None:
            yield "labels", "and text exclude each other"


@record
class FileAccessLog(Record):
    path: str = required(absolute_path)
    log_format: LogFormat | None = optional(obj(LogFormat))
    omit_empty_values: bool = optional(boolean, False)


_NAMES = list_of(named)


@record
class TcpGrpcLog(Record):
    """service: a host, also as namespace/host."""

    service: str = required(named)
    port: int = required(PORT)
    log_name: str = optional(text, "")
    filter_state_objects_to_log: tuple[str, ...] = optional(_NAMES, ())


@record
class HttpGrpcLog(TcpGrpcLog):
    additional_request_headers_to_log: tuple[str, ...] = optional(_NAMES, ())
    additional_response_headers_to_log: tuple[str, ...] = optional(_NAMES, ())
    additional_response_trailers_to_log: tuple[str, ...] = optional(_NAMES, ())


@record
class OtelLogFormat(Record):
    """text: of the record itself; labels: a JSON object of texts of that kind, told beside it."""

    text: str = optional(text, "")
    labels: str | None = optional(json_object)


@record
class OtelLog(Record):
    """service: a host, also as namespace/host."""

    service: str = required(named)
    port: int = required(PORT)
    log_name: str = optional(text, "")
    log_format: OtelLogFormat | None = optional(obj(OtelLogFormat))


@record
class DefaultProviders(Record):
    """By name, of extensionProviders. metrics None: nothing is said, and Istio's holds."""

    access_logging: tuple[str, ...] = optional(_NAMES, ())
    metrics: tuple[str, ...] | None = optional(_NAMES)
    tracing: tuple[str, ...] = optional(_NAMES, ())
