"""TLS to servers outside of the mesh: what a DestinationRule says becomes a context that our own
proxy reads, files and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.emit import tls
from controlplane.kinds.parse import parse
from controlplane.mesh.model import ClientTls
from proxy.config.decode_tls import upstream
from tests.support.pki import Authority

ROOT = Authority()


def test_mutual_tls_with_files(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(ROOT.pem)
    (tmp_path / "crl.pem").write_text(ROOT.crl())
    chain, key = ROOT.issue(dns=("me.test",)).write(tmp_path, "me")
    settings = ClientTls(
        "MUTUAL",
        subject_alt_names=("api.test", "10.0.0.1", "spiffe://api.test/x"),
        roots=str(tmp_path / "ca.pem"),
        crl=str(tmp_path / "crl.pem"),
        certificate=str(chain),
        private_key=str(key),
    )
    found = upstream(tls.upstream_outside(settings, "api.test", ("h2",)), "s")
    assert found is not None
    assert (found.sni, found.common.alpn) == ("api.test", ("h2",))
    assert found.common.certificates[0].chain.data == chain.read_bytes()
    validation = found.common.validation
    assert validation is not None and validation.trusted_ca is not None
    assert validation.trusted_ca.data == ROOT.pem.encode()
    assert validation.crl is not None
    assert [(one.san_type, one.matcher.value) for one in validation.match_sans] == [
        ("DNS", "api.test"), ("IP_ADDRESS", "10.0.0.1"), ("URI", "spiffe://api.test/x"),
    ]  # fmt: skip


def test_whom_nobody_verifies() -> None:
    socket = tls.upstream_outside(ClientTls("SIMPLE", verifies=False), "api.test", ())
    found = upstream(socket, "s")
    assert found is not None
    assert found.common.validation is None


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: x, namespace: default}}
spec: {{host: api.test, trafficPolicy: {{tls: {{{tls}}}}}}}
"""


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("mode: MUTUAL, clientCertificate: /a, privateKey: /b, caCertificates: /c, caCrl: /d", ""),
        ("mode: SIMPLE, insecureSkipVerify: true", ""),
        ("mode: MUTUAL, clientCertificate: /a", "privateKey: mode MUTUAL needs it"),
        ("mode: SIMPLE, privateKey: /b", "privateKey: mode SIMPLE has no use for it"),
        ("mode: ISTIO_MUTUAL, caCertificates: /c", "caCertificates: mode ISTIO_MUTUAL has no use"),
        ("mode: SIMPLE, caCrl: /c, insecureSkipVerify: true", "caCrl: insecureSkipVerify has no"),
        ("mode: DISABLE, insecureSkipVerify: true", "insecureSkipVerify: mode DISABLE always"),
        ("mode: SIMPLE, credentialName: x", ""),
        ("mode: MUTUAL, credentialName: x, insecureSkipVerify: true", ""),
        ("mode: SIMPLE, credentialName: x, insecureSkipVerify: true", "nothing of the Secret"),
        ("mode: DISABLE, credentialName: x", "mode DISABLE has no use for it"),
        ("mode: SIMPLE, credentialName: X", "credentialName: expected a name"),
        ("mode: MUTUAL, credentialName: x, privateKey: /k", "privateKey: credentialName stands"),
    ],
)
def test_what_a_rule_may_say(settings: str, why: str) -> None:
    problems = [str(one) for one in parse(RULE.format(tls=settings), "rule.yaml").statuses]
    assert (why == "") == (not problems)
    assert all(why in problem for problem in problems)
