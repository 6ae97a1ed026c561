"""How a program's sidecar is started (Istio's ProxyConfig), whoever said it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ANNOTATION = "proxy.istio.io/config"
"""Of a pod's template."""

_META = "ISTIO_META_"
"""Of a variable whose rest is a name in the node's metadata."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """variables: of the sidecar's environment. runtime: of its bootstrap. holds: the program is
    started when its sidecar is ready. said: what goes to the control plane, JSON in a text."""

    variables: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    holds: bool = False
    said: str = ""

    @property
    def metadata(self) -> dict[str, Any]:
        """Of its node."""
        found: dict[str, Any] = {
            name.removeprefix(_META): value
            for name, value in self.variables.items()
            if name.startswith(_META)
        }
        return found | ({"PROXY_CONFIG": json.loads(self.said)} if self.said else {})


PLAIN = ProxyConfig()
