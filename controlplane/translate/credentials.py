"""Secrets -> the credentials that a configuration names (Istio's `credentialName`).

Only those that are asked for are looked into. What is wrong with one is told at the Secret, and
whoever names it can ask for a sentence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, Literal

from certs.credential import check_lists, check_pair, check_roots
from certs.errors import CertificateError
from controlplane.kinds.secrets import LISTS, PAIRS, ROOTS, Secret
from controlplane.mesh.credentials import Credential
from controlplane.mesh.model import ClientPolicy, Service, Subset
from controlplane.translate.questions import Index, asked, unlike
from controlplane.translate.report import Report
from protos.frozen import frozen

Need = Literal["pair", "roots"]
"""A certificate with its key, or what to verify others by."""

CA_SUFFIX = "-cacert"
"""Istio: the roots may stand in a Secret of their own, which has this behind the name."""

_WORDS: dict[Need, str] = {
    "pair": "certificate and key (tls.crt and tls.key, or cert and key)",
    "roots": "certificate of an authority (ca.crt or cacert)",
}


Faults = list[tuple[Secret, str, str]]
"""(the Secret, which value of it, what is wrong)."""


@frozen
class _Reading:
    credential: Credential | None
    faults: tuple[tuple[Secret, str, str], ...] = ()
    own: Secret | None = None
    beside: Secret | None = None


class Readings(dict[tuple[str, str], _Reading]):
    """What was read, from build to build."""


class Credentials(Index):
    def __init__(self, secrets: Iterable[Secret], read: Readings | None = None) -> None:
        """read: by those before, of which that counts whose Secrets are the same."""
        self._secrets = {(secret.namespace, secret.name): secret for secret in secrets}
        self._read = read if read is not None else Readings()
        for key in [key for key, one in self._read.items() if not self._stands(key, one)]:
            del self._read[key]

    def _stands(self, key: tuple[str, str], one: _Reading) -> bool:
        """By identity, as Secrets that are equal may stand elsewhere."""
        own, beside = self._of(*key)
        return own is one.own and beside is one.beside

    def _of(self, namespace: str, name: str) -> tuple[Secret | None, Secret | None]:
        """The Secret, and that of its roots."""
        found = self._secrets
        return found.get((namespace, name)), found.get((namespace, name + CA_SUFFIX))

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """The Secret, and that of its roots."""
        namespace, name, *_ = args
        return (namespace, name), (namespace, name + CA_SUFFIX)

    def changed_since(self, before: Credentials) -> Collection[Hashable]:
        return unlike(before._secrets, self._secrets)

    def find(self, namespace: str, name: str) -> Credential | None:
        """What is good of it. None: there is no such Secret."""
        key = namespace, name
        if key not in self._read:
            self._read[key] = self._reading(namespace, name)
        return self._read[key].credential

    @asked
    def why_not(self, namespace: str, name: str, *needs: Need) -> str:
        """Why it does not serve; '' if it has all that is needed."""
        found = self.find(namespace, name)
        if found is None:
            return f"there is no Secret {name!r} in the namespace {namespace!r}"
        have = {"pair": found.has_pair, "roots": bool(found.roots)}
        missing = [_WORDS[need] for need in needs if not have[need]]
        return f"the Secret {namespace}/{name} has no usable {missing[0]}" if missing else ""

    def named(self, names: Iterable[tuple[str, str]], report: Report) -> tuple[Credential, ...]:
        """Those of these names that are there, sorted; what is wrong with them is told."""
        found = []
        for namespace, name in sorted(set(names)):
            credential = self.find(namespace, name)
            if credential is not None:
                found.append(credential)
            for secret, value, reason in self._read[namespace, name].faults:
                message = f"{value}: {reason}; who names this Secret does without it"
                report.error(secret, secret.place_of(value), "BadCredential", message)
        return tuple(found)

    def _reading(self, namespace: str, name: str) -> _Reading:
        own, beside = self._of(namespace, name)
        first = own or beside
        if first is None:
            return _Reading(None)
        faults: Faults = []
        chain, key = _pair(own, faults) if own is not None else (b"", b"")
        roots, lists = _trust(beside or first, faults)
        made = Credential(namespace, name, chain, key, roots, lists, first.position)
        return _Reading(made, tuple(faults), own, beside)


def _pair(secret: Secret, faults: Faults) -> tuple[bytes, bytes]:
    values = secret.values
    for name, key_name in PAIRS:
        chain, key = values.get(name), values.get(key_name)
        if chain and key:
            good = _is_good(secret, name, partial(check_pair, chain, key), faults)
            return (chain, key) if good else (b"", b"")
    return b"", b""


def _trust(secret: Secret, faults: Faults) -> tuple[bytes, bytes]:
    """(roots, revocation lists). With lists that can't be read nobody is to be believed at all."""
    (name, roots), (lists_name, lists) = _first(secret, ROOTS), _first(secret, LISTS)
    if not roots or not _is_good(secret, name, partial(check_roots, roots), faults):
        return b"", b""
    if lists and not _is_good(secret, lists_name, partial(check_lists, lists), faults):
        return b"", b""
    return roots, lists


def _is_good(secret: Secret, name: str, check: Callable[[], None], faults: Faults) -> bool:
    try:
        check()
    except CertificateError as error:
        faults.append((secret, name, str(error)))
        return False
    return True


def _first(secret: Secret, names: Iterable[str]) -> tuple[str, bytes]:
    values = secret.values
    return next(((name, values[name]) for name in names if values.get(name)), ("", b""))


def names_in(services: Iterable[Service]) -> Iterator[tuple[str, str]]:
    """What the services' traffic policies name."""
    for service in services:
        holders: tuple[Service | ClientPolicy, ...] = (service, *service.for_clients)
        for holder in holders:
            yield from _names(holder)
            for subset in holder.subsets:
                yield from _names(subset)


def _names(item: Service | Subset | ClientPolicy) -> Iterator[tuple[str, str]]:
    for policy in (item.policy, *item.port_policies.values()):
        if policy.tls is not None and policy.tls.credential is not None:
            yield policy.tls.credential
