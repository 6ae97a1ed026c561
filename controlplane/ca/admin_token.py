"""The administrator's token: one secret in the state directory that opens the management API."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from certs.errors import CertificateError
from certs.files import create_secret, read_secret

ADMIN_TOKEN = "admin.token"
_MIN_CHARACTERS = 16
_TOKEN = re.compile(rb"[!-~]{%d,4096}" % _MIN_CHARACTERS)


def open_admin_token(state_dir: Path) -> str:
    """The token of `state_dir/admin.token` (0600), made if there is none.

    CertificateError names the file if it is open to others, empty, too short to be a secret or
    holds what no header could carry, as a crash may leave it.
    """
    path = state_dir / ADMIN_TOKEN
    if not os.path.lexists(path):
        try:
            create_secret(path, secrets.token_urlsafe(32).encode() + b"\n")
        except FileExistsError:
            pass  # Another process was quicker: its token is the one.
        except OSError as error:
            raise CertificateError(f"{path}: {error.strerror}") from error
    return read_admin_token(path)


def read_admin_token(path: Path) -> str:
    """The token in `path`, without the line feed."""
    token = read_secret(path).strip()
    if _TOKEN.fullmatch(token) is None:
        raise CertificateError(
            f"{path} holds no token of {_MIN_CHARACTERS} visible characters or more"
        )
    return token.decode("ascii")
