"""The one error of configuration: what is refused, where, and why.

Whoever catches it adds what only he knows: a file position (bootstrap) or a resource name (xDS).
"""

from __future__ import annotations


class Rejected(ValueError):
    """`path` is the field's path in snake_case, e.g. `clusters[0].lb_subset_config`; '' is all."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}" if path else why)
        self.path = path
        self.why = why

    def below(self, path: str) -> Rejected:
        """The same, seen from further out: `path` is what it happened in."""
        joined = path + self.path if self.path.startswith("[") else at(path, self.path)
        return Rejected(joined if self.path else path, self.why)


def at(path: str, name: str) -> str:
    """The path of field `name` below `path`."""
    return f"{path}.{name}" if path else name
