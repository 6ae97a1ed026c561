"""A control plane whose certificates come from another one's CSR service, as processes."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from certs.csr import make_csr
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid
from protos.gen.istio import ca_pb2
from tests.support.api_server import ISSUER, FakeApiServer
from tests.support.control_plane import SERVER_NAME, ControlPlane

CART = SpiffeId.workload("cluster.local", "shop", "cart")


def ask(plane: ControlPlane, token: str) -> list[str]:
    request = ca_pb2.IstioCertificateRequest(csr=make_csr(generate_key(), CART).decode())
    call = plane.channel().unary_unary(
        "/istio.v1.auth.IstioCertificateService/CreateCertificate",
        request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
        response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
    )
    answer = call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    return list(answer.cert_chain)


def test_certificates_come_from_there_and_are_believed_here(tmp_path: Path) -> None:
    fake = FakeApiServer()
    jwks = tmp_path / "jwks.json"
    jwks.write_text(fake.jwks())
    (tmp_path / "mesh").mkdir()
    offline = ("--service-account-jwks", str(jwks), "--service-account-issuer", ISSUER)
    with ControlPlane(tmp_path / "mesh", tmp_path / "there", *offline) as there:
        where = ("--issuer-address", there.serving["address"], "--issuer-server-name", SERVER_NAME)
        root = ("--issuer-root", str(there.state / "root.pem"))
        with ControlPlane(tmp_path / "mesh", tmp_path / "here", *offline, *where, *root) as here:
            pems = ask(here, fake.token("shop", "cart"))
            chain = chain_from_pem("".join(pems).encode())
            assert check_svid(chain) == CART
            assert chain[-1:] == chain_from_pem(there.root_pem)
            assert here.root_pem != there.root_pem
            joined = here.join_token("cart", "shop")
            with pytest.raises(grpc.RpcError) as caught:
                ask(here, joined)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            issued = "citadel_server_success_cert_issuance_total 1.0"
            assert issued in here.page("/metrics")[1]
            assert issued in there.page("/metrics")[1]
