"""A request's head -> which call it begins, or why none."""

from __future__ import annotations

from controlplane.rpc import heads
from controlplane.rpc.codes import UNIMPLEMENTED, CallRefused
from controlplane.rpc.heads import Head
from controlplane.rpc.methods import Method, Methods
from proxy.http.message import Request, Response


class Asked:
    __slots__ = ("head", "method")

    def __init__(self, head: Head, method: Method) -> None:
        self.head = head
        self.method = method


def read(request: Request, methods: Methods) -> Asked | Response:
    refusal = heads.http_refusal(request)
    if refusal is not None:
        return refusal
    try:
        head = heads.read_head(request)
    except CallRefused as error:
        return heads.only_trailers(error.code, str(error))
    method = methods.find(head.path, head.metadata)
    if method is None:
        return heads.only_trailers(UNIMPLEMENTED, f"there is no method {head.path}")
    return Asked(head, method)
