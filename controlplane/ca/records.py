"""For the issue log: on whose word a certificate was given out.

What credentials prove stands first; `said:` is what the request says of itself (Istio's metadata),
which nobody has checked.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from controlplane.ca.caller import Caller
from controlplane.ca.service_accounts import fact

# Istio's words for what a CSR's metadata holds.
_SAID = ("WorkloadName", "WorkloadIP", "ClusterID")


def asked_by(caller: Caller, peer: str, metadata: Struct) -> str:
    """One line, e.g. `kubernetes pod=cart-1 node=n1 peer=ipv4:10.0.0.7:4711 said: ClusterID=c1`."""
    said = [
        f"{name}={fact(metadata.fields[name].string_value)}"
        for name in _SAID
        if name in metadata.fields and metadata.fields[name].string_value
    ]
    words = [caller.how, str(caller.attested), f"peer={fact(peer)}"]
    return " ".join(word for word in (*words, *(["said:", *said] if said else ())) if word)
