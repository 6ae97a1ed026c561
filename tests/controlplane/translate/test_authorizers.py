"""Which service a provider of the MeshConfig means, and what is wrong with it."""

from __future__ import annotations

import pytest

from controlplane.kinds.mesh_config import ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider
from controlplane.mesh.model import Service, ServicePort
from controlplane.translate.authorizers import authorizers

HOST = "checker.shop.svc.cluster.local"
CHECKER = Service(HOST, "checker", "shop", (ServicePort(9000, "grpc", "GRPC"),))


@pytest.mark.parametrize(
    ("service", "port", "fault"),
    [
        (HOST, 9000, ""),
        (f"shop/{HOST}", 9000, ""),
        ("shop/Checker.shop.svc.cluster.local.", 9000, ""),
        (f"other/{HOST}", 9000, f"the mesh has no service 'other/{HOST}'"),
        ("checker", 9000, "the mesh has no service 'checker'"),
        (HOST, 9001, f"the service '{HOST}' has no port 9001"),
    ],
)
def test_a_provider_names_a_service_of_the_mesh(service: str, port: int, fault: str) -> None:
    for provider in (
        ExtensionProvider(name="p", envoy_ext_authz_grpc=ExtAuthzGrpc(service=service, port=port)),
        ExtensionProvider(name="p", envoy_ext_authz_http=ExtAuthzHttp(service=service, port=port)),
    ):
        (found,) = authorizers([provider], [CHECKER])
        assert found.fault == fault
        assert fault or (found.host, found.port, found.timeout_s) == (HOST, 9000, 600.0)


def test_old_header_names_count_where_the_new_ones_are_not() -> None:
    old = ExtAuthzHttp(service=HOST, port=9000, include_headers_in_check=("old",))
    both = ExtAuthzHttp(
        service=HOST,
        port=9000,
        include_headers_in_check=("old",),
        include_request_headers_in_check=("new",),
    )
    providers = [ExtensionProvider(name="a", envoy_ext_authz_http=one) for one in (old, both)]
    found = [one.request_headers for one in authorizers(providers, [CHECKER])]
    assert found == [("old",), ("new",)]


def test_other_providers_are_nobody_to_ask() -> None:
    assert list(authorizers([ExtensionProvider(name="traces")], [CHECKER])) == []
