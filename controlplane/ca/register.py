"""Adds the certificate service to a gRPC server."""

from __future__ import annotations

import grpc.aio

from controlplane.ca.service import CertificateService
from protos.gen.istio import ca_pb2_grpc


def register_certificates(service: CertificateService, server: grpc.aio.Server) -> None:
    # Generated code has no types.
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
