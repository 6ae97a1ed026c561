"""The certificates of the scenarios, made once and the same for both proxies.

`messenger` serves, `greeter` calls, `stranger` is of another root, `expired` was greeter's. Each is
NAME.pem and NAME.key beside `root.pem`, all SPIFFE ids of `weft.test`.
"""

from __future__ import annotations

import ssl
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
