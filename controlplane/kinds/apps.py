"""apps/v1 Deployment: what runs a workload. The control plane accepts it and does not use it.

What describes the container's surroundings (volumes, probes, resources ...) has no effect where
Weft runs processes itself; it is accepted so that manifests for Kubernetes work unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.decoders import LABELS, PORT, enum, integer, list_of, opaque, text
from controlplane.kinds.objects import Object, TemplateMetadata
from controlplane.kinds.schema import Record, names, obj, optional, record, required


@record
class EnvVar(Record):
    """value_from is accepted; where it stands, value is ''."""

    IGNORED = names("valueFrom")
    name: str = required(text)
    value: str = optional(text, "")


@record
class ContainerPort(Record):
    IGNORED = names("hostIP hostPort")
    container_port: int = required(PORT)
    name: str = optional(text, "")
    protocol: str = optional(enum("TCP", "UDP", "SCTP"), "TCP")


@record
class Container(Record):
    IGNORED = names(
        "envFrom image imagePullPolicy lifecycle livenessProbe readinessProbe resizePolicy "
        "resources restartPolicy securityContext startupProbe stdin stdinOnce "
        "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts"
    )
    name: str = required(text)
    command: tuple[str, ...] = optional(list_of(text), ())
    args: tuple[str, ...] = optional(list_of(text), ())
    env: tuple[EnvVar, ...] = optional(list_of(obj(EnvVar)), ())
    ports: tuple[ContainerPort, ...] = optional(list_of(obj(ContainerPort)), ())
    working_dir: str = optional(text, "")


@record
class PodSpec(Record):
    IGNORED = names(
        "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers "
        "hostname imagePullSecrets initContainers nodeName nodeSelector os overhead "
        "preemptionPolicy priority priorityClassName readinessGates resourceClaims resources "
        "restartPolicy runtimeClassName schedulerName schedulingGates securityContext "
        "serviceAccount setHostnameAsFQDN shareProcessNamespace subdomain "
        "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes"
    )
    containers: tuple[Container, ...] = required(list_of(obj(Container), 1))
    service_account_name: str = optional(text, "default")


@record
class PodTemplate(Record):
    metadata: TemplateMetadata = optional(obj(TemplateMetadata), TemplateMetadata())
    spec: PodSpec = required(obj(PodSpec))


@record
class LabelSelector(Record):
    match_labels: Mapping[str, str] = optional(LABELS, {})
    match_expressions: None = optional(opaque)


@record
class DeploymentSpec(Record):
    IGNORED = names("minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit strategy")
    replicas: int = optional(integer(0, 2**31 - 1), 1)
    selector: LabelSelector = required(obj(LabelSelector))
    template: PodTemplate = required(obj(PodTemplate))

    def check(self) -> Iterator[tuple[str, str]]:
        labels = self.template.metadata.labels
        for key, value in self.selector.match_labels.items():
            if labels.get(key) != value:
                yield "selector", f"{key}={value} does not select the template's own labels"


@record
class Deployment(Object):
    API_VERSIONS = names("apps/v1")
    spec: DeploymentSpec = required(obj(DeploymentSpec))
