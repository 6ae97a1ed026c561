"""The workload's identity against the real CA: first certificate, renewal, restart, bad luck."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certs.errors import CertificateError
from certs.keys import generate_key, key_from_pem
from certs.x509 import chain_from_pem, matches_key
from proxy import identity as module
from proxy import kept_identity
from proxy.config.model import DataSource, SanMatcher, Secret, StringMatcher, ValidationContext
from proxy.identity import Identity, IdentityOptions
from proxy.kept_identity import FILE
from proxy.tasks import spawn
from tests.support.ca import RunningCa, running_ca
from tests.support.pki import Authority
from tests.support.wait import eventually_async

TTL_S = 3600


class Time:
    """A wall clock that only moves when told; sleepers wake when it has passed them."""

    def __init__(self) -> None:
        self.now_s = time.time()
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now_s + seconds, future))
        await future

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock; nobody has slept longer for it."""
        self.now_s += seconds
        self.sleepers = [(at_s + seconds, future) for at_s, future in self.sleepers]

    def pass_by(self, seconds: float) -> None:
        self.now_s += seconds
        for at_s, future in tuple(self.sleepers):
            if at_s <= self.now_s:
                self.sleepers.remove((at_s, future))
                if not future.done():
                    future.set_result(None)


class Workload:
    """An Identity that runs, with the secrets that it announced."""

    def __init__(self, options: IdentityOptions, clock: Time) -> None:
        self.time = clock
        self.secrets: list[Secret] = []
        self.identity = Identity(
            options, self.secrets.append, clock=clock.clock, sleep=clock.sleep, jitter=lambda: 0.0
        )
        self.task = spawn(self.identity.run(), "identity")

    async def wait_for(self, count: int) -> Secret:
        await eventually_async(lambda: len(self.secrets) >= count, what=f"{count} certificates")
        return self.secrets[count - 1]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
async def ca(tmp_path: Path, now: Time) -> AsyncIterator[RunningCa]:
    async with running_ca(tmp_path / "ca", clock=now.clock, default_ttl_s=TTL_S) as running:
        yield running


@pytest.fixture
def options(ca: RunningCa, tmp_path: Path, now: Time) -> IdentityOptions:
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root_pem)
    token = tmp_path / "token"
    token.write_text(ca.tokens.create("shop", "cart", 600, False, now.now_s).token)
    token.chmod(0o600)
    state = tmp_path / "state"
    return IdentityOptions(f"127.0.0.1:{ca.port}", root, token, state)


def key_matches(secret: Secret) -> bool:
    assert secret.certificate is not None
    (leaf,) = chain_from_pem(secret.certificate.chain.data)
    return matches_key(leaf, key_from_pem(secret.certificate.private_key.data).public_key())


def spiffe_id(workload: Workload) -> str:
    assert workload.identity.svid is not None
    return str(workload.identity.svid.spiffe_id)


async def test_the_token_buys_a_certificate_for_our_own_key(
    options: IdentityOptions, now: Time
) -> None:
    workload = Workload(options, now)
    secret = await workload.wait_for(1)
    assert secret.name == "default"
    assert key_matches(secret)
    assert spiffe_id(workload) == "spiffe://cluster.local/ns/shop/sa/cart"
    await workload.stop()


