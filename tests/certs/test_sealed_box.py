"""What is sealed is read with the passphrase alone, and as what it was sealed for."""

from __future__ import annotations

import pytest

from certs.errors import CertificateError
from certs.sealed_box import SealedBox

BOX = SealedBox(b"open sesame")
SEALED = BOX.seal(b"the secret", b"authority")


def test_it_comes_back_with_the_same_passphrase() -> None:
    assert SealedBox(b"open sesame").open(SEALED, b"authority") == b"the secret"
    assert b"secret" not in SEALED
    assert BOX.seal(b"the secret", b"authority") != SEALED


def test_another_passphrase_another_name_or_a_change_opens_nothing() -> None:
    with pytest.raises(CertificateError, match="another passphrase"):
        SealedBox(b"open barley").open(SEALED, b"authority")
    with pytest.raises(CertificateError, match="another passphrase, or changed"):
        BOX.open(SEALED, b"objects/Secret/default/s")
    for at in (6, 30, len(SEALED) - 1):
        changed = SEALED[:at] + bytes([SEALED[at] ^ 1]) + SEALED[at + 1 :]
        with pytest.raises(CertificateError):
            BOX.open(changed, b"authority")


@pytest.mark.parametrize(
    "data",
    [b"", b"weft1", SEALED[:30], b"{" + SEALED],
    ids=["nothing", "few", "half", "something before it"],
)
def test_what_was_never_sealed_is_told(data: bytes) -> None:
    with pytest.raises(CertificateError, match="not what Weft has sealed"):
        BOX.open(data, b"authority")
