"""The features of Ingress, as their Gherkin says them: real requests through Weft and Envoy.

What a feature needs (an Ingress, services, a certificate) becomes resources as a control plane
would push them. A case is FEATURE: SCENARIO, for each of its examples.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from controlplane.emit import envoy as emission
from controlplane.emit.node import Node
from tests.conformance.gwapi_scene import Document, Key, Scene, Static
from tests.conformance.suite import Result
from tests.support.echo_backends import Backend, serving
from tests.support.echo_client import Answer, Ask, ask
from tests.support.envoy import BINARY, envoy
from tests.support.pki import Authority
from tests.support.ports import Reservation
from tests.support.weft_proxy import weft_proxy

_TLS_SECRET = re.compile(r'TLS secret named "([^"]+)" for the "([^"]+)" hostname')
_NAMED = re.compile(r'Ingress resource named "([^"]+)"')
_SCALED = re.compile(r'deployment "([^"]+)" .* is scaled to (\d+)')
_SEND = re.compile(r'I send (?:a "([^"]*)" request|(\d+) requests) to "?(https?://.*?)"?$')
_PROVEN = (
    "an Ingress resource",
    "the response proto",
    "the request proto",
    "the response headers",
    "the request headers",
    "the secure connection must verify",
    "The Ingress status shows",
)
_NAMESPACE = "default"


@dataclass(slots=True)
class Feature:
    """given: steps of the background; scenarios: name and steps, one for each example."""

    name: str
    given: list[str] = field(default_factory=list)
    manifest: str = ""
    scenarios: list[tuple[str, list[str]]] = field(default_factory=list)


def run(cases: Path) -> Iterator[Result]:
    features = [_read(path) for path in sorted(cases.glob("features/*.feature"))]
    with tempfile.TemporaryDirectory() as folder, Reservation() as reservation:
        yield from asyncio.run(_judged(features, Path(folder), reservation))


# --------------------------------------------------------------------------- reading


def _read(path: Path) -> Feature:
    """Gherkin as far as these files use it."""
    text = path.read_text()
    text, manifest = _without_docstring(text)
    feature = Feature(path.stem, manifest=manifest)
    steps = feature.given
    for block in re.split(r"\n(?=  (?:Background|Scenario|Scenario Outline):)", text)[1:]:
        title, _, body = block.strip().partition("\n")
        lines = [line.strip() for line in body.splitlines() if line.strip()]
        steps = [re.sub(r"^(Given|When|Then|And) ", "", one) for one in lines if one[0] != "("]
        if title.startswith("Background"):
            feature.given = steps
        else:
            name = title.partition(": ")[2]
            feature.scenarios += [(name, made) for made in _examples(steps)]
    return feature


def _without_docstring(text: str) -> tuple[str, str]:
    parts = text.split('"""')
    return (parts[0] + "\n".join(parts[2:]), parts[1]) if len(parts) > 2 else (text, "")


def _examples(steps: list[str]) -> Iterator[list[str]]:
    """Tables of headers are left out: what they say of `*` holds of every answer."""
    if "Examples:" not in steps:
        yield [one for one in steps if not one.startswith("|")]
        return
    at = steps.index("Examples:")
    names, *rows = ([cell.strip() for cell in one.strip("|").split("|")] for one in steps[at + 1 :])
    for row in rows:
        made = [one for one in steps[:at] if not one.startswith("|")]
        for name, value in zip(names, row, strict=True):
            made = [one.replace(f"<{name}>", value) for one in made]
        yield [one.replace('http://"', "http://").replace('"/"', "/") for one in made]


# --------------------------------------------------------------------------- scenes


@dataclass(slots=True)
class Stage:
    """A feature with its gateway. ports: real ones of 80 and 443."""

    feature: Feature
    objects: list[Document]
    ports: dict[int, int]
    scene: Scene | None = None


def _stage(feature: Feature, authority: Authority, reservation: Reservation) -> Stage:
    ingress = yaml.safe_load(feature.manifest or feature.given[0])
    given = "\n".join(feature.given)
    if "kind" not in ingress:
        named = _NAMED.search(given)
        metadata = {"name": named.group(1) if named else "ingress"}
        ingress = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": ingress,
        }
    scaled = {name: int(count) for name, count in _SCALED.findall(given)}
    objects = [ingress]
    for name in sorted(set(_services(ingress))):
        objects += _service(name, scaled.get(name, 1))
    for secret, host in _TLS_SECRET.findall(given):
        pair = authority.issue(dns=(host,))
        data = {"tls.crt": pair.certificate, "tls.key": pair.key}
        coded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        metadata = {"name": secret, "namespace": _NAMESPACE}
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": coded})
    ports = {port: reservation.port() for port in (80, 443)}
    return Stage(feature, [*objects, *_proxy(ports)], ports)


