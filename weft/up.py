"""`weft up`: runs the mesh of a directory until it is told to stop, and says how it goes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from weft import check
from weft.errors import UserError
from weft.mesh import FOREVER, LaptopMesh, MeshOptions
from weft.report import PlainReporter, Reporter
from weft.tasks import spawn
from weft.watch import View, Watch

READY_TIMEOUT_S = 90.0
SAY_AGAIN_EVERY_S = 10.0
FOLLOW_EVERY_S = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Result = TypeVar("Result")


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came while something was awaited."""


def up(options: MeshOptions) -> int:
    """Runs until Ctrl-C or SIGTERM; exit code 0. On a terminal with a live status."""
    if not sys.stdout.isatty():
        return asyncio.run(_up(options, PlainReporter(), _show_nothing))
    from weft import live  # rich is not needed, and not loaded, without a terminal

    with live.terminal() as reporter:
        return asyncio.run(_up(options, reporter, reporter.show))


def check_all(options: MeshOptions) -> int:
    """Starts, asks every entry point, stops; exit code 0 if all of them answered and nothing is
    wrong with the configuration."""
    return asyncio.run(_check(options, PlainReporter()))


def _show_nothing(view: View) -> None:
    """Without a terminal there are only lines of events."""


async def _up(options: MeshOptions, reporter: Reporter, show: Callable[[View], None]) -> int:
    with stop_signals() as stop:
        mesh = LaptopMesh(options, reporter)
        try:
            await until(stop, mesh.start())
            announcing = spawn(_announce(mesh), "announcement")
            watching = spawn(Watch(mesh, reporter).run(show), "live status")
            following = spawn(_follow(mesh), "directory")
            await stop.wait()
            for task in (announcing, watching, following):
                task.cancel()
            await asyncio.wait([announcing, watching, following])
        except Interrupted:
            pass
        finally:
            await _stop(mesh)
    return 0


async def _check(options: MeshOptions, reporter: Reporter) -> int:
    with stop_signals() as stop:
        mesh = LaptopMesh(options, reporter)
        try:
            await until(stop, mesh.start())
            await until(stop, _until_ready(mesh, READY_TIMEOUT_S))
            return await until(stop, _ask_all(mesh))
        except Interrupted:
            return 130
        finally:
            await _stop(mesh)


async def _stop(mesh: LaptopMesh) -> None:
    """Says so only if there is something to stop. One more signal kills what is slow."""
    if mesh.started:
        mesh.reporter.note("stopping")
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, mesh.kill)
    await mesh.stop()


async def _ask_all(mesh: LaptopMesh) -> int:
    entries = mesh.entry_points()
    if not entries:
        raise UserError("no HTTP Service to ask: name a Service port http")
    findings = [await check.ask(mesh, entry) for entry in entries]
    for finding in findings:
        print(finding, flush=True)
    wrong = [one for one in (await mesh.facts()).objects if one.severity == "error"]
    for one in wrong:
        print(f"FAIL {one}", flush=True)
    return 0 if all(finding.good for finding in findings) and not wrong else 1


async def _until_ready(mesh: LaptopMesh, timeout_s: float) -> None:
    """Like mesh.until_ready, with a word about what is still missing every ten seconds."""
    talking = spawn(_say_what_is_missing(mesh), "progress")
    try:
        await mesh.until_ready(timeout_s)
    finally:
        talking.cancel()
    mesh.reporter.note("all ready")


async def _say_what_is_missing(mesh: LaptopMesh) -> None:
    while True:
        await asyncio.sleep(SAY_AGAIN_EVERY_S)
        if missing := await mesh.waiting_for():
            mesh.reporter.note(f"waiting for {', '.join(missing)}")


async def _follow(mesh: LaptopMesh) -> None:
    while True:
        await asyncio.sleep(FOLLOW_EVERY_S)
        await mesh.follow_directory()


async def _announce(mesh: LaptopMesh) -> None:
    """Names the URLs as soon as they answer; however long that takes."""
    try:
        await _until_ready(mesh, FOREVER)
    except UserError as error:
        mesh.reporter.warn(str(error))
    for entry in mesh.entry_points():
        mesh.reporter.note(f"{entry.service}: {entry.url}")


async def until(stop: asyncio.Event, work: Awaitable[Result]) -> Result:
    """The result of `work`; Interrupted, and `work` cancelled, when `stop` is set before."""
    task = asyncio.ensure_future(work)  # noqa: TID251  awaited right here
    stopping = spawn(stop.wait(), "stop")
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    raise Interrupted


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that the first of the STOP_SIGNALS sets."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
