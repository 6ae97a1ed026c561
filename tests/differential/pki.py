"""The certificates of the scenarios, made once and the same for both proxies.

`messenger` serves, `greeter` calls, `stranger` is of another root, `expired` was greeter's,
`revoked` is on the list of the root. `below` is of an intermediate, and `fallen` of one that the
root has revoked. Each is NAME.pem and NAME.key beside `root.pem`, all SPIFFE ids of `weft.test`.
`root.crl` is the root's list, `lists.crl` also has those of the intermediates, `bundle.pem` is the
root and its list, `partial.pem` the root and the lists of the intermediates.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.support.pki import Authority, KeyPair, client_context, server_context


class Pki:
    """Writes its files into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = Authority()
        (folder / "root.pem").write_text(self._root.pem)
        self._pairs = {
            "messenger": self._write("messenger", _identity(self._root, "messenger")),
            "greeter": self._write("greeter", _identity(self._root, "greeter")),
            "stranger": self._write("stranger", _identity(Authority("other"), "greeter")),
            "expired": self._write(
                "expired", _identity(self._root, "greeter", timedelta(seconds=-60))
            ),
        }

        self._below = Authority("below", above=self._root)
        self._fallen = Authority("fallen", above=self._root)
        for name, issuer in (("below", self._below), ("fallen", self._fallen)):
            leaf = _identity(issuer, name)
            self._pairs[name] = self._write(
                name, replace(leaf, certificate=leaf.certificate + issuer.pem)
            )
        self._write_lists()

    def _write_lists(self) -> None:
        revoked = _identity(self._root, "revoked")
        self._pairs["revoked"] = self._write("revoked", revoked)
        ours = self._root.crl(revoked, self._fallen)
        below = self._below.crl() + self._fallen.crl()
        files = {
            "root.crl": ours,
            "lists.crl": ours + below,
            "bundle.pem": self._root.pem + ours,
            "partial.pem": self._root.pem + below,
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def server(self, name: str) -> ssl.SSLContext:
        """For an upstream that is `name` and requires a certificate of the root."""
        return server_context(self._root, self._pairs[name])

    def client(self, name: str) -> ssl.SSLContext:
        """For a client that shows the certificate `name`; `none` shows nothing."""
        return client_context(self._root, None if name == "none" else self._pairs[name])

    def _write(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        return pair.write(self.folder, name)


def _identity(root: Authority, name: str, lifetime: timedelta = timedelta(hours=1)) -> KeyPair:
    uri = f"spiffe://weft.test/ns/default/sa/{name}"
    return root.issue(uris=(uri,), dns=(f"{name}.weft.test",), lifetime=lifetime)