async def test_it_is_renewed_at_half_life_over_mutual_tls_with_a_new_key(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    workload = Workload(replace(options, ca_mtls_address=f"127.0.0.1:{ca.mtls_port}"), now)
    first = await workload.wait_for(1)
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    options.join_token_file.unlink()  # it must not be needed
    for _ in range(TTL_S // 2 // 60):
        now.pass_by(60.0)
        await asyncio.sleep(0)
    second = await workload.wait_for(2)
    assert key_matches(second)
    assert first.certificate is not None and second.certificate is not None
    assert first.certificate.private_key.data != second.certificate.private_key.data
    await workload.stop()


async def test_without_an_address_for_mutual_tls_the_token_renews_for_the_same_key(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    options.join_token_file.write_text(
        ca.tokens.create("shop", "cart", 2 * TTL_S, False, now.now_s).token
    )
    workload = Workload(options, now)
    first = await workload.wait_for(1)
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    for _ in range(TTL_S // 2 // 60):
        now.pass_by(60.0)
        await asyncio.sleep(0)
    second = await workload.wait_for(2)
    assert first.certificate is not None and second.certificate is not None
    assert first.certificate.private_key.data == second.certificate.private_key.data
    assert first.certificate.chain.data != second.certificate.chain.data
    await workload.stop()


async def test_a_clock_that_is_set_back_brings_a_new_certificate(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    now.jump(1800)
    options.join_token_file.write_text(
        ca.tokens.create("shop", "cart", TTL_S, False, now.now_s).token
    )
    workload = Workload(options, now)
    await workload.wait_for(1)
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    now.jump(-1500)
    assert workload.identity.svid is not None
    assert workload.identity.svid.valid[0] > now.now_s
    now.pass_by(60)
    await workload.wait_for(2)
    assert workload.identity.svid.valid[0] <= now.now_s
    await workload.stop()


@pytest.mark.parametrize("content", ["", "  \n", "two\nlines", "caf\u00e9"])
async def test_a_file_that_holds_no_token_is_named_and_tried_again(
    options: IdentityOptions, now: Time, content: str
) -> None:
    good = options.join_token_file.read_text()
    options.join_token_file.write_text(content)
    workload = Workload(options, now)
    await eventually_async(lambda: "holds no join token" in workload.identity.last_error)
    options.join_token_file.write_text(good)
    await eventually_async(lambda: now.sleepers, what="the back-off")
    now.pass_by(30.0)
    await workload.wait_for(1)
    await workload.stop()


async def test_a_restart_without_the_ca_goes_on_with_what_is_on_disk(
    options: IdentityOptions, now: Time
) -> None:
    first = Workload(options, now)
    secret = await first.wait_for(1)
    assert options.state_dir is not None
    kept = options.state_dir / FILE
    await eventually_async(lambda: kept.exists() and b"CERTIFICATE" in kept.read_bytes())
    await first.stop()
    second = Workload(replace(options, ca_address="127.0.0.1:1"), now)
    assert await second.wait_for(1) == secret
    await second.stop()


async def test_the_key_on_disk_is_private_and_encrypted(
    options: IdentityOptions, now: Time
) -> None:
    workload = Workload(options, now)
    await workload.wait_for(1)
    assert options.state_dir is not None
    kept = options.state_dir / FILE
    await eventually_async(lambda: kept.exists() and b"CERTIFICATE" in kept.read_bytes())
    await workload.stop()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in kept.read_bytes()
    with pytest.raises(CertificateError):
        kept_identity.decode_file(kept.read_bytes(), kept_identity.passphrase("another token"))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbage(data: bytes) -> bytes:
    return b"\x00" * 100


def other_key(data: bytes) -> bytes:
    chain = data[data.index(b"-----BEGIN CERTIFICATE") :]
    key = generate_key()
    return kept_identity.encode_file(
        key, chain_from_pem(chain), kept_identity.passphrase("not this token")
    )


@pytest.mark.parametrize("spoil", [cut, garbage, other_key])
async def test_a_spoiled_file_is_not_used_and_the_reason_is_logged(
    options: IdentityOptions,
    ca: RunningCa,
    now: Time,
    spoil: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    options.join_token_file.write_text(ca.tokens.create("shop", "cart", 600, True, now.now_s).token)
    first = Workload(options, now)
    await first.wait_for(1)
    assert options.state_dir is not None
    kept = options.state_dir / FILE
    await eventually_async(lambda: kept.exists() and b"CERTIFICATE" in kept.read_bytes())
    await first.stop()
    kept.write_bytes(spoil(kept.read_bytes()))
    second = Workload(options, now)
    assert key_matches(await second.wait_for(1))
    await second.stop()
    assert any("identity on disk not used" in r.getMessage() for r in caplog.records)


async def test_an_expired_certificate_on_disk_is_asked_for_anew(
    options: IdentityOptions, ca: RunningCa, now: Time, caplog: pytest.LogCaptureFixture
) -> None:
    options.join_token_file.write_text(
        ca.tokens.create("shop", "cart", 3 * TTL_S, False, now.now_s).token
    )
    first = Workload(options, now)
    old = await first.wait_for(1)
    assert options.state_dir is not None
    kept = options.state_dir / FILE
    await eventually_async(lambda: kept.exists() and b"CERTIFICATE" in kept.read_bytes())
    await first.stop()
    now.pass_by(2.0 * TTL_S)
    second = Workload(options, now)
    new = await second.wait_for(1)
    await second.stop()
    assert old.certificate is not None and new.certificate is not None
    # The token is bound to the key that it was first presented with.
    assert new.certificate.private_key == old.certificate.private_key
    assert any("expired" in r.getMessage() for r in caplog.records)


async def test_it_warns_in_the_last_third_and_cries_when_it_is_over(
    options: IdentityOptions, now: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "weft.identity")
    workload = Workload(options, now)
    await workload.wait_for(1)
    workload.identity._options = replace(options, ca_address="127.0.0.1:1")

    def level_of(text: str) -> int:
        return max((r.levelno for r in caplog.records if text in r.getMessage()), default=0)

    async def until(text: str) -> None:
        async def step() -> None:
            now.pass_by(60.0)
            await asyncio.sleep(0.005)

        for _ in range(2 * TTL_S // 60):
            if level_of(text):
                return
            await step()
        await eventually_async(lambda: level_of(text), what=text)

    await until("not renewed yet")
    await until("is not renewed:")
    await until("EXPIRED")
    assert level_of("not renewed yet") == logging.INFO
    assert level_of("is not renewed:") == logging.WARNING
    assert level_of("EXPIRED") == logging.ERROR
    assert not any("PRIVATE KEY" in r.getMessage() for r in caplog.records)
    await workload.stop()


async def test_a_refusal_is_named_and_tried_again(
    options: IdentityOptions, ca: RunningCa, now: Time, caplog: pytest.LogCaptureFixture
) -> None:
    good = options.join_token_file.read_text()
    options.join_token_file.write_text("wrong")
    workload = Workload(options, now)
    await eventually_async(lambda: "join token is not known" in workload.identity.last_error)
    assert workload.identity.svid is None
    options.join_token_file.write_text(good)
    await eventually_async(lambda: now.sleepers, what="the back-off")
    now.pass_by(30.0)
    assert key_matches(await workload.wait_for(1))
    assert workload.identity.last_error == ""
    await workload.stop()
    assert not any("wrong" in r.getMessage() or good in r.getMessage() for r in caplog.records)


def issuer_secret(pem: bytes) -> Secret:
    return Secret(module.ISSUER_SECRET, validation=ValidationContext(DataSource(pem)))


async def test_whom_the_mesh_refuses_is_told_on(options: IdentityOptions) -> None:
    heard: list[frozenset[str]] = []
    identity = Identity(options, on_revoked=lambda: heard.append(identity.revoked))
    names = tuple(
        SanMatcher("URI", StringMatcher("exact", f"spiffe://td/{name}")) for name in ("a", "b")
    )
    for told in (names, ()):
        context = ValidationContext(DataSource(b"roots"), match_sans=told)
        assert not await identity.told(Secret(module.REVOKED_SECRET, validation=context))
    assert heard == [{"spiffe://td/a", "spiffe://td/b"}, frozenset()]


async def test_another_issuer_has_the_certificate_renewed_at_once(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    workload = Workload(
        replace(options, ca_mtls_address=f"127.0.0.1:{ca.mtls_port}", follow_mesh=True), now
    )
    assert workload.identity.standing == {"ROOTCA", module.ISSUER_SECRET, module.REVOKED_SECRET}
    await workload.wait_for(1)
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    await workload.identity.told(issuer_secret(ca.root_pem))
    assert not workload.identity.outdated  # it is the one that we have
    await workload.identity.told(issuer_secret(Authority("next").pem.encode()))
    await eventually_async(lambda: len(now.sleepers) > 1, what="the short wait")
    now.pass_by(0.0)
    await workload.wait_for(2)
    # The CA has not changed in truth; it is asked once, not for ever.
    await eventually_async(lambda: not workload.identity.outdated, what="peace")
    await workload.stop()


async def test_a_former_run_s_certificate_is_renewed_too_if_another_issues_now(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    options.join_token_file.write_text(ca.tokens.create("shop", "cart", 600, True, now.now_s).token)
    first = Workload(options, now)
    await first.wait_for(1)
    assert options.state_dir is not None
    kept = options.state_dir / FILE
    await eventually_async(lambda: kept.exists() and b"CERTIFICATE" in kept.read_bytes())
    await first.stop()
    second = Workload(options, now)  # told before it has read its disk
    await second.identity.told(issuer_secret(Authority("next").pem.encode()), kept=True)
    await second.wait_for(1)
    await eventually_async(lambda: now.sleepers, what="the short wait")
    now.pass_by(0.0)
    await second.wait_for(2)
    await second.stop()


async def test_roots_of_a_former_run_are_not_taken_for_news(options: IdentityOptions) -> None:
    identity = Identity(options)
    before = await identity.roots()
    stale = Secret("ROOTCA", validation=ValidationContext(DataSource(Authority("x").pem.encode())))
    assert not await identity.told(stale, kept=True)
    assert await identity.roots() == before


async def test_news_that_are_no_certificate_are_named(
    options: IdentityOptions, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(options)
    assert not await identity.told(issuer_secret(b"nothing"))
    assert "weft.dev/issuer of the mesh is not used" in caplog.text
    assert not await identity.told(Secret("ROOTCA"))


async def test_the_mesh_says_whom_to_believe(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    bundle = Secret("ROOTCA", validation=ValidationContext(DataSource(ca.root_pem)))
    options.ca_root.write_text(Authority("wrong").pem)
    workload = Workload(replace(options, follow_mesh=True), now)
    await eventually_async(lambda: "TLS with" in workload.identity.last_error, what="no trust")
    assert await workload.identity.told(bundle)
    await eventually_async(lambda: now.sleepers, what="the back-off")
    now.pass_by(30.0)
    await workload.wait_for(1)
    assert await workload.identity.roots() == ca.root_pem
    await workload.stop()


async def test_a_ca_that_was_away_for_long_is_found_again_before_the_end(
    options: IdentityOptions, ca: RunningCa, now: Time
) -> None:
    """Away from before half life until a sixth of it is left: asked for again soon enough."""
    workload = Workload(replace(options, ca_mtls_address=f"127.0.0.1:{ca.mtls_port}"), now)
    await workload.wait_for(1)
    options = workload.identity._options
    workload.identity._options = replace(
        options, ca_address="127.0.0.1:1", ca_mtls_address="127.0.0.1:1"
    )
    assert not workload.identity.overdue
    while workload.identity.left_s() > TTL_S / 6:
        await eventually_async(lambda: now.sleepers, what="a pause")
        now.pass_by(30.0)
        await asyncio.sleep(0.001)
    await eventually_async(lambda: workload.identity.failures > 0, what="a failure")
    assert workload.identity.overdue
    workload.identity._options = options
    for _ in range(4):
        now.pass_by(30.0)
        await asyncio.sleep(0.01)
    await workload.wait_for(2)
    assert not workload.identity.overdue
    assert workload.identity.renewals == 2
    await workload.stop()


async def test_a_certificate_that_is_refused_is_replaced_but_not_again_and_again(
    options: IdentityOptions, now: Time
) -> None:
    workload = Workload(options, now)
    await workload.wait_for(1)
    workload.identity.refused()  # it is new: it was not the certificate's fault
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    assert not workload.identity._doubted
    now.pass_by(31.0)
    await eventually_async(lambda: now.sleepers, what="the wait for half life")
    for _ in range(3):
        workload.identity.refused()
    await eventually_async(lambda: len(now.sleepers) >= 2, what="the short wait")
    now.pass_by(0.0)
    await workload.wait_for(2)
    await workload.stop()
    assert len(workload.secrets) == 2


@pytest.mark.parametrize(
    ("text", "spread_s"),
    [("", 2.0), ("spread_s: 0\n", 2.0), ("spread_s: 50\n", 50.0), ("spread_s: 999999\n", 600.0)],
)
async def test_the_mesh_says_how_far_its_proxies_should_spread(
    options: IdentityOptions, ca: RunningCa, text: str, spread_s: float
) -> None:
    identity = Identity(options)
    await identity.told(issuer_secret(text.encode() + ca.root_pem))
    assert identity.spread_s == spread_s
