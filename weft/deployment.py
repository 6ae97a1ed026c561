"""Kubernetes Deployments as processes of this machine: what to run, how often, with which words.

Pure: documents in, `Deployment`s out. Fields that only mean something in a cluster (image,
resources, probes) are left alone; fields whose absence would change the program (a second
container, envFrom, volumes) are named in `notices`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import yaml

from weft import locality
from weft.locality import Locality
from weft.manifest import Field
from weft.proxy_config import ANNOTATION, PLAIN, ProxyConfig

SIDECAR, GRPC_AGENT = "sidecar", "grpc-agent"
TEMPLATES = "inject.istio.io/templates"
NO_COMMAND = "weft up runs processes, not images: give containers[0].command"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One Deployment; two are equal when their processes are. env keeps the manifest's order, in
    which $(NAME) may refer to earlier names.

    ports: port name -> containerPort, the first is the main one.
    fixed_port: the program listens there whatever PORT says (`weft.dev/app-port`).
    injected: what stands beside it, in Istio's words (`inject.istio.io/templates`): a `sidecar`, or
    for gRPC's own xDS a `grpc-agent`, or both in one.
    proxy: how its sidecar is started the next time; annotation: what the template says of it.
    locality: where its processes are said to stand."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    replicas: int = field(compare=False)
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    ports: Mapping[str, int]
    working_dir: str
    position: str = field(compare=False)
    fixed_port: int | None = None
    injected: tuple[str, ...] = (SIDECAR,)
    proxy: ProxyConfig = field(default=PLAIN, compare=False)
    annotation: str = ""
    locality: Locality = locality.NOWHERE
    notices: tuple[str, ...] = field(default=(), compare=False)


def deployments(documents: Iterable[Field]) -> list[Deployment]:
    """The Deployments among `documents`, in their order; ManifestError at the first wrong field."""
    every = list(documents)
    machines = _machines(every)
    found: dict[tuple[str, str], Deployment] = {}
    for document in every:
        if not is_kind(document, "Deployment", "apps/v1"):
            continue
        deployment = _deployment(document, machines)
        key = (deployment.namespace, deployment.name)
        if key in found:
            first = found[key].position
            raise document.get("metadata", "name").error(
                f"{deployment.name} is already defined at {first}"
            )
        found[key] = deployment
    return list(found.values())


def is_kind(document: Field, kind: str, api_version: str) -> bool:
    return (
        document.get("kind").text("") == kind and document.get("apiVersion").text("") == api_version
    )


def _machines(documents: Iterable[Field]) -> Mapping[str, Mapping[str, str]]:
    """The labels of the Nodes, by name."""
    nodes = (one.get("metadata") for one in documents if is_kind(one, "Node", "v1"))
    return {one.get("name").string(): one.get("labels").strings() for one in nodes}


def _deployment(document: Field, machines: Mapping[str, Mapping[str, str]]) -> Deployment:
    template = document.get("spec", "template")
    pod = template.get("spec")
    containers = pod.get("containers").items()
    if not containers:
        raise pod.get("containers").error("a Deployment needs one container")
    main, labels = containers[0], template.get("metadata", "labels").strings()
    machine = machines.get(pod.get("nodeName").string(""), {})
    name = document.get("metadata", "name")
    return Deployment(
        name=name.string(),
        namespace=document.get("metadata", "namespace").string("default"),
        service_account=pod.get("serviceAccountName").string("default"),
        labels=labels,
        replicas=_replicas(document.get("spec", "replicas")),
        command=_command(main),
        env=tuple(_variable(item) for item in main.get("env").items()),
        ports=_ports(main.get("ports")),
        working_dir=main.get("workingDir").string(""),
        position=name.position,
        fixed_port=_fixed_port(template),
        injected=_injected(template),
        annotation=_annotation(template),
        locality=locality.of_labels((labels, pod.get("nodeSelector").strings(), machine)),
        notices=tuple(_notices(pod, containers)),
    )


def _replicas(field: Field) -> int:
    replicas = field.integer(1)
    if not 0 <= replicas <= 50:
        raise field.error(f"expected 0 to 50 processes, found {replicas}")
    return replicas


def _command(container: Field) -> tuple[str, ...]:
    command = container.get("command")
    words = tuple(item.string() for item in command.items())
    if not words:
        raise command.error(NO_COMMAND)
    return words + tuple(item.string() for item in container.get("args").items())


def _variable(item: Field) -> tuple[str, str]:
    if not item.get("valueFrom").missing:
        raise item.get("valueFrom").error("weft up knows no cluster to take it from: give value")
    return item.get("name").string(), item.get("value").string("")


def _ports(field: Field) -> Mapping[str, int]:
    ports: dict[str, int] = {}
    for item in field.items():
        number = _port(item.get("containerPort"))
        name = item.get("name").string(f"port-{number}")
        if name in ports:
            raise item.get("name").error(f"the port name {name} is used twice")
        ports[name] = number
    return ports


def _port(field: Field) -> int:
    number = field.integer(0)
    if not 0 < number < 65536:
        raise field.error("expected a port from 1 to 65535")
    return number


def _fixed_port(template: Field) -> int | None:
    port = template.get("metadata", "annotations", "weft.dev/app-port")
    return None if port.missing else _port(port)


def _injected(template: Field) -> tuple[str, ...]:
    field = template.get("metadata", "annotations", TEMPLATES)
    names = tuple(name.strip() for name in field.text(SIDECAR).split(","))
    for name in names:
        if name not in (SIDECAR, GRPC_AGENT):
            raise field.error(f"{TEMPLATES}: weft knows {SIDECAR} and {GRPC_AGENT}, not {name!r}")
    return names


def _annotation(template: Field) -> str:
    """Of how its proxy is started, YAML in a text."""
    written = template.get("metadata", "annotations", ANNOTATION)
    text = written.text("")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise written.error(f"{ANNOTATION}: not YAML") from None
    if found is not None and not isinstance(found, dict):
        raise written.error(f"{ANNOTATION}: expected a mapping, such as 'concurrency: 1'")
    return text


def _notices(pod: Field, containers: list[Field]) -> Iterable[str]:
    for extra in containers[1:]:
        name = extra.get("name").text("?")
        yield f"{extra.position}: container {name} is not run: weft up runs the first one"
    unused = [pod.get("initContainers"), pod.get("volumes"), containers[0].get("envFrom")]
    for one in unused:
        if not one.missing:
            yield f"{one.position}: {one.path} is not used by weft up"


_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Kubernetes' $(NAME): replaced where NAME is in `env`, left as it is where not; $$ is $."""

    def one(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$"
        return env.get(match.group(1), match.group(0))

    return _REFERENCE.sub(one, text)


def environment(deployment: Deployment, own: Mapping[str, str]) -> dict[str, str]:
    """The variables that the process gets beside the inherited ones: the container's, then `own`
    (PORT, http_proxy ...), which win, and which the container's may refer to by $(NAME)."""
    known = dict(own)
    for name, value in deployment.env:
        expanded = expand(value, known)
        known[name] = own.get(name, expanded)
    return known
