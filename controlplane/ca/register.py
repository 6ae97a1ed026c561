"""Adds the certificate service to a gRPC server."""

from __future__ import annotations

from controlplane.ca.service import CertificateService
from controlplane.rpc.methods import Registry
from protos.gen.istio import ca_pb2_grpc


def register_certificates(service: CertificateService, server: Registry) -> None:
    # Generated code has no types.
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
