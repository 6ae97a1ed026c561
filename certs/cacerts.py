"""An authority in a folder, as Istio's `cacerts` secret lays it out, or a kubernetes.io/tls secret.

| Istio | kubernetes.io/tls | what |
|---|---|---|
| ca-cert.pem | tls.crt | the issuing certificate, first |
| ca-key.pem | tls.key | its private key |
| root-cert.pem | ca.crt | the roots by which others trust it |
| cert-chain.pem | the rest of tls.crt | what links it to a root; may be absent if nothing does |
| ca-crl.pem | ca-crl.pem | revocation lists of the issuers; may be absent |

As in istiod, tls.crt decides which layout it is. Everything is checked on load: an error names the
file and what to do about it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.crl import RevocationList, read_lists
from certs.errors import CertificateError
from certs.files import read_public, read_secret, sync_directory, write_public, write_secret
from certs.keys import PrivateKey, is_encrypted, key_from_pem, key_to_pem
from certs.path import check_path_at, find_path
from certs.x509 import Certificate, chain_from_pem, chain_to_pem, check_authority, matches_key


@dataclass(frozen=True, slots=True)
class Layout:
    """File names; `chain` is '' where the issuing certificate's file has it."""

    certificate: str
    key: str
    roots: str
    chain: str


CACERTS = Layout("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
TLS_SECRET = Layout("tls.crt", "tls.key", "ca.crt", "")
CRL_PEM = "ca-crl.pem"
"""In either layout."""
_PASSPHRASES = {
    True: " (--passphrase-file of your own folder's key, --state-passphrase-file of a state "
    "directory's; a file, or env:NAME)",
    False: "",
}


def layout_of(folder: Path) -> Layout:
    """CertificateError if the folder has neither layout's certificate."""
    for layout in (TLS_SECRET, CACERTS):
        if os.path.lexists(folder / layout.certificate):
            return layout
    raise CertificateError(
        f"{folder} holds no authority: it needs ca-cert.pem, ca-key.pem, root-cert.pem and "
        "cert-chain.pem, or tls.crt, tls.key and ca.crt"
    )


def load_cacerts(
    folder: Path,
    now: float | None,
    trust_domain: str = "",
    passphrase: bytes | None = None,
) -> Authority:
    """The authority of the folder, all of it checked; without `now`, all but its validity.

    The trust domain is needed where the issuing certificate does not name one.
    """
    layout = layout_of(folder)
    certificate, *others = _chain(folder / layout.certificate)
    _check_issuing(certificate, folder / layout.certificate)
    bundle = TrustBundle.load(folder / layout.roots)
    if layout.chain and os.path.lexists(folder / layout.chain):
        others += _chain(folder / layout.chain)
    lists = load_lists(folder, (certificate, *others, *bundle.roots), now)
    where = f"{folder} ({layout.certificate}, {layout.roots}"
    where += f", {layout.chain})" if layout.chain else ")"
    try:
        # The key comes last: to check one of RSA takes a quarter of a second.
        find_path(certificate, others, bundle.roots)
        key = _key(folder, layout, certificate, passphrase)
        authority = Authority(
            certificate, key, trust_domain=trust_domain, others=others, bundle=bundle, lists=lists
        )
        if now is not None:
            check_path_at(authority.path, now)
    except CertificateError as error:
        if str(folder) in str(error):
            raise
        raise CertificateError(f"{where}: {error}") from error
    return authority


def load_lists(
    folder: Path, known: Iterable[Certificate], now: float | None
) -> tuple[RevocationList, ...]:
    """The lists of the folder's ca-crl.pem, () if there is none. As `read_lists`."""
    path = folder / CRL_PEM
    if not os.path.lexists(path):
        return ()
    return read_lists(read_public(path), str(path), known, now)


def save_lists(folder: Path, lists: Iterable[RevocationList]) -> None:
    """Replaces the folder's ca-crl.pem; without lists there is none. OSError."""
    pem = b"".join(one.pem for one in lists)
    if pem:
        write_public(folder / CRL_PEM, pem)
    else:
        (folder / CRL_PEM).unlink(missing_ok=True)


def key_is_encrypted(folder: Path) -> bool:
    """Whether the folder's key needs a passphrase. CertificateError if there is none."""
    return is_encrypted(read_secret(folder / layout_of(folder).key))


def encrypt_key(folder: Path, passphrase: bytes) -> None:
    """Encrypts the folder's key where it lies, unless it is encrypted. OSError."""
    path = folder / layout_of(folder).key
    if not is_encrypted(pem := read_secret(path)):
        write_secret(path, key_to_pem(key_from_pem(pem), passphrase))


def save_cacerts(folder: Path, authority: Authority, passphrase: bytes | None = None) -> None:
    """Makes the folder (0700) with Istio's files, all at once; the same one may be there.

    CertificateError if something else is; OSError as the file system gives it.
    """
    if folder.exists() and any(folder.iterdir()):
        if load_cacerts(folder, None, authority.trust_domain, passphrase).id != authority.id:
            raise CertificateError(f"{folder} holds another authority already")
        return
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write_secret(temporary / CACERTS.key, key_to_pem(authority.private_key, passphrase))
        write_public(temporary / CACERTS.certificate, chain_to_pem(authority.path[:1]))
        write_public(temporary / CACERTS.chain, chain_to_pem(authority.path))
        authority.bundle.save(temporary / CACERTS.roots)
        save_lists(temporary, authority.lists)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    sync_directory(folder.parent)


def _check_issuing(certificate: Certificate, path: Path) -> None:
    try:
        check_authority(certificate, str(path))
    except CertificateError as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise CertificateError(
            f"{where}{error}: have it issued as a CA certificate (CA:TRUE, keyCertSign)"
        ) from error


def _key(
    folder: Path, layout: Layout, certificate: Certificate, passphrase: bytes | None
) -> PrivateKey:
    path = folder / layout.key
    pem = read_secret(path)
    try:
        key = key_from_pem(pem, passphrase)
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}{_PASSPHRASES[is_encrypted(pem)]}") from error
    if not matches_key(certificate, key.public_key()):
        raise CertificateError(
            f"{path} is not the key of {folder / layout.certificate}: put the two there that were "
            "made together"
        )
    return key


def _chain(path: Path) -> list[Certificate]:
    return list(chain_from_pem(read_public(path), str(path)))
