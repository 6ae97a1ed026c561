"""The postcard mesh as the end-to-end tests run it: a copy whose messengers also say who their
sidecar let in, and who may come in as one of the mesh."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_to_pem
from tests.support.laptop import POSTCARD, Up
from tests.support.load import Load, versions
from tests.support.members import Member, control_plane, member
from tests.support.wait import eventually
from weft import loopback

ANSWER = 'answer = {"version": self.version, "message": MESSAGES[self.version]}'
TELLING = 'answer["message"] += f" Seen: {self.headers.get(\'x-forwarded-client-cert\')}"'
EVERYBODY = ("greeter", "messenger-v1", "messenger-v1-2", "messenger-v2")


@dataclass(frozen=True, slots=True)
class Postcard:
    """The running mesh and its directory of YAML."""

    up: Up
    directory: Path

    def member(self, name: str) -> Member:
        return member(self.up, name)

    @property
    def routes(self) -> Path:
        return self.directory / "routes.yaml"

    def write_routes(self, change: str, to: str) -> int:
        """Replaces the first `change` in routes.yaml; the number of its line."""
        text = self.routes.read_text("utf-8")
        assert change in text
        self.routes.write_text(text.replace(change, to, 1), "utf-8")
        return text[: text.index(change)].count("\n") + 1

    def version(self) -> str:
        """Of the configuration in force, once every proxy has it."""
        return eventually(self._synced, 60, "all proxies in sync")

    def _synced(self) -> str | None:
        port = int(control_plane(self.up)["admin_address"].rpartition(":")[2])
        reply = loopback.get_now(port, "/status")
        if reply.status != 200:
            return None
        status = json.loads(reply.body)
        synced = [proxy["synced"] for proxy in status["proxies"]]
        return str(status["version"]) if len(synced) == 1 + len(EVERYBODY) and all(synced) else None

    def page(self) -> str:
        reply = self.up.get("greeter.localhost")
        assert reply.status == 200, reply
        return reply.text


def copy_postcard(target: Path) -> Path:
    shutil.copytree(POSTCARD, target)
    program = target / "messenger.py"
    text = program.read_text("utf-8")
    assert ANSWER in text
    program.write_text(text.replace(ANSWER, f"{ANSWER}\n        {TELLING}"), "utf-8")
    return target


def all_of(flowing: Load, version: str, count: int = 50) -> bool:
    """Whether only `version` answers now."""
    return set(versions(flowing.more(count))) == {version}


def trusting(postcard: Postcard) -> ssl.SSLContext:
    """A client that knows the mesh's root, and has no certificate."""
    root = (postcard.up.state / "root.pem").read_text("ascii")
    context = ssl.create_default_context(cadata=root)
    context.check_hostname = False
    return context


def svid(postcard: Postcard, service_account: str, directory: Path) -> Path:
    """Key and certificate as the mesh's own authority would issue them."""
    authority = load_store(postcard.up.state, time.time()).authority
    key = generate_key()
    identity = SpiffeId.workload("cluster.local", "default", service_account)
    chain = authority.sign(key.public_key(), identity, 600, time.time())
    path = directory / f"{service_account}.pem"
    path.write_bytes(key_to_pem(key) + chain_to_pem(chain))
    return path
