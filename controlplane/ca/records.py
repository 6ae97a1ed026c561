"""The issue log as the service writes it: what was given out, and on whose word.

What credentials prove stands first; `said:` is what the request says of itself (Istio's metadata),
which nobody has checked.
"""

from __future__ import annotations

import logging

from google.protobuf.struct_pb2 import Struct

from certs.issuance import Issuance
from certs.issue_log import Issued, IssueLog
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, validity
from controlplane.ca.caller import NOTHING_ATTESTED, Caller
from controlplane.ca.service_accounts import fact
from protos.gen.istio.ca_pb2 import IstioCertificateRequest as Request

log = logging.getLogger("weft.controlplane.ca")

# Istio's words for what a CSR's metadata holds.
_SAID = ("WorkloadName", "WorkloadIP", "ClusterID")


def asked_by(caller: Caller, peer: str, request: Request) -> str:
    """One line, e.g. `kubernetes pod=cart-1 node=n1 peer=ipv4:10.0.0.7:4711 said: ClusterID=c1`."""
    attested = "" if caller.attested is NOTHING_ATTESTED else f" {caller.attested}"
    said = _said(request.metadata) if request.HasField("metadata") else ""
    return f"{caller.how}{attested} peer={fact(peer)}{said}"


def _said(metadata: Struct) -> str:
    found = [
        f" {name}={fact(metadata.fields[name].string_value)}"
        for name in _SAID
        if name in metadata.fields and metadata.fields[name].string_value
    ]
    return f" said:{''.join(found)}" if found else ""


class Records:
    """Call it for each certificate. A disk that is full is an error in the log; whoever has proven
    its identity gets its certificate all the same."""

    def __init__(self, issues: IssueLog) -> None:
        self._issues = issues

    def __call__(self, leaf: Certificate, identity: SpiffeId, asked: str, now: float) -> None:
        self._note(leaf.serial_number, validity(leaf)[1], identity, asked, now)

    def issued(self, issuance: Issuance, identity: SpiffeId, asked: str, now: float) -> None:
        self._note(issuance.serial, issuance.not_after, identity, asked, now)

    def _note(
        self, number: int, not_after: float, identity: SpiffeId, asked: str, now: float
    ) -> None:
        serial = f"{number:x}"
        try:
            self._issues.record(Issued(serial, str(identity), asked, not_after, now))
        except OSError as error:
            log.error("certificate serial=%s is not in the issue log: %s", serial, error)