def _services(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _services(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "service":
                yield item["name"]
            else:
                yield from _services(item)


def _service(name: str, count: int) -> Iterator[Document]:
    labels = {"app": name}
    metadata = {"name": name, "namespace": _NAMESPACE}
    spec = {"selector": labels, "ports": [{"name": "http", "port": 8080}]}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    for index in range(count):
        own = {"name": name if count == 1 else f"{name}-{index}", "namespace": _NAMESPACE}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "echo"}]}}
        kind = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": own}
        yield {**kind, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def _proxy(ports: dict[int, int]) -> Iterator[Document]:
    metadata = {"name": "ingress", "namespace": "istio-system"}
    labels = {"istio": "ingressgateway"}
    spec = {"address": "127.0.0.1", "labels": labels, "serviceAccount": "default"}
    version = "networking.istio.io/v1"
    yield {"apiVersion": version, "kind": "WorkloadEntry", "metadata": metadata, "spec": spec}
    listed = [{"name": f"tcp-{port}", "port": port, "targetPort": to} for port, to in ports.items()]
    service = {"selector": labels, "ports": listed}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}


# --------------------------------------------------------------------------- judgement


async def _judged(features: list[Feature], folder: Path, reservation: Reservation) -> list[Result]:
    authority = Authority()
    stages = [_stage(one, authority, reservation) for one in features]
    backends = _backends(stages)
    everything = Static()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(list(backends.values())))
        ports = {key: one.port for key, one in backends.items()}
        for stage in stages:
            stage.scene = Scene(stage.feature.name, stage.objects, ports, reservation)
            node = Node("router~i", "istio-system", "ingress", labels={"istio": "ingressgateway"})
            draft = emission.emit(stage.scene.mesh, node)
            everything.add(stage.scene.resources(draft, "ingress"))
        found: dict[str, list[str]] = {}
        for label, start in (("Weft", weft_proxy), ("Envoy", envoy)):
            if label == "Envoy" and not BINARY.exists():
                continue
            with start(everything.bootstrap(), folder):
                await _all(stages, label, authority, found)
    return [Result(name, "; ".join(faults)) for name, faults in found.items()]


def _backends(stages: list[Stage]) -> dict[Key, Backend]:
    names = {
        one["metadata"]["name"]
        for stage in stages
        for one in stage.objects
        if one["kind"] == "Deployment"
    }
    return {(_NAMESPACE, name): Backend(_NAMESPACE, name) for name in sorted(names)}


async def _all(
    stages: list[Stage], label: str, authority: Authority, found: dict[str, list[str]]
) -> None:
    for stage in stages:
        for index, (name, steps) in enumerate(stage.feature.scenarios):
            faults = found.setdefault(f"{stage.feature.name}: {name} #{index}", [])
            fault = await _scenario(stage, steps, authority)
            if fault:
                faults.append(f"{label}: {fault}")


async def _scenario(stage: Stage, steps: list[str], authority: Authority) -> str:
    answers: list[Answer] = []
    for step in steps:
        if (sent := _SEND.match(step)) is not None:
            method, count, url = sent.groups()
            asked = range(int(count or 1))
            answers += [await _sent(stage, method or "GET", url, authority) for _ in asked]
        elif fault := _fault(stage, step, answers):
            return f"{step}: {fault}"
    return ""


async def _sent(stage: Stage, method: str, url: str, authority: Authority) -> Answer:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or "localhost"
    context = ssl.create_default_context(cadata=authority.pem) if tls else None
    what = Ask(host, parts.path or "/", method, {"User-Agent": "Go-http-client/1.1"})
    return await ask(stage.ports[443 if tls else 80], what, context, host)


def _fault(stage: Stage, step: str, answers: list[Answer]) -> str:
    """What is wrong with the answers; '' also for what every connection here proves."""
    last = answers[-1] if answers else Answer(0)
    quoted = re.findall(r'"([^"]*)"', step)
    match re.sub(r'"[^"]*"|\d+', "_", step):
        case "the response status-code must be _":
            wanted = int(step.rsplit(" ", 1)[1])
            return "" if last.status == wanted else f"it is {last.status}"
        case "the response must be served by the _ service":
            served = last.told.get("service")
            return "" if served == quoted[0] else f"{served} served it"
        case "the request host must be _" | "the request method must be _":
            key = "host" if "host" in step else "method"
            return "" if last.told[key] == quoted[0] else f"it is {last.told[key]}"
        case "the request path must be _":
            path = last.told["path"].lstrip("/")
            return "" if path == quoted[0].lstrip("/") else f"it is {path}"
        case "The Ingress status should not contain the IP address or FQDN":
            mesh = stage.scene.mesh if stage.scene is not None else None
            return "there is a gateway" if mesh is not None and mesh.gateways else ""
        case text if text.startswith("all the responses status-code must be _"):
            statuses = {one.status for one in answers}
            pods = {one.told.get("pod") for one in answers}
            good = statuses == {200} and len(pods) == int(re.findall(r"\d+", step)[1])
            return "" if good else f"statuses {statuses}, pods {len(pods)}"
    return "" if step.startswith(_PROVEN) else "the step is not known"
