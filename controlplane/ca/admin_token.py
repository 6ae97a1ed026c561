"""The administrator's token: one secret in the state directory that opens the management API."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from certs.errors import CertificateError
from certs.files import create_secret, read_secret

ADMIN_TOKEN = "admin.token"
_MIN_CHARACTERS = 16


def open_admin_token(state_dir: Path) -> str:
    """The token of `state_dir/admin.token` (0600), made if there is none.

    CertificateError names the file if it is open to others, empty or too short to be a secret.
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
    if len(token) < _MIN_CHARACTERS or not token.isascii() or b"\n" in token:
        raise CertificateError(f"{path} holds no token of {_MIN_CHARACTERS} characters or more")
    return token.decode("ascii")
