"""What is said of one certificate, bundle or clock of the mesh, and how a life is judged.

kind             one for each
authority        certificate of a path of ours, from whoever signs up to the root
crl              revocation list that came with an authority
trust            further root that we, a federated trust domain or a proxy believe
cross            root of now as a former one has signed it
serving          the control plane's own certificate
identity         proxy that is connected: its SVID
served           other certificate that a proxy shows: of a gateway, or of its origination
credential       certificate or root in a Secret that the configuration names
bundle           proxy whose trust is not what it should be
clock            proxy that is connected
away             proxy that went without a word and may still serve
"""

from __future__ import annotations

from typing import Literal, get_args

from certs.describe import rfc3339, span
from certs.doctor import WARN_SHARE, Severity
from protos.frozen import frozen

Kind = Literal[
    "authority", "crl", "trust", "cross", "serving", "identity", "served", "credential", "bundle",
    "clock", "away",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
STRANGE_ROOT_S = 365 * 86400.0
"""Roots of others live for decades, and a third of that is nothing to warn of."""


@frozen
class Life:
    """From when to when, in Unix seconds."""

    not_before: float
    not_after: float

    def share_left(self, now: float) -> float:
        """Of the whole life; 0 after its end."""
        whole_s = max(self.not_after - self.not_before, 1.0)
        return min(max((self.not_after - now) / whole_s, 0.0), 1.0)

    def judge(self, now: float) -> tuple[Severity, str]:
        """How it is, and in words. A third of the life left is a warning."""
        text = f"ends {rfc3339(self.not_after)}"
        if now > self.not_after:
            return Severity.ERROR, f"{text}: it has expired {span(now - self.not_after)} ago"
        text += f" ({span(self.not_after - now)}, {self.share_left(now):.0%} of its life left)"
        if now < self.not_before:
            return Severity.ERROR, f"{text}: it is not valid yet, check the clock"
        if self.share_left(now) < WARN_SHARE:
            return Severity.WARNING, f"{text}: less than a third of its life is left"
        return Severity.OK, text

    def judge_root(self, now: float) -> tuple[Severity, str]:
        """The same of somebody else's root."""
        severity, text = self.judge(now)
        if severity is Severity.WARNING and self.not_after - now > STRANGE_ROOT_S:
            return Severity.OK, text.partition(": less")[0]
        return severity, text


@frozen
class Finding:
    """where: a node id, "control plane" or "trust domain NAME". breaks: what does when it ends, or
    at once. life None: nothing that ends. clock_ahead_s: only of a clock; None is unknown."""

    severity: Severity
    kind: Kind
    where: str
    text: str
    used_by: str = ""
    breaks: str = ""
    serial: str = ""
    identity: str = ""
    issuer: str = ""
    life: Life | None = None
    clock_ahead_s: float | None = None

    @property
    def order(self) -> tuple[int, float, str, str]:
        """The worst first, then what ends first."""
        ends = self.life.not_after if self.life is not None else float("inf")
        return (-self.severity, ends, self.where, self.text)
