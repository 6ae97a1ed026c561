"""What `weft ca rotate` and `weft ca revoke` do while a control plane runs: ask it, and say it.

The new authority was staged on disk, so no key travels. All that is printed is for people.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from protos.gen.weft.v1 import authority_pb2 as pb
from protos.gen.weft.v1 import authority_pb2_grpc
from weft.admin_channel import admin_channel
from weft.errors import UserError
from weft.state import StateDir

Say = Callable[[str], None]
CALL_TIMEOUT_S = 30.0
MAX_NAMED = 20
"""So many proxies are named in one message; of others only the number."""

_WAITING = {
    "trust": "waiting until every proxy trusts the new root",
    "certificates": "waiting until every proxy has a certificate of the new authority",
    "distrust": "waiting until every proxy has dropped the old root",
}
_PHASES = {
    "steady": "no rotation is under way",
    "staged": "a new authority is staged; nobody trusts it yet",
    "prepared": "both authorities are trusted, the old one signs",
    "issuing": "both authorities are trusted, the new one signs",
}
_UNITS = {"done": "ready", "skipped": "not waited for"}


def rotate_online(
    state_dir: Path,
    target: str,
    *,
    rehearse: bool = False,
    without: Sequence[str] = (),
    follow: bool = True,
    say: Say = print,
) -> int:
    """Has the control plane go to the staged authority `target`, and tells how it goes on. The
    exit code: 0 when it is over (or, with follow=False, under way), 1 for a failed rehearsal.

    Ctrl-C ends only the telling."""
    if rehearse:
        return _run(_rehearse(state_dir, target, say))
    return _run(_rotate(state_dir, target, without, follow, say))


def abort_online(state_dir: Path, target: str, *, say: Say = print) -> int:
    """Gives the rotation to `target` up."""
    return _run(_abort(state_dir, target, say))


def status_online(state_dir: Path, *, say: Say = print) -> int:
    """Says where the rotation is and who holds it up."""
    return _run(_status(state_dir, say))


def revoke_online(
    state_dir: Path, what: str, reason: str = "", *, restore: bool = False, say: Say = print
) -> int:
    """Revokes a serial number or an identity, or takes that back."""
    return _run(_revoke(state_dir, what, reason, restore, say))


def relist_online(state_dir: Path, lists_pem: bytes, *, say: Say = print) -> int:
    """Has revocation lists take the place of those that came with the authority."""
    return _run(_relist(state_dir, lists_pem, say))


def revocations_online(state_dir: Path, *, say: Say = print) -> int:
    """Lists what is revoked."""
    return _run(_list(state_dir, say))


# ----------------------------------------------------------------------------- the calls


async def _rotate(
    state_dir: Path, target: str, without: Sequence[str], follow: bool, say: Say
) -> int:
    told = ""
    try:
        async with _stub(state_dir) as stub:
            request = pb.RotateRequest(target=target, without=without)
            async for rotation in stub.Rotate(request):
                told = _tell(rotation, told, say)
                if not follow:
                    return 0
    except UserError as error:
        if not told:
            raise
        raise UserError(
            f"{error}; the rotation goes on without it where other control planes serve, or when "
            "it serves again: weft ca rotate --status"
        ) from error
    say(f"done: {target} signs, and no other authority is trusted")
    return 0


async def _rehearse(state_dir: Path, target: str, say: Say) -> int:
    async with _stub(state_dir) as stub:
        request = pb.RehearseRequest(target=target)
        found = (await stub.Rehearse(request, timeout=CALL_TIMEOUT_S)).proxies
    failed = [one for one in found if one.state != "done"]
    good = f"{len(found) - len(failed)} of {len(found)} proxies"
    say(f"{good} verify the new chain, and are verified by it")
    _name(failed, say)
    if failed:
        say("nothing was changed; a rotation would wait for these")
    return 1 if failed else 0


async def _abort(state_dir: Path, target: str, say: Say) -> int:
    async with _stub(state_dir) as stub:
        request = pb.AbortRotationRequest(target=target)
        _tell(await stub.AbortRotation(request, timeout=CALL_TIMEOUT_S), "", say)
    return 0


async def _status(state_dir: Path, say: Say) -> int:
    async with _stub(state_dir) as stub:
        rotation = await stub.GetRotation(pb.GetRotationRequest(), timeout=CALL_TIMEOUT_S)
    _tell(rotation, "", say)
    return 0


async def _revoke(state_dir: Path, what: str, reason: str, restore: bool, say: Say) -> int:
    async with _stub(state_dir) as stub:
        request = pb.RevokeRequest(what=what, reason=reason, restore=restore)
        await stub.Revoke(request, timeout=CALL_TIMEOUT_S)
    say(f"{what} is not revoked any more" if restore else f"{what} is revoked")
    return 0


async def _relist(state_dir: Path, lists_pem: bytes, say: Say) -> int:
    async with _stub(state_dir) as stub:
        await stub.Revoke(pb.RevokeRequest(lists=lists_pem), timeout=CALL_TIMEOUT_S)
    say("these lists are in force; weft ca show says what they name")
    return 0


async def _list(state_dir: Path, say: Say) -> int:
    async with _stub(state_dir) as stub:
        answer = await stub.GetRevocations(pb.GetRevocationsRequest(), timeout=CALL_TIMEOUT_S)
    for one in answer.revocations:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.at.seconds))
        say(f"{one.what}  {at}  {one.reason}")
    if not answer.revocations:
        say("nothing is revoked")
    return 0


@asynccontextmanager
async def _stub(state_dir: Path) -> AsyncIterator[Any]:
    async with admin_channel(StateDir(state_dir)) as channel:
        yield authority_pb2_grpc.AuthorityStub(channel)  # type: ignore[no-untyped-call]


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        sys.stderr.write("\nit goes on without you; see: weft ca rotate --status\n")
        return 130


# ----------------------------------------------------------------------------- for people


def _tell(rotation: pb.Rotation, told: str, say: Say) -> str:
    """Says what is new; answers what was said, so that it is not said again."""
    proxies = rotation.proxies
    lines = []
    if rotation.waiting_for:
        ready = sum(one.state in _UNITS for one in proxies)
        what = _WAITING.get(rotation.waiting_for, rotation.waiting_for)
        lines.append(f"{rotation.phase}: {what}: {ready} of {len(proxies)}")
    else:
        lines.append(f"{rotation.phase}: {_PHASES.get(rotation.phase, '')}")
    if rotation.problem:
        lines.append(f"  does not go on: {rotation.problem}")
    _name([one for one in proxies if one.state in ("away", "refused")], lines.append)
    if not any(one.state in ("away", "refused") for one in proxies):
        _name([one for one in proxies if one.state == "waiting"][:3], lines.append)
    text = "\n".join(lines)
    if text != told:
        say(text)
    return text


def _name(proxies: Iterable[pb.ProxyProgress], say: Say) -> None:
    every = list(proxies)
    for one in every[:MAX_NAMED]:
        who = f"{one.node_id} ({one.identity})" if one.identity else one.node_id
        say(f"  {one.state}: {who}: {one.detail}")
    if len(every) > MAX_NAMED:
        say(f"  and {len(every) - MAX_NAMED} more")
