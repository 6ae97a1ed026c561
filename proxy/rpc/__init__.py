"""gRPC calls of the proxy itself: to its control plane and its CA. Not the data path.

The grpc package would do it too, at 18 MB of memory and seven threads per sidecar; one call at a
time on one connection needs neither. HTTP/2 is that of the data path; here is gRPC on top of it
(the protocol document of grpc.io, "gRPC over HTTP2").
"""
