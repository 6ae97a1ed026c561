"""IST0101, IST0127: AuthorizationPolicies for nobody, and namespaces that there are not. IST0175:
whence keys may be fetched."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import SYSTEM, Population, selector_text

_BLOCKED = "BLOCKED_CIDRS_IN_JWKS_URIS"
_SHOWN = 5


def policies(items: Items) -> Iterator[Finding]:
    pods = Population(items)
    for item in items.of("AuthorizationPolicy", "istio.io"):
        if pods.known:
            yield from _nobody(item, pods)
        if items.of("Namespace"):
            yield from _namespaces(item, items)


def _nobody(item: Item, pods: Population) -> Iterator[Finding]:
    if item.spec["targetRef"] or item.spec["targetRefs"]:
        return
    labels = item.spec["selector"]["matchLabels"]
    everywhere = item.namespace == SYSTEM
    if everywhere and not labels:
        return
    found = pods.selected(labels.labels, "" if everywhere else item.namespace)
    if not any(pods.in_mesh(pod) or pod.spec is None for pod in found):
        text = selector_text(labels.labels) or "a sidecar"
        message = f"is for nobody: no pod of the mesh in {item.namespace} has {text}"
        yield Finding("IST0127", item, item.spec["selector"].position, message)


def _namespaces(item: Item, items: Items) -> Iterator[Finding]:
    known = [one.name for one in items.of("Namespace")]
    for rule in item.spec["rules"].items:
        for source in (one["source"] for one in rule["from"].items):
            for field in source["namespaces"].items + source["notNamespaces"].items:
                if not any(_fits(field, name) for name in known):
                    message = f"there is no namespace {field.text!r}"
                    yield Finding("IST0101", item, field.position, message)


def _fits(field: Field, name: str) -> bool:
    pattern = field.text.lower()
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def unrestricted_keys(items: Items) -> Iterator[Finding]:
    """Istio's control plane fetches whatever jwksUri names, unless ranges are closed to it."""
    asking = [item.full_name for item in items.of("RequestAuthentication", "istio.io")]
    for item in items.of("Deployment") if asking else ():
        if item.labels.get("app") != "istiod":
            continue
        containers = item.spec["template"]["spec"]["containers"].items
        variables = [env for container in containers for env in container["env"].items]
        if not any(env["name"].text == _BLOCKED and env["value"].text for env in variables):
            more = f" and {len(asking) - _SHOWN} more" if len(asking) > _SHOWN else ""
            message = (
                f"fetches the keys of {', '.join(asking[:_SHOWN])}{more} from anywhere; close "
                f"your own ranges to it by the variable {_BLOCKED}"
            )
            yield Finding("IST0175", item, item.name_position, message)
