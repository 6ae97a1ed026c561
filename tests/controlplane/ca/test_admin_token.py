"""The administrator's token: made once, kept private, refused when it is no secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from certs.errors import CertificateError
from controlplane.ca.admin_token import open_admin_token


def test_made_once(tmp_path: Path) -> None:
    token = open_admin_token(tmp_path)
    assert len(token) >= 43
    assert open_admin_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "admin.token").stat().st_mode) == 0o600


def test_another_process_being_quicker_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "admin.token"

    def look_before_the_other_is_done(looked_at: Path) -> bool:
        path.touch(0o600)
        path.write_bytes(b"the-token-of-the-other-process\n")
        return False

    monkeypatch.setattr("os.path.lexists", look_before_the_other_is_done)
    assert open_admin_token(tmp_path) == "the-token-of-the-other-process"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"short\n", b"two\nlines of a token\n", b"\xff" * 40, bytes(44), b"x" * 5000],
)
def test_what_is_no_secret(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "admin.token"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(CertificateError, match=r"admin\.token holds no token"):
        open_admin_token(tmp_path)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    open_admin_token(tmp_path)
    (tmp_path / "admin.token").chmod(0o644)
    with pytest.raises(CertificateError, match="chmod 600"):
        open_admin_token(tmp_path)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"nowhere/admin\.token: No such file"):
        open_admin_token(tmp_path / "nowhere")
