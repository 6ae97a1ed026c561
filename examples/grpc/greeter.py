"""A gRPC server whose certificates and rules come from the mesh: `python greeter.py VERSION`.

It needs no generated code: the one method takes a name and answers a greeting, both plain text.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


def greet(request: bytes, context: grpc.ServicerContext) -> bytes:
    (caller, *_) = context.auth_context().get("peer_spiffe_id", [b"a stranger"])
    return b"hello %s from %s, says %s" % (request, bytes(caller), sys.argv[1].encode())


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4), xds=True)
    handler = grpc.unary_unary_rpc_method_handler(greet)
    methods = grpc.method_handlers_generic_handler("example.Greeter", {"Greet": handler})
    server.add_generic_rpc_handlers((methods,))
    # Without the mesh nobody may come in: the fallback is not used.
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    server.add_secure_port(f"127.0.0.1:{os.environ['PORT']}", credentials)
    server.start()
    server.wait_for_termination()


main()
