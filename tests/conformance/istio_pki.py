"""istio-pki: authorities, workloads and broken PEMs of Istio's tests and samples, judged as Istio's
own tests do (security/pkg/pki/util: keycertbundle_test.go, verify_cert_test.go; samples/certs).

The files are laid out in a folder as a `cacerts` secret would be, and loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from certs.bundle import TrustBundle
from certs.cacerts import CACERTS, TLS_SECRET, load_cacerts
from certs.errors import CertificateError
from certs.keys import key_from_pem
from certs.path import check_signed
from certs.x509 import chain_from_pem, check_svid, check_valid_at, matches_key
from tests.conformance.suite import Result

NOW = 1_795_262_400.0  # 21 November 2026: some of the certificates end
LISTED_AT = 1_748_000_000.0  # 23 May 2025: within the month that the CRLs are good for

PKI = "security/pkg/pki/testdata"
LEVELS = f"{PKI}/multilevelpki"
SAMPLES = "samples/certs"
TESTS = "tests/testdata/certs"
AGENT = "security/pkg/nodeagent/cache/testdata"


@dataclass(frozen=True, slots=True)
class Files:
    """What stands under which name, below the folder of the cases; '' for no file."""

    certificate: str
    key: str
    roots: str
    chain: str = ""


def _levels(name: str, chain: bool = True) -> Files:
    return Files(
        f"{LEVELS}/{name}-cert.pem",
        f"{LEVELS}/{name}-key.pem",
        f"{LEVELS}/{name[:4] if name.startswith('ecc-') else ''}root-cert.pem",
        f"{LEVELS}/{name}-cert-chain.pem" if chain else "",
    )


def _workload(folder: str) -> Files:
    names = (f"{TESTS}/{folder}/{name}.pem" for name in ("cert-chain", "key", "root-cert"))
    return Files(*names)


def _sample(suffix: str, roots: str) -> Files:
    return Files(
        f"{SAMPLES}/ca-cert{suffix}.pem",
        f"{SAMPLES}/ca-key{suffix}.pem",
        f"{SAMPLES}/{roots}.pem",
        f"{SAMPLES}/cert-chain{suffix}.pem",
    )


INT, INT2 = _levels("int"), _levels("int2")
BAD_CERTIFICATE, BAD_KEY = f"{PKI}/cert-parse-fail.pem", f"{PKI}/key-parse-fail.pem"
CRL = f"{PKI}/crl"
AUTHORITIES: dict[str, tuple[Files, bool]] = {
    "1 level": (_levels("root", chain=False), True),
    "2 levels": (INT, True),
    "3 levels": (INT2, True),
    "2 levels without a chain file": (replace(INT, chain=""), True),
    "3 levels without a chain file": (replace(INT2, chain=""), False),
    "1 level, EC": (_levels("ecc-root", chain=False), True),
    "2 levels, EC": (_levels("ecc-int"), True),
    "3 levels, EC": (_levels("ecc-int2"), True),
    "no root file": (replace(INT, roots=""), False),
    "no key file": (replace(INT, key=""), False),
    "no certificate file": (replace(INT, certificate=""), False),
    "key of another": (replace(INT2, key=f"{PKI}/key.pem"), False),
    "root of another": (replace(INT, roots=f"{PKI}/cert.pem"), False),
    "broken certificate": (replace(INT, certificate=BAD_CERTIFICATE), False),
    "broken key": (replace(INT, key=BAD_KEY), False),
    "a workload as authority": (
        Files(f"{PKI}/workload-cert.pem", f"{PKI}/workload-key.pem",
              f"{PKI}/self-signed-root-cert.pem"), False,
    ),
    "EC root": (Files(f"{PKI}/ec-root-cert.pem", f"{PKI}/ec-root-key.pem",
                      f"{PKI}/ec-root-cert.pem"), True),
    "beside a CRL": (Files(f"{CRL}/ca-cert.pem", f"{CRL}/ca-key.pem", f"{CRL}/root-cert.pem",
                           f"{CRL}/cert-chain.pem"), True),
    "sample": (_sample("", "root-cert"), True),
    "sample with two roots": (_sample("", "root-cert-combined"), True),
    "sample with three roots": (_sample("", "root-cert-combined-2"), True),
    "alternative sample": (_sample("-alt", "root-cert-alt"), True),
    "second alternative sample": (_sample("-alt-2", "root-cert-alt"), True),
    "alternative sample with two roots": (_sample("-alt", "root-cert-combined"), True),
    "alternative sample, roots of the other": (_sample("-alt", "root-cert"), False),
    "pilot": (Files(f"{TESTS}/pilot/ca-cert.pem", f"{TESTS}/pilot/ca-key.pem",
                    f"{TESTS}/pilot/root-cert.pem"), True),
}  # fmt: skip

CHAIN, ROOT, KEY = (f"{PKI}/{name}-10y.pem" for name in ("cert-chain", "root-cert", "key"))
WORKLOADS: dict[str, tuple[Files, bool]] = {
    "10 years": (Files(CHAIN, KEY, ROOT), True),
    "10 years, broken root": (Files(CHAIN, KEY, f"{PKI}/root-verify-fail.pem"), False),
    "10 years, broken chain": (Files(f"{PKI}/cert-verify-fail.pem", KEY, ROOT), False),
    "10 years, another root": (Files(f"{PKI}/cert-noroot.pem", KEY, ROOT), False),
    "10 years, broken key": (Files(CHAIN, f"{PKI}/key-verify-fail.pem", ROOT), False),
    "10 years, key of another": (Files(CHAIN, f"{PKI}/key-mismatch.pem", ROOT), False),
    "foo": (Files(f"{SAMPLES}/workload-foo-cert.pem", f"{SAMPLES}/workload-foo-key.pem",
                  f"{SAMPLES}/workload-foo-root-certs.pem"), True),
    "bar": (Files(f"{SAMPLES}/workload-bar-cert.pem", f"{SAMPLES}/workload-bar-key.pem",
                  f"{SAMPLES}/workload-bar-root-certs.pem"), True),
    "foo, key of bar": (Files(f"{SAMPLES}/workload-foo-cert.pem", f"{SAMPLES}/workload-bar-key.pem",
                              f"{SAMPLES}/workload-foo-root-certs.pem"), False),
    "foo, without its issuer": (
        Files(f"{SAMPLES}/leaf-workload-foo-cert.pem", f"{SAMPLES}/workload-foo-key.pem",
              f"{SAMPLES}/root-cert.pem"), False,
    ),
    "default": (_workload("default"), True),
    "server": (_workload("mountedcerts-server"), True),
    "client": (_workload("mountedcerts-client"), True),
    "pilot": (_workload("pilot"), True),
}  # fmt: skip
DNS = _workload("dns")
SERVERS: dict[str, tuple[Files, bool]] = {
    "dns": (DNS, True),
    "dns, another root": (replace(DNS, roots=f"{TESTS}/dns/fake-root-cert.pem"), False),
    "dns, certificate of another root": (
        replace(DNS, certificate=f"{TESTS}/dns/fake-cert-chain.pem"),
        False,
    ),
}
"""Certificates with DNS names and no identity."""

PEMS: dict[str, int | None] = {
    f"{AGENT}/cert-chain.pem": 2,
    f"{AGENT}/root-cert.pem": 1,
    f"{AGENT}/emptyfile.pem": None,
    f"{AGENT}/invalidpem.pem": None,
    f"{AGENT}/root-ca-bundle-with-graceful-failures.pem": 4,
    f"{PKI}/cert-chain-trailing-line.pem": 3,
    f"{PKI}/cert-chain.pem": 3,
    BAD_CERTIFICATE: None,
    f"{PKI}/cert-verify-fail.pem": None,
    f"{PKI}/root-verify-fail.pem": None,
    f"{SAMPLES}/root-cert-combined.pem": 2,
}
"""How many certificates Istio reads of them; None: refused."""

EXPIRED = {
    f"{PKI}/expired-cert.pem": True,
    f"{PKI}/notexpired-cert.pem": False,
}


def run(cases: Path) -> Iterator[Result]:
    for name, (files, accepted) in AUTHORITIES.items():
        yield _result(f"authority: {name}", accepted, _authority(cases, files))
    for name in ("2 levels", "2 levels, EC", "sample"):
        tls = replace(AUTHORITIES[name][0], chain="")
        yield _result(f"tls secret: {name}", True, _authority(cases, tls, tls_secret=True))
    broken = f"{CRL}/bad-ca-crl.pem"
    broken = _authority(cases, AUTHORITIES["beside a CRL"][0], crl=broken, now=LISTED_AT)
    yield _result("authority: beside a broken CRL", False, broken)
    good = _authority(cases, AUTHORITIES["beside a CRL"][0], crl=f"{CRL}/ca-crl.pem", now=LISTED_AT)
    yield _result("authority: beside its CRL", True, good)
    for name, (files, accepted) in WORKLOADS.items():
        yield _result(f"workload: {name}", accepted, _refusal(partial(_judge, cases, files)))
    for name, (files, accepted) in SERVERS.items():
        refusal = _refusal(partial(_judge, cases, files, svid=False))
        yield _result(f"server: {name}", accepted, refusal)
    for path, count in PEMS.items():
        yield Result(path, _read(cases / path, count))
    for path, expired in EXPIRED.items():
        certificate = chain_from_pem((cases / path).read_bytes())[0]
        yield _result(path, not expired, _refusal(partial(check_valid_at, certificate, NOW)))


def _result(name: str, accepted: bool, refusal: str) -> Result:
    if accepted:
        return Result(name, refusal)
    return Result(name, "" if refusal else "accepted")


def _authority(
    cases: Path, files: Files, *, tls_secret: bool = False, crl: str = "", now: float = NOW
) -> str:
    """Why a folder with these files is refused; '' if it is not."""
    layout = TLS_SECRET if tls_secret else CACERTS
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        placed = {
            layout.certificate: files.certificate,
            layout.key: files.key,
            layout.roots: files.roots,
            "cert-chain.pem": files.chain,
            "ca-crl.pem": crl,
        }
        for name, source in placed.items():
            if source:
                (folder / name).write_bytes((cases / source).read_bytes())
                (folder / name).chmod(0o600)
        return _refusal(lambda: load_cacerts(folder, now, "cluster.local"))


def _judge(cases: Path, files: Files, *, svid: bool = True) -> None:
    chain = chain_from_pem((cases / files.certificate).read_bytes())
    key = key_from_pem((cases / files.key).read_bytes())
    if not matches_key(chain[0], key.public_key()):
        raise CertificateError("key does not match")
    if svid:
        check_svid(chain)
    check_valid_at(chain[0], NOW)
    check_signed(chain, TrustBundle.from_pem((cases / files.roots).read_bytes()).roots)


def _read(path: Path, count: int | None) -> str:
    try:
        with warnings.catch_warnings():
            # One has a negative serial number, for which cryptography warns.
            warnings.simplefilter("ignore")
            found = len(chain_from_pem(path.read_bytes()))
    except CertificateError as error:
        return "" if count is None else f"refused: {error}"
    return "" if found == count else f"{found} certificates, expected {count or 'a refusal'}"


def _refusal(work: Callable[[], object]) -> str:
    try:
        work()
    except CertificateError as error:
        return str(error)
    return ""
