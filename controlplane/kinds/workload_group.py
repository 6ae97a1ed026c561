"""Istio's WorkloadGroup: what WorkloadEntries of one kind have in common.

A WorkloadEntry is made of it when a proxy connects that names it (controlplane.registration);
workloads that `weft run` starts bring their WorkloadEntry themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.decoders import (
    LABELS,
    PORT,
    enum,
    integer,
    list_of,
    map_of,
    matching,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, obj, optional, record, required
from controlplane.kinds.service_entry import NETWORKING, WorkloadTemplate

_SECONDS = integer(0, 2**31 - 1)


@record
class GroupMetadata(Record):
    labels: Mapping[str, str] = optional(LABELS, {})
    annotations: Mapping[str, str] = optional(map_of(text), {})


@record
class ProbeHeader(Record):
    name: str = required(matching("[-_A-Za-z0-9]+", "the name of a header"))
    value: str = optional(text, "")


@record
class HttpGet(Record):
    path: str = optional(text, "")
    port: int = required(PORT)
    host: str = optional(text, "")
    scheme: str = optional(enum("HTTP", "HTTPS"), "")
    http_headers: tuple[ProbeHeader, ...] = optional(list_of(obj(ProbeHeader)), ())


@record
class TcpSocket(Record):
    host: str = optional(text, "")
    port: int = required(PORT)


@record
class ExecCommand(Record):
    command: tuple[str, ...] = required(list_of(text, 1))


@record
class GrpcCheck(Record):
    port: int | None = optional(PORT)
    service: str = optional(text, "")


@record
class ReadinessProbe(Record):
    initial_delay_seconds: int = optional(_SECONDS, 0)
    timeout_seconds: int = optional(_SECONDS, 0)
    period_seconds: int = optional(_SECONDS, 0)
    success_threshold: int = optional(_SECONDS, 0)
    failure_threshold: int = optional(_SECONDS, 0)
    http_get: HttpGet | None = optional(obj(HttpGet))
    tcp_socket: TcpSocket | None = optional(obj(TcpSocket))
    exec: ExecCommand | None = optional(obj(ExecCommand))
    grpc: GrpcCheck | None = optional(obj(GrpcCheck))

    def check(self) -> Iterator[tuple[str, str]]:
        methods = {
            "httpGet": self.http_get,
            "tcpSocket": self.tcp_socket,
            "exec": self.exec,
            "grpc": self.grpc,
        }
        given = [key for key, method in methods.items() if method is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield "", f"expected one of {', '.join(methods)}, got {found}"


@record
class WorkloadGroupSpec(Record):
    metadata: GroupMetadata = optional(obj(GroupMetadata), GroupMetadata())
    template: WorkloadTemplate = required(obj(WorkloadTemplate))
    probe: ReadinessProbe | None = optional(obj(ReadinessProbe))


@record
class WorkloadGroup(Object):
    API_VERSIONS = NETWORKING
    spec: WorkloadGroupSpec = required(obj(WorkloadGroupSpec))
