"""weft.v1.Doctor over grpc.aio: proxies report what they hold, the administrator asks how all is.

It decodes, bounds what strangers say, and encodes; what is judged is decided behind it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import NoReturn, cast

import grpc
import grpc.aio

from controlplane.api.encode import timestamp
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.caller import Unauthenticated
from controlplane.doctor.findings import Finding, Life
from controlplane.doctor.reports import MAX_CERTIFICATES, Held, HeldKind, Report, Reports
from controlplane.doctor.watch import SLICE, Watch
from controlplane.foreign import printable
from controlplane.rpc.context import Context
from controlplane.rpc.methods import Registry
from protos.gen.weft.v1 import doctor_pb2 as pb
from protos.gen.weft.v1 import doctor_pb2_grpc

MAX_TEXT = 512
MAX_USERS = 32
END_OF_TIME_S = 253_402_300_800
"""RFC 5280, 4.1.2.5: years have four digits."""
_KINDS = ("identity", "certificate", "trust")


class DoctorService(doctor_pb2_grpc.DoctorServicer):
    """Add it to a server with `register_doctor`."""

    def __init__(
        self,
        authenticator: Authenticator,
        reports: Reports,
        watch: Watch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authenticator = authenticator
        self._reports = reports
        self._watch = watch
        self._clock = clock

    async def Report(self, request: pb.ProxyReport, context: Context) -> pb.ReportReceived:
        now = self._clock()
        caller = await self._authenticator.authenticate(context, now)
        if isinstance(caller, Unauthenticated):
            return await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, caller.reason)
        if caller.identity is None or caller.how != "svid":
            reason = "a proxy reports over mutual TLS, with its own certificate"
            return await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason)
        if (fault := _fault(request)) is not None:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, fault)
        if why_not := self._reports.take(request.node_id, caller.identity, _report(request, now)):
            return await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, why_not)
        return pb.ReportReceived(received_at=timestamp(now))

    async def Examine(self, request: pb.ExamineRequest, context: Context) -> pb.Examination:
        caller = await self._authenticator.authenticate(context, self._clock())
        if isinstance(caller, Unauthenticated):
            return await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, caller.reason)
        if not caller.admin:
            reason = "the doctor is for the administrator's token (admin.token)"
            return await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason)
        at = await self._watch.look()
        answer = pb.Examination(at=timestamp(at))
        findings = self._watch.findings
        for begin in range(0, len(findings), SLICE):
            answer.findings.extend(map(_finding, findings[begin : begin + SLICE]))
            await asyncio.sleep(0)
        return answer


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)


def _fault(request: pb.ProxyReport) -> str | None:
    """What is wrong with a report as such."""
    if not request.HasField("sent_at"):
        return "sent_at is not set"
    if len(request.certificates) > MAX_CERTIFICATES:
        return f"{len(request.certificates)} certificates: at most {MAX_CERTIFICATES} are taken"
    unknown = {one.kind for one in request.certificates}.difference(_KINDS)
    if unknown:
        return f"certificates.kind: {_text(min(unknown))!r} is none of {', '.join(_KINDS)}"
    times = [request.sent_at]
    for one in request.certificates:
        times += (one.not_before, one.not_after)
    if not all(0 <= time.seconds < END_OF_TIME_S and 0 <= time.nanos < 10**9 for time in times):
        return "a time is not between the years 1970 and 9999"
    return None


def _report(request: pb.ProxyReport, now: float) -> Report:
    ahead_s = request.sent_at.ToMicroseconds() / 1e6 - now
    return Report(now, ahead_s, tuple(_held(one) for one in request.certificates))


def _held(one: pb.HeldCertificate) -> Held:
    life = Life(float(one.not_before.seconds), float(one.not_after.seconds))
    return Held(
        kind=cast(HeldKind, one.kind),
        secret=_text(one.secret),
        source=_text(one.source),
        serial=_text(one.serial),
        sha256=_text(one.sha256),
        issuer=_text(one.issuer),
        name=_text(one.name),
        life=life,
        used_by=tuple(_text(user) for user in one.used_by[:MAX_USERS]),
    )


def _text(said: str) -> str:
    """Ten thousand proxies say the same issuer: kept once."""
    return sys.intern(printable(said, MAX_TEXT))


def _finding(one: Finding) -> pb.Finding:
    result = pb.Finding(
        severity=one.severity.name.lower(),
        kind=one.kind,
        where=one.where,
        text=one.text,
        used_by=one.used_by,
        breaks=one.breaks,
        serial=one.serial,
        identity=one.identity,
        issuer=one.issuer,
        clock_ahead_s=one.clock_ahead_s,
    )
    if one.life is not None:
        result.not_before.CopyFrom(timestamp(one.life.not_before))
        result.not_after.CopyFrom(timestamp(one.life.not_after))
    return result


def register_doctor(service: DoctorService, server: Registry) -> None:
    # Generated code has no types.
    doctor_pb2_grpc.add_DoctorServicer_to_server(service, server)  # type: ignore[no-untyped-call]
