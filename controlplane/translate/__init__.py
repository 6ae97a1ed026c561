"""Translation: `build(inventory.snapshot(), trust_domain)` -> (Mesh, statuses). Pure and whole."""

from controlplane.translate.whole import build

__all__ = ["build"]
