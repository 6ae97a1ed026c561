"""The control plane's own gRPC server: gRPC upon the data path's HTTP/2 codec and TLS.

It takes the registrations of grpc.aio's (generic handlers, generated services) and calls them with
a context of the same words. Handlers are coroutines or asynchronous generators. What it knows of
the mesh is nothing: methods, messages, peers.
"""
