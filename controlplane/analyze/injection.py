"""IST0102, IST0103, IST0123, IST0146, IST0147, IST0148, IST0158: who gets a sidecar, and which."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.label_selectors import selects
from controlplane.analyze.mesh_settings import embedded
from controlplane.analyze.population import (
    DATAPLANE_MODE,
    INJECT,
    INJECTION,
    PROXY,
    REVISION,
    SYSTEM,
    SYSTEM_NAMESPACES,
    Pod,
    Population,
    template,
)

_CONFIG_MAP = "istio-sidecar-injector"
_VARIANTS = ("-distroless", "-debug")
_AUTO = "auto"


def namespaces(items: Items) -> Iterator[Finding]:
    """IST0102, IST0123, IST0148; IST0103: a pod without the sidecar that it should have."""
    injected = set()
    for item in items.of("Namespace"):
        if item.name in SYSTEM_NAMESPACES or item.name == SYSTEM:
            continue
        label, revision = item.labels.get(INJECTION, ""), item.labels.get(REVISION)
        if not label and revision is None:
            yield from _undecided(items, item)
        elif label and revision is not None:
            message = f"has both labels {INJECTION} and {REVISION}, of which one counts; keep one"
            yield Finding("IST0123", item, item.name_position, message)
        elif revision is not None or label == "enabled":
            injected.add(item.name)
    for pod in Population(items).every:
        if pod.item is not None and pod.item.kind == "Pod" and pod.namespace in injected:
            yield from _without_proxy(pod, pod.item)


def _undecided(items: Items, item: Item) -> Iterator[Finding]:
    if DATAPLANE_MODE in item.labels:
        return
    if _values(items, "")["sidecarInjectorWebhook"]["enableNamespacesByDefault"].true:
        message = "gets sidecars, as Istio is installed with enableNamespacesByDefault"
        yield Finding("IST0148", item, item.name_position, message)
        return
    message = (
        f"does not say whether its pods get sidecars: label it {INJECTION}=enabled, or "
        f"{INJECTION}=disabled to say that they don't"
    )
    yield Finding("IST0102", item, item.name_position, message)


def _without_proxy(pod: Pod, item: Item) -> Iterator[Finding]:
    said = pod.labels.get(INJECT) or pod.annotations.get(INJECT, "")
    if said.lower() == "false" or item.spec["hostNetwork"].true:
        return
    if not any(one["name"].text == PROXY and one["image"].text for one in pod.containers):
        message = "has no sidecar, though its namespace is injected: restart it"
        yield Finding("IST0103", item, item.name_position, message)


def images(items: Items) -> Iterator[Finding]:
    """IST0158: pods whose sidecar is not the one that would be injected now."""
    for pod in Population(items).every:
        if pod.item is None or pod.item.kind != "Pod":
            continue
        namespace = items.find("Namespace", "default", pod.namespace)
        labels = namespace.labels if namespace else {}
        if labels.get(INJECTION) != "enabled" and REVISION not in labels:
            continue
        expected = _image(_values(items, labels.get(REVISION, "")))
        for container in pod.containers if expected else ():
            image = container["image"]
            if container["name"].text == PROXY and _plain(image.text) != _plain(expected):
                message = f"the sidecar is {image.text}, and {expected} is injected now: restart it"
                yield Finding("IST0158", pod.item, image.position, message)


def _image(values: Field) -> str:
    """What the injector's values name."""
    whole = values["global"]
    name = whole["proxy"]["image"].text
    return name if "/" in name or not name else f"{whole['hub'].text}/{name}:{whole['tag'].text}"


def _plain(image: str) -> str:
    """Without the variant, which each pod may choose for itself."""
    return next((image.removesuffix(v) for v in _VARIANTS if image.endswith(v)), image)


def _values(items: Items, revision: str) -> Field:
    """Of the ConfigMap by which the injector of a revision works; empty where there is none."""
    name = f"{_CONFIG_MAP}-{revision}" if revision and revision != "default" else _CONFIG_MAP
    return embedded(items.find("ConfigMap", SYSTEM, name), "values")


def automatic_images(items: Items) -> Iterator[Finding]:
    """IST0147, IST0146: 'image: auto' is a gap that only the injector fills."""
    for item in items.of("Pod"):
        if _is_automatic(Pod(item.namespace, item.name, {}, {}, item.spec)):
            message = "image: auto of a Pod is never filled in; use a Deployment that is injected"
            yield Finding("IST0147", item, item.name_position, message)
    hooks = [
        hook
        for one in items.of("MutatingWebhookConfiguration")
        for hook in one.body["webhooks"].items
        if hook["name"].text.endswith("istio.io")
    ]
    for item in items.of("Deployment"):
        made = template(item)
        if not _is_automatic(made):
            continue
        namespace = items.find("Namespace", "default", item.namespace)
        labels = namespace.labels if namespace else {}
        if not any(
            selects(hook["namespaceSelector"], labels)
            and selects(hook["objectSelector"], made.labels)
            for hook in hooks
        ):
            message = (
                "image: auto is filled in by the injector, and no webhook takes these pods: label "
                f"them {INJECT}=true"
            )
            yield Finding("IST0146", item, item.name_position, message)


def _is_automatic(pod: Pod) -> bool:
    return any(c["name"].text == PROXY and c["image"].text == _AUTO for c in pod.containers)
