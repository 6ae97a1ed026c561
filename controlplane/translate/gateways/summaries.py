"""What the listeners of a Gateway, or of a ListenerSet, come to for it as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.mesh.conditions import Condition
from controlplane.translate.gateways.listeners import State
from controlplane.translate.gateways.words import Fault, bad, good


def of_clients(found: Iterable[State]) -> Iterator[Condition]:
    """Gateway API wants it said that clients whose certificates nobody verified come in."""
    ports = {
        state.listener.port
        for state in found
        if state.tls is not None and state.tls.mode == "INSECURE_FALLBACK"
    }
    if ports:
        named = ", ".join(map(str, sorted(ports)))
        message = f"clients without a valid certificate come in at {named} (AllowInsecureFallback)"
        yield good("InsecureFrontendValidationMode", "ConfigurationChanged", message)


def accepted_of(fault: Fault | None, found: list[State], kind: str) -> Condition:
    """With a listener that can be programmed; that of a Gateway tells of others that can't."""
    if fault is not None:
        return bad("Accepted", fault)
    if not any(state.is_programmed for state in found):
        return bad("Accepted", Fault("ListenersNotValid", f"no listener of the {kind} is valid"))
    if kind == "gateway" and not all(state.is_valid for state in found):
        return good("Accepted", "ListenersNotValid", "some listeners are not valid")
    return good("Accepted")
