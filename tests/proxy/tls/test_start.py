"""What OpenSSL is told before it starts, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from proxy.tls import start

ROOT = Path(__file__).parents[3]

# Says how many tickets a full handshake over TLS 1.3 brings, and what OpenSSL was told.
COUNT = """
import os, sys
{told}
from proxy.config import model
from proxy.tls.contexts import server_context
from tests.support.pki import Authority
from tests.support.tls import PythonSide, SessionSide, certificate, python_client, shake_hands
root = Authority()
common = model.CommonTls(certificates=(certificate(root.issue(dns=("server.test",))),))
server = SessionSide(server_context(model.DownstreamTls(common), {{}}).session())
shake_hands(PythonSide(python_client(root), "server.test"), server)
said, records = server.taken(), 0
while said:
    said, records = said[5 + int.from_bytes(said[3:5], "big"):], records + 1
print(records)
"""
SAY = "from proxy.tls.start import send_one_ticket; send_one_ticket()"


def tickets(told: str) -> int:
    code = COUNT.format(told=told)
    return int(subprocess.run([sys.executable, "-c", code], check=True, stdout=-1, cwd=ROOT).stdout)


def test_a_full_handshake_brings_one_ticket() -> None:
    assert tickets(SAY) == 1
    assert tickets("") == 2, "OpenSSL's default has changed: `start` may go"


def test_a_configuration_of_the_users_own_stands() -> None:
    given = {start.VARIABLE: "/etc/own.cnf"}
    start.send_one_ticket(given)
    assert given == {start.VARIABLE: "/etc/own.cnf"}


def test_who_has_openssl_running_is_told_nothing() -> None:
    import cryptography  # noqa: F401

    given: dict[str, str] = {}
    start.send_one_ticket(given)
    assert given == {}


def test_whether_it_was_heard() -> None:
    given: dict[str, str] = {start.VARIABLE: str(start.OURS)}
    assert start.sends_one_ticket(given)
    assert not start.sends_one_ticket({})
    assert start._auxiliary()[6] == os.sysconf("SC_PAGESIZE")  # AT_PAGESZ
