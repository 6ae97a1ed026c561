"""The gRPC dialect: what gRPC's own xDS clients and servers understand (gRFC A27 and followers).

They name each resource, know neither SDS nor inspectors, and refuse what they do not support; what
a mesh says beyond that is left out here, and told (`losses`).
"""
