"""A real gRPC authorization service (grpcio), that notes what it is asked and answers as told.

Of a request it goes by the header `x-answer`: what to answer, a CheckResponse in JSON.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from envoy.service.auth.v3 import external_auth_pb2 as auth
from google.protobuf.json_format import MessageToDict, ParseDict

CHECK = "envoy.service.auth.v3.Authorization"
OK: dict[str, Any] = {"status": {"code": 0}}
DENIED: dict[str, Any] = {"status": {"code": 7}}


class AuthzServer:
    """`asked`: the questions as JSON, with the call's metadata under `call`. Connections without a
    request are answered by `answer`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer = OK
        self._server = grpc.server(ThreadPoolExecutor(2))
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=auth.CheckRequest.FromString,
            response_serializer=auth.CheckResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(CHECK, {"Check": check})
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None)

    def _check(self, request: auth.CheckRequest, context: Any) -> auth.CheckResponse:
        asked: dict[str, Any] = MessageToDict(request)
        asked["call"] = {
            key: value for key, value in context.invocation_metadata() if key != "user-agent"
        }
        self.asked.append(asked)
        headers = request.attributes.request.http.headers
        plan = json.loads(headers["x-answer"]) if "x-answer" in headers else self.answer
        if "abort" in plan:
            context.abort(grpc.StatusCode[plan["abort"]], "as told")
        return ParseDict(plan, auth.CheckResponse())
