"""A channel to the running control plane of a state directory, as its administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from weft.bootstrap import CONTROL_PLANE_NAME
from weft.errors import UserError
from weft.state import StateDir


@asynccontextmanager
async def admin_channel(
    state: StateDir, *, answer_bytes: int | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Verified by the state directory's roots, with the admin token in each call. answer_bytes: how
    long an answer may be, where gRPC's 4 MiB are too few. UserError for whatever the control plane
    refuses, and where there is none."""
    addresses = state.control_plane()
    if addresses is None:
        raise UserError(f"no control plane serves {state.path}: start it, or see --state-dir")
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(state.root_certificate.read_bytes()),
        grpc.access_token_call_credentials(state.admin_token),
    )
    options: list[tuple[str, str | int]] = [("grpc.ssl_target_name_override", CONTROL_PLANE_NAME)]
    if answer_bytes is not None:
        options.append(("grpc.max_receive_message_length", answer_bytes))
    try:
        async with grpc.aio.secure_channel(addresses.address, credentials, options) as channel:
            yield channel
    except grpc.aio.AioRpcError as error:
        raise UserError(f"the control plane says: {error.details()}") from error
