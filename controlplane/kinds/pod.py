"""v1 Pod: where an application runs, with which labels, ports and service account, and how it is.

Most of a pod is the kubelet's business. There may be tens of thousands, so that they are kept
small: their fields have no places of their own (PLACES), and of annotations only Weft's and
Istio's stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.decoders import PORT, boolean, enum, ip, list_of, map_of, text
from controlplane.kinds.objects import Metadata, Object
from controlplane.kinds.schema import Place, Record, names, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node

_TERMINAL = frozenset({"Succeeded", "Failed"})
"""Phases in which nothing of a pod runs any more."""
ANNOTATIONS = frozenset({"weft.dev/sidecar"})
"""Those that say something to a mesh."""


def _annotations(node: Node, place: Place) -> Mapping[str, str]:
    found = map_of(text)(node, place)
    return {key: value for key, value in found.items() if key in ANNOTATIONS}


@record
class PodMetadata(Metadata):
    """deletion_timestamp: since when it has been leaving; '' for one that stays."""

    PLACES = False
    IGNORED = Metadata.IGNORED - {"deletionTimestamp"}
    annotations: Mapping[str, str] = optional(_annotations, {})
    deletion_timestamp: str = optional(text, "")


@record
class PodPort(Record):
    PLACES = False
    IGNORED = names("hostIP hostPort")
    container_port: int = required(PORT)
    name: str = optional(text, "")
    protocol: str = optional(enum("TCP", "UDP", "SCTP"), "TCP")


@record
class PodContainer(Record):
    PLACES = False
    IGNORED = names(
        "args command env envFrom image imagePullPolicy lifecycle livenessProbe readinessProbe "
        "resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe "
        "stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices "
        "volumeMounts workingDir"
    )
    name: str = required(text)
    ports: tuple[PodPort, ...] = optional(list_of(obj(PodPort)), ())


@record
class RunningPodSpec(Record):
    PLACES = False
    IGNORED = names(
        "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers hostAliases hostIPC hostPID hostUsers hostname "
        "hostnameOverride imagePullSecrets nodeSelector os overhead preemptionPolicy priority "
        "priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName "
        "schedulerName schedulingGates schedulingGroup securityContext serviceAccount "
        "setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds "
        "tolerations topologySpreadConstraints volumes workloadRef"
    )
    containers: tuple[PodContainer, ...] = required(list_of(obj(PodContainer)))
    init_containers: tuple[PodContainer, ...] = optional(list_of(obj(PodContainer)), ())
    service_account_name: str = optional(text, "")
    node_name: str = optional(text, "")
    host_network: bool = optional(boolean, False)


@record
class PodAddress(Record):
    PLACES = False
    ip: str = required(ip)


@record
class PodCondition(Record):
    PLACES = False
    IGNORED = names("lastProbeTime lastTransitionTime message observedGeneration reason")
    type: str = required(text)
    status: str = required(text)


@record
class PodStatus(Record):
    PLACES = False
    IGNORED = names(
        "allocatedResources containerStatuses ephemeralContainerStatuses "
        "extendedResourceClaimStatus hostIP hostIPs initContainerStatuses message "
        "nominatedNodeName observedGeneration qosClass reason resize resourceClaimStatuses "
        "resources startTime"
    )
    phase: str = optional(text, "")
    pod_ip: str = optional(text, "", key="podIP")
    pod_ips: tuple[PodAddress, ...] = optional(list_of(obj(PodAddress)), (), key="podIPs")
    conditions: tuple[PodCondition, ...] = optional(list_of(obj(PodCondition)), ())


@record
class Pod(Object):
    API_VERSIONS = names("v1")
    PLACES = False
    IGNORED = Object.IGNORED - {"status"}
    metadata: PodMetadata = required(obj(PodMetadata))
    spec: RunningPodSpec = required(obj(RunningPodSpec))
    status: PodStatus = optional(obj(PodStatus), PodStatus())

    @property
    def addresses(self) -> tuple[str, ...]:
        """None before it runs, and of one that runs no more: another pod may have them by then."""
        if self.status.phase in _TERMINAL:
            return ()
        found = tuple(one.ip for one in self.status.pod_ips)
        return found or ((self.status.pod_ip,) if self.status.pod_ip else ())

    @property
    def is_ready(self) -> bool:
        return any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)

    @property
    def is_leaving(self) -> bool:
        return bool(self.metadata.deletion_timestamp)

    def port(self, name: str, protocol: str) -> int | None:
        """The first container's port of that name, Kubernetes' rule."""
        return next((p.container_port for p in self._ports() if _is(p, name, protocol)), None)

    def _ports(self) -> Iterator[PodPort]:
        for container in (*self.spec.containers, *self.spec.init_containers):
            yield from container.ports


def _is(port: PodPort, name: str, protocol: str) -> bool:
    return port.name == name and port.protocol == protocol
