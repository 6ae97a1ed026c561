"""IST0139, IST0163, IST0164: the webhooks by which Istio is injected, and where they lead."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.label_selectors import selects, values_of
from controlplane.analyze.population import INJECT, INJECTION, REVISION

_KINDS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_ISTIOS = ("istio-validator", "istiod-default-validator", "istio-sidecar-injector")
_Labels = Mapping[str, str]
_NAMESPACES: tuple[_Labels, ...] = ({}, {INJECTION: "enabled"}, {INJECTION: "disabled"})
_PODS: tuple[_Labels, ...] = ({}, {INJECT: "true"}, {INJECT: "false"})


def external_addresses(items: Items) -> Iterator[Finding]:
    """Of a control plane outside of the cluster."""
    for kind in _KINDS:
        for item in items.of(kind):
            if item.name.startswith(_ISTIOS):
                yield from _addresses(item)


def _addresses(item: Item) -> Iterator[Finding]:
    for hook in item.body["webhooks"].items:
        config, url = hook["clientConfig"], hook["clientConfig"]["url"]
        if config["service"]:
            continue
        host = _host(url.text)
        if not host:
            message = (
                f"the webhook {hook['name'].text} has no address of a control plane; give "
                "clientConfig.url or clientConfig.service"
            )
            yield Finding("IST0163", item, url.position, message)
        elif _is_address(host):
            message = (
                f"the webhook {hook['name'].text} names its control plane by an address ({host}), "
                "which may change; name a host"
            )
            yield Finding("IST0164", item, url.position, message)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_Hook = tuple[Item, Field]


def overlapping(items: Items) -> Iterator[Finding]:
    """Two webhooks for one pod would inject it twice; one without a service injects none."""
    hooks = [
        (item, hook)
        for item in items.of("MutatingWebhookConfiguration")
        if _is_injector(item)
        for hook in item.body["webhooks"].items
    ]
    told: set[tuple[str, ...]] = set()
    for namespace, pod in _cases(hooks):
        chosen = [one for one in hooks if _chooses(one[1], namespace, pod)]
        for item, hook in chosen if len(chosen) > 1 else ():
            names = sorted(_name(one) for one in chosen if one[1] is not hook)
            if (key := (_name((item, hook)), *names)) not in told:
                told.add(key)
                message = f"takes pods that {', '.join(names)} takes, too: they are injected twice"
                yield Finding("IST0139", item, hook["name"].position, message)
    for item, hook in hooks:
        service = hook["clientConfig"]["service"]
        if service and items.of("Service") and not _exists(items, service):
            name = f"{service['namespace'].text}/{service['name'].text}"
            message = f"there is no service {name}: no pod can be injected; correct clientConfig"
            yield Finding("IST0139", item, service.position, message)


def _exists(items: Items, service: Field) -> bool:
    return items.find("Service", service["namespace"].text, service["name"].text) is not None


def _is_injector(item: Item) -> bool:
    named = any(hook["name"].text.endswith("istio.io") for hook in item.body["webhooks"].items)
    return named or REVISION in item.labels


def _name(hook: _Hook) -> str:
    return f"{hook[0].name}/{hook[1]['name'].text}"


def _chooses(hook: Field, namespace: Mapping[str, str], pod: Mapping[str, str]) -> bool:
    return selects(hook["namespaceSelector"], namespace) and selects(hook["objectSelector"], pod)


def _cases(hooks: list[_Hook]) -> Iterator[tuple[Mapping[str, str], Mapping[str, str]]]:
    """Labels of namespaces and pods that make a difference."""
    revisions = {
        value
        for item, hook in hooks
        for selector in (hook["namespaceSelector"], hook["objectSelector"])
        for value in (*values_of(selector, REVISION), item.labels.get(REVISION, ""))
        if value
    }
    marks: list[Mapping[str, str]] = [{}, *({REVISION: one} for one in sorted(revisions))]
    namespaces = [{**base, **mark} for base in _NAMESPACES for mark in marks]
    pods = [{**base, **mark} for base in _PODS for mark in marks]
    return itertools.product(namespaces, pods)
