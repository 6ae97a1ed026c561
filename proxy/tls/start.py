"""What OpenSSL is told before it starts. Imports nothing of it."""

from __future__ import annotations

import os
import ssl
import sys
from array import array
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "OPENSSL_CONF"
OURS: Final = Path(__file__).with_name("openssl.cnf")
# The other OpenSSL of this process, Python's own, has read the system's configuration by now.
PYTHONS: Final = ssl.OPENSSL_VERSION
_AT_SECURE: Final = 23


def send_one_ticket(environment: MutableMapping[str, str] = os.environ) -> None:
    """A full handshake of TLS 1.3 brings a client one ticket instead of OpenSSL's two, each of
    which costs a twentieth of it. A proxy keeps one (Envoy: `max_session_keys`), and gets another
    with each connection that it resumes. To be said before anybody imports `cryptography`, which
    reads it then; a configuration of the user's own stands."""
    if "cryptography" not in sys.modules:
        environment.setdefault(VARIABLE, str(OURS))


def sends_one_ticket(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether that was heard: not by a process with more rights than its user, for which
    OpenSSL does not read the environment (getauxval(3), AT_SECURE)."""
    return environment.get(VARIABLE) == str(OURS) and not _auxiliary().get(_AT_SECURE)


def _auxiliary() -> dict[int, int]:
    words = array("L", Path("/proc/self/auxv").read_bytes())
    return dict(zip(words[::2], words[1::2], strict=True))
