"""`python -m benchmarks.signing`: certificates a second and core, and what OpenSSL itself allows.

One thread. Every request has another key, identity and signature. The rows "OpenSSL alone" do only
the elliptic-curve arithmetic, by the same library: what is above them is ours.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs.authority import Authority
from certs.csr import make_csr, open_csr
from certs.issue_log import Issued, IssueLog
from certs.keys import PublicKey, generate_key
from certs.spiffe import SpiffeId

REQUESTS = 500
SLICE = 10
DAY_S = 86400
GOAL = 4000
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Asked:
    """One workload's request."""

    identity: SpiffeId
    key: PublicKey
    csr: bytes
    signature: bytes


def _requests() -> Iterator[Asked]:
    made = []
    for number in range(REQUESTS):
        key = generate_key()
        identity = SpiffeId.workload("cluster.local", f"team-{number % 20}", f"service-{number}")
        signature = key.sign(b"x" * 200, ec.ECDSA(hashes.SHA256()))
        made.append(Asked(identity, key.public_key(), make_csr(key, identity), signature))
    return cycle(made)


def works(now: float, log: IssueLog) -> dict[str, Work]:
    root = Authority.create("cluster.local", now)
    below = root.create_intermediate(now)
    asked = _requests()
    key, sha256 = generate_key(), ec.ECDSA(hashes.SHA256())

    def sign(authority: Authority) -> object:
        one = next(asked)
        return authority.sign(one.key, one.identity, DAY_S, now)

    def whole() -> object:
        """As the control plane does it: CSR in, PEM out, a line in the issue log."""
        one = next(asked)
        request = open_csr(one.csr)
        request.check_identity(one.identity)
        made = root.issue(request.key, one.identity, DAY_S, now)
        serial, who = f"{made.serial:x}", str(one.identity)
        log.record(Issued(serial, who, "benchmark", made.not_after, now))
        return made.pems

    def check() -> None:
        one = next(asked)
        open_csr(one.csr).check_identity(one.identity)

    def from_csr() -> object:
        one = next(asked)
        return root.sign(one.csr, one.identity, DAY_S, now)

    def verify() -> None:
        one = next(asked)
        assert isinstance(one.key, ec.EllipticCurvePublicKey)
        one.key.verify(one.signature, b"x" * 200, sha256)

    def arithmetic() -> None:
        verify()
        key.sign(b"x" * 500, sha256)

    return {
        "sign for a key (no CSR)": lambda: sign(root),
        "the same, by an intermediate": lambda: sign(below),
        "check a CSR": check,
        "sign for a CSR": from_csr,
        "CSR to PEM, and logged": whole,
        "OpenSSL alone: sign": lambda: key.sign(b"x" * 500, sha256),
        "OpenSSL alone: verify": verify,
        "OpenSSL alone: verify and sign": arithmetic,
    }


def measure(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """The best slice of each, in seconds a call: everything slower is the machine's doing.

    The works take turns, so that all see the same minutes.
    """
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            for _ in range(SLICE):
                work()
            best[name] = min(best[name], (time.perf_counter() - began) / SLICE)
    return best


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="benchmarks.signing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args(arguments).rounds
    with TemporaryDirectory() as folder:
        log = IssueLog(Path(folder))
        found = measure(works(time.time(), log), rounds)
        log.close()
    print(f"P-256, {backend.openssl_version_text()}; goal {GOAL} certificates a second a core")
    for name, each_s in found.items():
        print(f"{name:34}{each_s * 1e6:8.1f} us {1 / each_s:9,.0f} /s")


if __name__ == "__main__":
    main(sys.argv[1:])
