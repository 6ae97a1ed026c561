"""What clusters are called in statistics, where the mesh says so (Istio's ...ClusterStatName)."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.mesh.model import InboundPort, Service, ServicePort


def outbound(service: Service, port: ServicePort, subset: str) -> str:
    """'' for the cluster's own name."""
    pattern = service.clusters.stat_name
    ports = {endpoint.ports.get(port.number, port.number) for endpoint in service.endpoints}
    target = min(ports, default=port.number)
    return pattern and _filled(
        pattern,
        {
            "%SERVICE%": _short(service.hostname, service.name, service.namespace),
            "%SERVICE_FQDN%": service.hostname,
            "%SERVICE_NAME%": service.name,
            "%SERVICE_PORT%": str(port.number),
            "%SERVICE_PORT_NAME%": port.name,
            "%SUBSET_NAME%": subset,
            "%TARGET_PORT%": str(target),
        },
    )


def inbound(pattern: str, port: InboundPort, namespace: str) -> str:
    """Of a workload of `namespace`. '' for the cluster's own name, also where no service is there
    to be named."""
    if not pattern or not port.hostnames:
        return ""
    hostname = port.hostnames[0]
    name = hostname.partition(".")[0]
    return _filled(
        pattern,
        {
            "%SERVICE%": _short(hostname, name, namespace),
            "%SERVICE_FQDN%": hostname,
            "%SERVICE_NAME%": name,
            "%SERVICE_PORT%": str(port.service_port or port.listen_port),
            "%SERVICE_PORT_NAME%": port.name,
            "%SUBSET_NAME%": "",
            "%TARGET_PORT%": str(port.app_port),
        },
    )


def _short(hostname: str, name: str, namespace: str) -> str:
    """Of a service of Kubernetes 'NAME.NAMESPACE'."""
    short = f"{name}.{namespace}"
    return short if hostname.startswith(f"{short}.svc.") else hostname


def _filled(pattern: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        pattern = pattern.replace(name, value)
    return pattern
