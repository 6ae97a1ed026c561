"""Kinds as people name them: `vs`, `virtualservices`, `Gateway.networking.istio.io`.

Pure words; an object's own kind is in its key (controlplane.kinds.objects).
"""

from __future__ import annotations

import difflib

from controlplane.kinds.registry import KINDS

_SHORT = {
    "ap": "AuthorizationPolicy",
    "cm": "ConfigMap",
    "deploy": "Deployment",
    "dr": "DestinationRule",
    "ep": "Endpoints",
    "gc": "GatewayClass",
    "gtw": "Gateway",
    "gw": "Gateway",
    "ing": "Ingress",
    "no": "Node",
    "ns": "Namespace",
    "pa": "PeerAuthentication",
    "po": "Pod",
    "ra": "RequestAuthentication",
    "refgrant": "ReferenceGrant",
    "sa": "ServiceAccount",
    "se": "ServiceEntry",
    "svc": "Service",
    "we": "WorkloadEntry",
    "wg": "WorkloadGroup",
    "vs": "VirtualService",
}
"""Istio's and Kubernetes' short names."""


class UnknownWord(ValueError):
    """No kind has that name; the text says which is near."""


def kinds_of(word: str) -> frozenset[str]:
    """The kinds of keys that a word means: two where two groups have it. Raises UnknownWord."""
    noun, _, group = word.lower().partition(".")
    found = frozenset(
        key
        for key, kind, groups in _known()
        if noun in _names(kind) and (not group or group in groups)
    )
    if not found:
        words = sorted({*_SHORT, *(kind.lower() for _, kind, _ in _known())})
        near = difflib.get_close_matches(noun, words, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownWord(f"no kind is called {word!r}{hint}")
    return found


def _known() -> list[tuple[str, str, frozenset[str]]]:
    """Of each class the kind in keys, YAML's, and the groups that have it."""
    classes = {cls: name for (_, name), cls in KINDS.items()}
    return [
        (
            cls.KIND or cls.__name__,
            name,
            frozenset(v.rpartition("/")[0] for v in cls.API_VERSIONS),
        )
        for cls, name in classes.items()
    ]


def _names(kind: str) -> frozenset[str]:
    """Singular, plural and short, in small letters."""
    lower = kind.lower()
    if lower.endswith("y") and lower[-2] not in "aeiou":
        plural = f"{lower[:-1]}ies"
    elif lower.endswith("ss"):
        plural = f"{lower}es"
    else:
        plural = lower if lower.endswith("s") else f"{lower}s"
    return frozenset({lower, plural, *(s for s, long in _SHORT.items() if long == kind)})
