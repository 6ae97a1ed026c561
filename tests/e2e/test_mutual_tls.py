"""The message crosses two sidecars with mutual TLS, and nobody else gets in at the messenger's."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.members import Member, weft
from tests.support.pki import Authority
from tests.support.postcard import Postcard, svid, trusting
from tests.support.wait import eventually, eventually_async

pytestmark = pytest.mark.timeout(300)

GREETER = "spiffe://cluster.local/ns/default/sa/greeter"
MESSENGER = "spiffe://cluster.local/ns/default/sa/messenger"


@pytest.fixture
def messenger(postcard: Postcard) -> Member:
    return postcard.member("messenger-v1")


def test_the_message_came_through_two_sidecars(postcard: Postcard) -> None:
    members = [postcard.member(name) for name in ("messenger-v1", "messenger-v1-2")]
    before = [one.listener_stat("ssl.handshake") for one in members]
    for _ in range(10):
        page = postcard.page()
        assert "The sea is warm" in page
        assert f"URI={GREETER}" in page, "the messenger's sidecar saw another peer"
    answers = [one.stats() for one in members]
    shaken = [one.listener_stat("ssl.handshake") for one in members]
    assert sum(shaken) > 0
    assert all(now >= then for now, then in zip(shaken, before, strict=True))
    greeter = postcard.member("greeter")
    upstream = "cluster.outbound|8080|v1|messenger.default.svc.cluster.local."
    assert greeter.stats()[upstream + "ssl.handshake"] > 0
    inbound = [f"cluster.inbound|{one.app_port()}||.upstream_rq_2xx" for one in members]
    assert all(stats[name] > 0 for stats, name in zip(answers, inbound, strict=True))
    server_name = "outbound_.8080_.v1_.messenger.default.svc.cluster.local"
    eventually(
        lambda: any(server_name in one.sidecar_log() for one in members), what="the SNI in a log"
    )


async def test_plain_text_is_refused(messenger: Member) -> None:
    async with Client(messenger.inbound_port) as plain:
        assert await plain.request("GET", "/") is None
        assert plain.received == b""


async def test_a_client_without_certificate_is_refused(
    postcard: Postcard, messenger: Member
) -> None:
    context = trusting(postcard)
    await is_refused(messenger, context, "ssl.fail_verify_no_cert")


async def test_a_client_of_another_authority_is_refused(
    postcard: Postcard, messenger: Member, tmp_path: Path
) -> None:
    context = trusting(postcard)
    stranger = Authority("another root").issue(uris=(GREETER,))
    context.load_cert_chain(*stranger.write(tmp_path, "stranger"))
    await is_refused(messenger, context, "ssl.fail_verify_error")


async def test_a_client_with_a_certificate_of_the_mesh_gets_in(
    postcard: Postcard, messenger: Member, tmp_path: Path
) -> None:
    """The three refusals above are for the certificate, and for nothing else."""
    context = trusting(postcard)
    context.load_cert_chain(svid(postcard, "greeter", tmp_path))
    async with Client(messenger.inbound_port, context) as client:
        message = await client.request("GET", "/", [("host", "messenger:8080")])
        assert message is not None
        assert message.status == 200
        assert f"URI={GREETER}".encode() in message.body
        peer = client.wire.writer.get_extra_info("peercert")
        assert peer["subjectAltName"] == (("URI", MESSENGER),)


async def is_refused(messenger: Member, context: ssl.SSLContext, counter: str) -> None:
    before = messenger.listener_stat(counter)
    try:
        async with Client(messenger.inbound_port, context) as client:
            # In TLS 1.3 the refusal comes after the client's part of the handshake.
            assert await client.request("GET", "/", [("host", "messenger:8080")]) is None
    except (ssl.SSLError, ConnectionError):
        pass
    await eventually_async(lambda: messenger.listener_stat(counter) > before, what=counter)


def test_the_status_names_the_identities(postcard: Postcard) -> None:
    shown = weft("status", "--state-dir", str(postcard.up.state))
    assert shown.returncode == 0
    rows = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines() if "/sa/" in line)
    assert rows["greeter.default"].split()[-1] == "ns/default/sa/greeter"
    assert rows["messenger-v1.default"].split()[-1] == "ns/default/sa/messenger"
