"""A real etcd, of one member, as Debian has it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Self

import grpc
import pytest
from google.protobuf.message import Message

from protos.gen.etcd import rpc_pb2 as pb
from tests.support.ports import free_port
from tests.support.wait import eventually

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".peers" / "etcd" / "bin" / "etcd"


def require_etcd() -> None:
    """Skips the test with a notice when etcd is not there; fails it where CI is set."""
    if BINARY.exists():
        return
    message = f"no etcd at {BINARY.relative_to(ROOT)}: `make setup` fetches it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Etcd:
    """`with Etcd(directory) as etcd:`; may be stopped and started again on the same data."""

    def __init__(self, directory: Path, *options: str, ca: bytes | None = None) -> None:
        """options: for TLS with `ca`, PEM."""
        require_etcd()
        self._directory = directory
        self._ca = ca
        self._log = directory / "etcd.log"
        self.port = free_port()
        scheme = "http" if ca is None else "https"
        mine, peers = f"{scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self._command = [str(BINARY), "--data-dir", str(directory / "data"), "--name", "one"]
        self._command += ["--listen-client-urls", mine, "--advertise-client-urls", mine]
        self._command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        self._command += ["--initial-cluster", f"one={peers}", "--unsafe-no-fsync", *options]
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            eventually(self._answers, 60.0, "etcd serves")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self._child is not None:
            self._child.send_signal(sig)
            self._child.wait(30)
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, method: str, request: Message, answer: type[Message]) -> Message:
        """A call of etcdserverpb, such as KV/Range, of somebody without a user."""
        with self._channel() as channel:
            call = channel.unary_unary(
                f"/etcdserverpb.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
            found: Message = call(request, timeout=20)
            return found

    def values(self, prefix: str) -> dict[str, bytes]:
        asked = pb.RangeRequest(key=prefix.encode(), range_end=prefix.encode() + b"\xff")
        found = self.call("KV/Range", asked, pb.RangeResponse)
        assert isinstance(found, pb.RangeResponse)
        return {pair.key.decode(): pair.value for pair in found.kvs}

    def compact(self) -> None:
        """Forgets all revisions but the last one."""
        found = self.call("KV/Range", pb.RangeRequest(key=b"x"), pb.RangeResponse)
        assert isinstance(found, pb.RangeResponse)
        # CompactionRequest{revision = 1}: a message of the same form.
        self.call("KV/Compact", pb.LeaseRevokeRequest(ID=found.header.revision), pb.TxnResponse)

    def _channel(self) -> grpc.Channel:
        if self._ca is None:
            return grpc.insecure_channel(self.endpoint)
        return grpc.secure_channel(self.endpoint, grpc.ssl_channel_credentials(self._ca))

    def _answers(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self._log.read_text()
        try:
            self.call("KV/Range", pb.RangeRequest(key=b"x"), pb.RangeResponse)
        except grpc.RpcError as error:
            # With users, strangers are told so.
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True
