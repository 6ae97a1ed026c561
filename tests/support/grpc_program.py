"""A program that uses gRPC's own xDS, for tests: it does what lines on its input say.

    {"call": "xds:///name:port", "metadata": [["k", "v"]], "count": 10}   calls, one after another
    {"watch": ["xds:///name:port"]}                channels in place of the last watched ones
    {"serve": "127.0.0.1:9000", "as": "v1"}        a server whose certificates and rules come by xDS

Each answer is one line of JSON. It is told of its control plane by GRPC_XDS_BOOTSTRAP. `call`
answers [["OK", "text"], ["UNAVAILABLE", "why"] ...]; the text is what the server says of itself and
of its caller: "v1 from spiffe://...".
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.experimental

METHOD = "/weft.test.Echo/Say"
DEADLINE_S = 60.0


class Program:
    def __init__(self) -> None:
        # Has no types.
        fallback = grpc.experimental.insecure_channel_credentials()  # type: ignore[no-untyped-call]
        self._credentials = grpc.xds_channel_credentials(fallback)
        self._channels: dict[str, grpc.Channel] = {}
        self._watched: list[grpc.Channel] = []
        self._servers: list[grpc.Server] = []

    def _channel(self, target: str) -> grpc.Channel:
        if target not in self._channels:
            # Each has connections of its own, as processes would.
            options = (("grpc.use_local_subchannel_pool", 1),)
            self._channels[target] = grpc.secure_channel(target, self._credentials, options)
        return self._channels[target]

    def call(self, order: dict[str, Any]) -> object:
        call = self._channel(order["call"]).unary_unary(order.get("method", METHOD), bytes, bytes)
        metadata = tuple((name, value) for name, value in order.get("metadata", ()))
        found = []
        for _ in range(order.get("count", 1)):
            try:
                text = call(b"", metadata=metadata, timeout=order.get("timeout", DEADLINE_S))
                found.append(("OK", text.decode()))
            except grpc.RpcError as error:
                found.append((error.code().name, error.details()))
        return found

    def watch(self, order: dict[str, Any]) -> object:
        former = self._watched
        self._watched = [grpc.secure_channel(name, self._credentials) for name in order["watch"]]
        for channel in self._watched:
            channel.subscribe(lambda state: None, try_to_connect=True)
        for channel in former:  # only now: without any the client would leave its control plane
            channel.close()
        return "ok"

    def serve(self, order: dict[str, Any]) -> object:
        server = grpc.server(ThreadPoolExecutor(2), xds=True)
        server.add_generic_rpc_handlers((echo(order["as"]),))
        fallback = grpc.insecure_server_credentials()
        server.add_secure_port(order["serve"], grpc.xds_server_credentials(fallback))
        server.start()
        self._servers.append(server)
        return "ok"

    def run(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            verb = next(verb for verb in ("call", "watch", "serve") if verb in order)
            answer = getattr(self, verb)(order)
            print(json.dumps(answer), flush=True)


def echo(name: str, *, failing: bool = False) -> grpc.GenericRpcHandler[bytes, bytes]:
    """Says who it is and who calls. failing: it says that it is not available."""

    def say(request: bytes, context: grpc.ServicerContext) -> bytes:
        if failing:
            context.abort(grpc.StatusCode.UNAVAILABLE, name)
        (peer, *_) = context.auth_context().get("peer_spiffe_id", [b"nobody"])
        return f"{name} from {bytes(peer).decode()}".encode()

    handler = grpc.unary_unary_rpc_method_handler(say)
    _, service, method = METHOD.split("/")
    return grpc.method_handlers_generic_handler(service, {method: handler})


if __name__ == "__main__":
    Program().run()
