"""Calls the greeter by its name in the mesh: `python caller.py [COUNT]`."""

from __future__ import annotations

import sys

import grpc
import grpc.experimental


def main() -> None:
    fallback = grpc.experimental.insecure_channel_credentials()
    credentials = grpc.xds_channel_credentials(fallback)
    with grpc.secure_channel("xds:///greeter:50051", credentials) as channel:
        greet = channel.unary_unary("/example.Greeter/Greet")
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            print(greet(b"world", timeout=30, wait_for_ready=True).decode(), flush=True)


main()
