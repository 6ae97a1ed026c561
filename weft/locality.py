"""Where a workload stands: region, zone and subzone, as users write it.

Istio's precedence: the label `istio-locality` of a pod, then the labels of topology; here a pod has
those of its template, of its `nodeSelector`, and of the Node that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Locality = tuple[str, str, str]
"""'' is not known."""

NOWHERE: Locality = ("", "", "")

LABEL = "istio-locality"
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"


def read(text: str) -> Locality:
    """Of 'region/zone/subzone', whose end may be missing. ValueError says what is wrong."""
    parts = text.split("/")
    if len(parts) > 3 or not parts[0] or not all(part == part.strip() for part in parts):
        raise ValueError(f"{text!r} is not a locality, such as eu/eu-west/rack-1")
    region, zone, subzone = [*parts, "", ""][:3]
    return region, zone, subzone


def written(locality: Locality) -> str:
    """As a WorkloadEntry has it."""
    return "/".join(locality).rstrip("/")


def place_of(locality: Locality) -> dict[str, str]:
    """Envoy's Locality."""
    parts = zip(("region", "zone", "sub_zone"), locality, strict=True)
    return {name: value for name, value in parts if value}


def of_labels(sets: Iterable[Mapping[str, str]]) -> Locality:
    """Of the first that says one. A label's value has no slash: there dots stand for it."""
    for labels in sets:
        if text := labels.get(LABEL, ""):
            region, zone, subzone = [*text.replace(".", "/").split("/", 2), "", ""][:3]
            return region, zone, subzone
        found = (labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))
        if any(found):
            return found
    return NOWHERE
