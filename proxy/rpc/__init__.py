"""gRPC calls of the proxy itself: to its control plane and its CA. Not the data path.

The grpc package would do it too, at 18 MB of memory and seven threads per sidecar; one call at a
time on one connection needs neither. HTTP/2 is the `h2` library's; ours is gRPC on top of it
(the protocol document of grpc.io, "gRPC over HTTP2").
"""

from proxy.rpc.connection import Call, open_call
from proxy.rpc.credentials import client_tls
from proxy.rpc.messages import RpcError

__all__ = ["Call", "RpcError", "client_tls", "open_call"]
