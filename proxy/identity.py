"""This workload's identity: its own key, a certificate from the mesh's CA, renewal at half life.

A certificate is asked for by Istio's CreateCertificate: with the join token over TLS, or, once
there is a valid SVID, over mutual TLS where the control plane's address for that is known, on the
discovery stream's connection if there is one. A join token may be bound to the first key that it
was presented with, so by token the held key is used again; over mutual TLS each renewal has a new
key. Key and chain rest in STATE/identity.pem, the key encrypted under what the join token file
says, so that a restart while the control plane is away still has an identity. A private key is
never logged and never on disk in the clear.

The mesh says over ADS whom to trust (SDS `ROOTCA`) and which certificate issues now (SDS
`weft.dev/issuer`, a validation context with just that certificate): a certificate that another one
has issued is renewed at once, so that roots and intermediates can be replaced within seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from certs.errors import CertificateError
from certs.files import read_public, read_secret, write_secret
from certs.keys import PrivateKey, generate_key, key_to_pem
from certs.renewal import call_timeout_s, pushback_s, renew_at, retry_in_time_s
from certs.spiffe import SpiffeId
from certs.x509 import (
    Certificate,
    chain_from_pem,
    chain_to_pem,
    is_issued_by,
)
from proxy.certificate_call import METHOD, NotNowError, Svid, checked_svid, request_certificate
from proxy.config.model import DataSource, Secret, TlsCertificate
from proxy.kept_identity import FILE, decode_file, encode_file, passphrase
from proxy.rpc.call import Call, Ride, on_foot
from proxy.rpc.connection import open_call
from proxy.rpc.credentials import client_tls
from proxy.tasks import spawn
from proxy.trust import Trust

log = logging.getLogger("weft.identity")

SERVER_NAME = "weft-controlplane.weft-system.svc"
_LONGEST_SLEEP_S = 60.0
"""Half life is looked for by the wall clock, which may jump (a laptop that slept)."""
_LEAST_SPREAD_S = 2.0
_MOST_SPREAD_S = 600.0
"""Within this time all proxies do what the mesh has told all of them; it says how long."""
_SPREAD = re.compile(rb"^spread_s: (\d{1,6})$", re.MULTILINE)
_DOUBT_EVERY_S = 30.0
"""A certificate is not replaced more often because it was refused."""

ROOT_SECRET = "ROOTCA"
ISSUER_SECRET = "weft.dev/issuer"
REVOKED_SECRET = "weft.dev/revoked"
"""A validation context whose names are those of whom to refuse."""


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """Where to ask and with what. mtls_address '' is unknown; state_dir None keeps nothing.

    identity is what the first CSR says, a courtesy: the CA takes the identity from the proof.
    follow_mesh: the control plane is Weft's, which says whom to trust and when to renew.
    server_name: what the CA's certificate must say, whatever address is dialled.
    """

    ca_address: str
    ca_root: Path
    join_token_file: Path
    state_dir: Path | None = None
    ca_mtls_address: str = ""
    identity: SpiffeId | None = None
    secret_name: str = "default"
    server_name: str = SERVER_NAME
    follow_mesh: bool = False


class Outlet(Protocol):
    """Others who use this identity."""

    async def give(self, svid: Svid | None) -> None:
        """A new certificate, or None; and the roots as they are now: returns when all of it is in
        use."""


class Identity:
    """`run` until cancelled. `on_secret` and each listener are called in the loop.

    ride: finds a connection to the CA that is there already; may be set until `run`, and so may
    outlet: who is to have certificates and roots before they count."""

    def __init__(
        self,
        options: IdentityOptions,
        on_secret: Callable[[Secret], None] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        on_revoked: Callable[[], None] = lambda: None,
    ) -> None:
        """on_revoked: called when `revoked`, the identities whom the mesh refuses, has changed."""
        self._options = options
        self._listeners = [on_secret] if on_secret is not None else []
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._key: PrivateKey | None = None
        self.ride: Ride = on_foot
        self.svid: Svid | None = None
        self.secret: Secret | None = None
        self.last_error = ""
        self.failures = 0
        self.renewals = 0
        self._trust = Trust(options.ca_root, options.state_dir)
        self._issuer: Certificate | None = None  # who issues now, as the mesh says
        self._heeded: Certificate | None = None  # the one of them for whom we have renewed
        self.revoked: frozenset[str] = frozenset()
        self.on_revoked = on_revoked
        self.outlet: Outlet | None = None
        self._news = asyncio.Event()
        self.spread_s = _LEAST_SPREAD_S
        self._doubted = False
        self._renewed_at = -_DOUBT_EVERY_S

    @property
    def standing(self) -> frozenset[str]:
        """SDS names that are for us, whether or not a listener or cluster names them."""
        names = (ROOT_SECRET, ISSUER_SECRET, REVOKED_SECRET)
        return frozenset(names if self._options.follow_mesh else ())

    @property
    def mtls_address(self) -> str:
        """Where the control plane takes our certificate, '' if that is unknown."""
        return self._options.ca_mtls_address

    @property
    def server_name(self) -> str:
        return self._options.server_name

    @property
    def secret_name(self) -> str:
        return self._options.secret_name

    def listen(self, callback: Callable[[Secret], None]) -> None:
        """Has `callback` called with each new secret from now on."""
        self._listeners.append(callback)

    async def run(self) -> None:
        """Takes what is on disk, then keeps the certificate young for ever."""
        await asyncio.to_thread(self._load)
        if self.svid is not None:
            await self._hand_out(self.svid)
            self._announce(self.svid)
        failures = 0
        while True:
            await self._wait_until_due()
            wanted = self._issuer
            try:
                svid = await self._ask()
            except CertificateError as error:
                failures += 1
                self.failures += 1
                self._failed(error)
                await self._wait_after(error, failures)
                continue
            failures = 0
            self.renewals += 1
            self.last_error = ""
            self._doubted = False
            self._renewed_at = self._clock()
            self._heeded = wanted  # whoever has issued it: asking again would change nothing
            await self._hand_out(svid)
            self.svid, self._key = svid, svid.key
            self._announce(svid)
            log.info("certificate of %s until %s", svid.spiffe_id, _when(svid.valid[1]))
            await self._keep(svid.key, svid.chain)

    # ----------------------------------------------------------------- when

    async def _wait_until_due(self) -> None:
        """Returns at half life; at once without a certificate, or with one that begins in the
        future: the clock stood ahead when we got it, and no peer takes it."""
        if self.svid is None:
            return
        not_before, not_after = self.svid.valid
        due_at = renew_at(not_before, not_after, self._jitter())
        while not_before <= (now := self._clock()) < due_at:
            if self.outdated or self._doubted:
                await self._sleep(self._jitter() * self.spread_s)
                return
            await self._pause(min(due_at - now, _LONGEST_SLEEP_S))

    async def _pause(self, seconds: float) -> None:
        """Sleeps, but no longer than until the mesh has news for us."""
        waits = (spawn(self._sleep(seconds), "sleep"), spawn(self._news.wait(), "news"))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            self._news.clear()

    async def _wait_after(self, error: CertificateError, failures: int) -> None:
        left_s = self.left_s() if self.svid is not None else None
        if isinstance(error, NotNowError):
            await self._sleep(pushback_s(error.after_s, left_s, self._jitter()))
        else:
            await self._pause(retry_in_time_s(failures, left_s, self._jitter()))

    def left_s(self) -> float:
        """How long our certificate still counts; 0 without one, negative after its end."""
        return self.svid.valid[1] - self._clock() if self.svid is not None else 0.0

    @property
    def overdue(self) -> bool:
        """A third of its life is left, or less, though it is renewed at half."""
        if self.svid is None:
            return True
        not_before, not_after = self.svid.valid
        return self.left_s() < (not_after - not_before) / 3

    def _failed(self, error: CertificateError) -> None:
        self.last_error = str(error)
        if self.svid is None:
            log.warning("no certificate yet: %s", error)
            return
        ours = f"certificate serial={self.svid.chain[0].serial_number:x} of {self.svid.spiffe_id}"
        ends = _when(self.svid.valid[1])
        if self.left_s() <= 0:
            log.error("%s EXPIRED at %s and not renewed: %s", ours, ends, error)
        elif self.overdue:
            log.warning("%s ends at %s and is not renewed: %s", ours, ends, error)
        else:
            log.info("certificate not renewed yet: %s", error)

    async def _hand_out(self, svid: Svid) -> None:
        if self.outlet is not None:
            await self.outlet.give(svid)

    def _announce(self, svid: Svid) -> None:
        chain = DataSource(chain_to_pem(svid.chain), "identity")
        key = DataSource(key_to_pem(svid.key), "identity")
        self.secret = Secret(self.secret_name, certificate=TlsCertificate(chain, key))
        for callback in self._listeners:
            callback(self.secret)

    # ----------------------------------------------------------------- what the mesh says

    async def roots(self) -> bytes:
        """PEM of the roots that the control plane is verified by. CertificateError: there are
        none."""
        return await asyncio.to_thread(self._trust.roots)

    def verifies_by(self, origin: str) -> bool:
        """Whether roots that were read from the file `origin` are ours, which may change."""
        return Path(origin) == self._options.ca_root

    async def told(self, secret: Secret, *, kept: bool = False) -> bool:
        """One of `standing` has come: whether other roots are believed from now on. kept: a former
        run was told; roots it has written down by itself, and the file may be newer."""
        context = secret.validation
        if secret.name == REVOKED_SECRET and context is not None:
            self.revoked = frozenset(one.matcher.value for one in context.match_sans)
            self.on_revoked()
            return False
        if context is None or context.trusted_ca is None:
            return False
        try:
            if secret.name == ISSUER_SECRET:
                self._heed(context.trusted_ca.data)
                return False
            if kept:
                return False
            changed = await asyncio.to_thread(self._trust.take, context.trusted_ca.data)
            if self.outlet is not None:  # it has its own opinion of what is new
                await self.outlet.give(None)
            return changed
        except CertificateError as error:
            log.error("%s of the mesh is not used: %s", secret.name, error)
            return False

    def _heed(self, pem: bytes) -> None:
        """Has the certificate renewed soon if it is not of this issuer."""
        self._issuer = chain_from_pem(pem, ISSUER_SECRET)[0]
        told = _SPREAD.search(pem)
        wanted_s = float(told[1]) if told is not None else 0.0
        self.spread_s = min(max(wanted_s, _LEAST_SPREAD_S), _MOST_SPREAD_S)
        if self.outdated:
            self._news.set()

    @property
    def outdated(self) -> bool:
        """Our certificate is not of whoever issues now, and we have not tried to change that."""
        if self.svid is None or self._issuer is None or self._issuer is self._heeded:
            return False
        return not is_issued_by(self.svid.chain[0], self._issuer)

    def refused(self) -> None:
        """The control plane does not take our certificate: its issuer may have gone while we were
        away. A new one is asked for, by token if need be."""
        if self.svid is None or abs(self._clock() - self._renewed_at) < _DOUBT_EVERY_S:
            return
        log.warning("the control plane does not take our certificate: asking for a new one")
        self._renewed_at = self._clock()
        self._doubted = True
        self._news.set()

    # ----------------------------------------------------------------- asking

    async def _ask(self) -> Svid:
        """A new certificate: over mutual TLS if possible, by token otherwise."""
        options, now = self._options, self._clock()
        held = self.svid if self.svid is not None and now < self.svid.valid[1] else None
        if options.ca_mtls_address and held is not None:
            try:
                return await self._ask_by_certificate(options.ca_mtls_address, held)
            except NotNowError:
                raise
            except CertificateError as error:
                log.info("renewal over mutual TLS failed, trying the join token: %s", error)
        token = await asyncio.to_thread(self._token)
        if self._key is None:
            self._key = generate_key()
            # Before it is presented: the token may be good for this key only.
            await self._keep(self._key, ())
        return await self._call(
            options.ca_address, self._key, (("authorization", f"Bearer {token}"),), None
        )

    def _token(self) -> str:
        token = read_token(self._options.join_token_file).decode("utf-8", "replace").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise CertificateError(f"{self._options.join_token_file} holds no join token")
        return token

    async def _ask_by_certificate(self, address: str, held: Svid) -> Svid:
        """On the discovery stream's connection, which saves both sides a handshake, or a new
        one."""
        key = generate_key()
        riding = self.ride(address, METHOD)
        if riding is not None:
            try:
                return await self._exchange(address, key, _begun(riding))
            except NotNowError:
                raise
            except CertificateError as error:
                log.info("renewal beside the discovery stream failed: %s", error)
        return await self._call(address, key, (), held)

    async def _call(
        self,
        address: str,
        key: PrivateKey,
        metadata: tuple[tuple[str, str], ...],
        client: Svid | None,
    ) -> Svid:
        """Asks on a connection of its own. CertificateError says whatever went wrong."""
        roots = await self.roots()
        own = (chain_to_pem(client.chain), key_to_pem(client.key)) if client else (None, None)
        name = self._options.server_name

        async def dial() -> Call:
            tls = client_tls(address, roots, name, *own)
            return await open_call(address, METHOD, tls=tls, authority=name, metadata=metadata)

        return await self._exchange(address, key, dial())

    async def _exchange(
        self, address: str, key: PrivateKey, beginning: Coroutine[Any, Any, Call]
    ) -> Svid:
        known = self.svid.spiffe_id if self.svid is not None else self._options.identity
        pems = await request_certificate(
            address, key, known, beginning, call_timeout_s(self.left_s())
        )
        return checked_svid(key, pems, self._clock())

    # ----------------------------------------------------------------- the disk

    def _load(self) -> None:
        """What a former run has kept; anything wrong with it is logged and asked for anew."""
        self._trust.load()
        if self._options.state_dir is None:
            return
        path = self._options.state_dir / FILE
        if not path.exists():
            return
        try:
            self._key, chain = decode_file(read_secret(path), passphrase(self._token()))
            if not chain:
                return
            svid = checked_svid(self._key, [chain_to_pem(chain).decode()], self._clock())
        except CertificateError as error:
            log.warning("identity on disk not used: %s", error)
            return
        self.svid = svid
        log.info("certificate of %s from disk, until %s", svid.spiffe_id, _when(svid.valid[1]))

    async def _keep(self, key: PrivateKey, chain: Sequence[Certificate]) -> None:
        if self._options.state_dir is None:
            return
        try:
            await asyncio.to_thread(self._write, self._options.state_dir, key, tuple(chain))
        except (OSError, CertificateError) as error:
            log.error("identity not kept on disk: %s", error)

    def _write(self, state_dir: Path, key: PrivateKey, chain: tuple[Certificate, ...]) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(state_dir / FILE, encode_file(key, chain, passphrase(self._token())))


async def _begun(call: Call) -> Call:
    return call


def read_token(path: Path) -> bytes:
    """A join token's file must be private. A Kubernetes token's is not (the kubelet mounts it with
    mode 0644), but nobody outside of the pod sees it."""
    token = read_public(path)
    return token if token.count(b".") == 2 else read_secret(path)


def _when(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
