"""Network filters before the last one of a chain, made ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import Any

from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.config.model.rbac import NetworkRbac
from proxy.denials import Denials
from proxy.http.inquiry import Ask
from proxy.l4.guard import Guard, Guards
from proxy.stats import Stats


def guards(
    configs: Sequence[NetworkRbac | NetworkExtAuthz],
    stats: Stats,
    ask: Ask,
    denials: Denials,
    formats: Callable[[str], Callable[[Any], bytes]],
    own_uri: bytes,
) -> Guards | None:
    """None where there are none."""
    found: list[Guard] = []
    for one in configs:
        # Imported only where a configuration names them: most chains have none.
        if isinstance(one, NetworkRbac):
            from proxy.l4.rbac import RbacGuard

            found.append(RbacGuard(one, stats, denials, time))
        else:
            from proxy.l4.ext_authz import ExtAuthzGuard

            uri = own_uri.decode()
            found.append(ExtAuthzGuard(one, stats, ask, formats, uri, denials, time))
    return Guards(found) if found else None
