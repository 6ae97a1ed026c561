"""Istio's ProxyConfig: how the proxies of some workloads are started."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.kinds.decoders import integer, map_of, text
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record
from controlplane.kinds.selectors import SELECTOR, WorkloadSelector


@record
class ProxyImage(Record):
    image_type: str = optional(text, "")


@record
class ProxyConfigSpec(Record):
    selector: WorkloadSelector | None = optional(SELECTOR)
    concurrency: int | None = optional(integer(0, 2**31 - 1))
    environment_variables: Mapping[str, str] = optional(map_of(text), {})
    image: ProxyImage | None = optional(obj(ProxyImage))


@record
class ProxyConfig(Object):
    API_VERSIONS = names("networking.istio.io/v1beta1")
    ABOUT = (
        "a ProxyConfig is for those who start proxies: weft up and weft run heed its "
        "environmentVariables; concurrency and image have no effect, as a proxy of weft's is one "
        "process with one thread"
    )
    spec: ProxyConfigSpec = optional(obj(ProxyConfigSpec), ProxyConfigSpec())
