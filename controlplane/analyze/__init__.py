"""What is wrong with manifests, found without running anything."""

from controlplane.analyze.whole import Findings, analyze

__all__ = ["Findings", "analyze"]
