"""The mesh of the scale benchmark, as manifests: services with rules, policies and endpoints."""

from __future__ import annotations

from pathlib import Path

NAMESPACE = "default"
MOVING = 0
"""The service that every proxy calls, and that changes."""
LONELY = 1
"""The one that only one proxy calls."""


def host(service: int) -> str:
    return f"s{service}.{NAMESPACE}.svc.cluster.local"


def cluster(service: int) -> str:
    return f"outbound|80||{host(service)}"


def service(number: int) -> str:
    return f"""apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: {NAMESPACE}}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}], selector: {{app: s{number}}}}}
"""


def endpoints(number: int, count: int, generation: int = 0) -> str:
    """generation: another one moves one of the endpoints."""
    second, third = divmod(number, 250)
    places = [f"10.{second}.{third}.{1 + index}" for index in range(count)]
    places[-1] = f"10.{100 + second}.{third}.{1 + generation % 250}"
    listed = "\n".join(
        f"- {{addresses: [{place}], conditions: {{ready: true}}}}" for place in places
    )
    return f"""apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{number}-a
  namespace: {NAMESPACE}
  labels: {{kubernetes.io/service-name: s{number}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
{listed}
"""


def policy(number: int, generation: int = 0) -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{number}, namespace: {NAMESPACE}}}
spec:
  host: s{number}
  trafficPolicy: {{connectionPool: {{http: {{http2MaxRequests: {100 + generation}}}}}}}
"""


def access(number: int, generation: int = 0) -> str:
    who = f"cluster.local/ns/{NAMESPACE}/sa/w{generation}"
    return f"""apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: w{number}, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: w{number}}}}}
  rules: [{{from: [{{source: {{principals: ["{who}"]}}}}]}}]
"""


def rules(number: int, generation: int = 0) -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}, namespace: {NAMESPACE}}}
spec:
  hosts: [s{number}]
  http:
  - match: [{{uri: {{prefix: /v{generation}}}}}]
    route: [{{destination: {{host: s{number}}}}}]
    timeout: 3s
  - route: [{{destination: {{host: s{number}}}}}]
"""


def workload(number: int) -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: w{number}
  namespace: {NAMESPACE}
  annotations: {{weft.dev/sidecar: "true", weft.dev/app-ports: '{{"http": 8080}}'}}
spec:
  address: 127.1.{number // 250}.{1 + number % 250}
  ports: {{http: 15006}}
  labels: {{app: w{number}}}
  serviceAccount: w{number}
"""


def write(folder: Path, services: int, count: int, proxies: int) -> int:
    """One object a file, as Kubernetes has them, but for those that the API will change. Answers
    how many objects there are."""
    written = 0
    for number in range(services):
        parts = {"service": service(number), "policy": policy(number)}
        if number not in (MOVING, LONELY):
            parts |= {"endpoints": endpoints(number, count), "rules": rules(number)}
        for kind, text in parts.items():
            (folder / f"{kind}-{number}.yaml").write_text(text)
            written += 1
    for number in range(proxies):
        (folder / f"workload-{number}.yaml").write_text(workload(number))
    return written + proxies
