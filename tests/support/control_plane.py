"""`weft controlplane` as a child process, and its clients: admin pages and management API."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from protos.gen.weft.v1 import management_pb2 as pb
from tests.support.wait import eventually

SERVER_NAME = "weft-controlplane.weft-system.svc"
COMMAND = [sys.executable, "-c", "from weft.cli import main; main()", "controlplane"]
STOP_DEADLINE_S = 20.0


class ControlPlane:
    """`with ControlPlane(config, state) as plane:` serves until the block ends.

    keep_channel: stop the process while our calls are still open. command: what begins it."""

    def __init__(
        self, config: Path, state: Path, *options: str, command: Sequence[str] = COMMAND
    ) -> None:
        self.config = config
        self.state = state
        self.log_path = state.parent / f"{state.name}.log"
        self._command = [*command, "--config", str(config), "--state-dir", str(state)]
        ports = ["--port", "0", "--mtls-port", "0", "--admin-port", "0"]
        self._command += [*ports, "--log-level", "info", *options]
        self.keep_channel = False
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    @property
    def serving(self) -> dict[str, Any]:
        """controlplane.json; empty while there is none."""
        path = self.state / "controlplane.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return result

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    @property
    def port(self) -> int:
        return int(self.serving["address"].rpartition(":")[2])

    @property
    def root_pem(self) -> bytes:
        return (self.state / "root.pem").read_bytes()

    def cpu_s(self) -> float:
        """What the process has used of the processors so far."""
        assert self._child is not None, "not started"
        words = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def start(self) -> Self:
        return self.launch().wait()

    def launch(self) -> Self:
        """Begins; `wait` for it, or `stop` it."""
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def wait(self) -> Self:
        """Until it serves."""
        try:
            eventually(lambda: self._is_serving(), 120.0, f"control plane serves: {self.log}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code; killed if it does not end in time."""
        assert self._child is not None, "not started"
        if self._channel is not None and not self.keep_channel:
            self._channel.close()
            self._channel = None
        if self._child.poll() is None:
            self._child.send_signal(sig)
        try:
            return self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait(STOP_DEADLINE_S)

    def _is_serving(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, f"it ended: {self.log}"
        return self.serving.get("pid") == self._child.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ clients

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of an admin page."""
        host, _, port = self.serving["admin_address"].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.page("/status")[1])
        return result

    def channel(self) -> grpc.Channel:
        if self._channel is None:
            credentials = grpc.ssl_channel_credentials(self.root_pem)
            options = (("grpc.ssl_target_name_override", SERVER_NAME),)
            self._channel = grpc.secure_channel(self.serving["address"], credentials, options)
        return self._channel

    def call(self, method: str, request: Message, answer: type[Any], token: str = "") -> Any:
        """A call of weft.v1.Management with the administrator's token, or another one."""
        token = token or (self.state / "admin.token").read_text().strip()
        call = self.channel().unary_unary(
            f"/weft.v1.Management/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),)
        return call(request, metadata=metadata, timeout=20)

    def join_token(self, service_account: str, namespace: str = "default") -> str:
        """One that may be used for discovery streams, again and again."""
        request = pb.CreateJoinTokenRequest(
            namespace=namespace, service_account=service_account, reusable=True
        )
        token: str = self.call("CreateJoinToken", request, pb.JoinToken).token
        return token
