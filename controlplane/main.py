"""The control plane as a process: the only place that knows every room.

It starts in an order in which each failure is one clear line: state, configuration, ports. It
says that it serves by writing `controlplane.json` into the state directory, and takes it away at
the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import uvloop

from certs.errors import CertificateError
from certs.files import write_public
from certs.passphrase import read_passphrase
from certs.store import StoredAuthority, make_state_directory, open_store
from controlplane.addresses import address_of, check_free, reachable
from controlplane.ca.authority_files import adopt
from controlplane.ca.foreign_issuer import ForeignIssuer, ForeignOptions
from controlplane.ca.kubernetes import open_service_accounts
from controlplane.errors import StartError
from controlplane.inventory import Inventory
from controlplane.options import ControlPlaneOptions as ControlPlaneOptions  # for the command line
from controlplane.plane import Plane
from controlplane.replicas import Replicas
from controlplane.rotation.roster import Roster
from controlplane.sources.files import FileSource, SourceError
from controlplane.sources.store.etcd.store import EtcdStore
from controlplane.sources.store.former import FORMER_FILE, migrate
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.room import away, make_store
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.sources.store.values import StoreAway, StoreError
from controlplane.standing import Standing
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane")

SERVING_FILE = "controlplane.json"
LOCK_FILE = "controlplane.lock"
LAST_GOOD_FILE = "last-good-policies.json"
REFRESH_S = 60.0
"""How often certificates that are served by SDS are looked at for renewal, or that often within
a life, if it is a short one."""
REFRESH_SHARE = 10

ROSTER_EVERY_S = 1.0
"""How often it is written down who is connected, if that has changed."""

ROOTS_EVERY_S = 1.0
"""How often the file of a foreign issuer's roots is looked at."""

EXPIRE_S = 10.0
"""How long after a crash objects stay that were applied before it and not again."""

GARBAGE_THRESHOLDS = (2_000, 4, 2_500)
"""Of CPython's collector of cycles, which are rare here. What is young is looked through in one
turn of the loop, a millisecond for a thousand objects: of a thousand new connections there are
200,000."""

INTERRUPTED = 130
STARTING = "one that starts"
"""Instead of an address."""


def run(options: ControlPlaneOptions) -> int:
    """Serves until SIGTERM (exit code 0) or SIGINT (130); 1 if it cannot start."""
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _take_descriptors()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(options))
    except (StartError, SourceError, CertificateError) as error:
        _say(f"weft: error: {error}")
        return 1
    except KeyboardInterrupt:  # before the signal handlers stand
        return INTERRUPTED


async def _main(options: ControlPlaneOptions) -> int:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, INTERRUPTED)):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stopped, code)
    async with AsyncExitStack() as stack:
        starting = asyncio.get_running_loop().create_task(_serve(options, stack, stopped))
        either: set[asyncio.Future[Any]] = {starting, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # it may wait for others, and need not any more
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
        else:
            starting.result()
        return await stopped


def _take_descriptors() -> None:
    """All that the process may have: mostly 1,024 are given, and a mesh has more workloads."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # the kernel allows none that are without bound
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _spare_what_stays() -> None:
    """Looking for cycles through the whole mesh would hold the loop for half a second at times."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def _stop(stopped: asyncio.Future[int], code: int) -> None:
    if not stopped.done():
        stopped.set_result(code)


async def _serve(
    options: ControlPlaneOptions, stack: AsyncExitStack, stopped: asyncio.Future[int]
) -> None:
    """Starts everything, unless it is stopped before; `stack` stops it again, last things first."""
    gc.disable()  # what is read now stays
    inventory = Inventory()
    files = _files(options, inventory, lambda: plane.pipeline.changed())
    place = options.state_passphrase_file
    passphrase = read_passphrase(place, os.environ) if place else None
    make_state_directory(options.state_dir)
    _own_state(options.state_dir, stack)
    said: Callable[[str], None] = _store_is_awaited
    store = _store(options, passphrase, lambda why: said(why))
    stack.push_async_callback(store.close)
    make = partial(_authority, options, passphrase)
    replicas = await _replicas(store, options.state_dir, passphrase, make)
    stored = make(options.state_dir)
    accounts = await open_service_accounts(options.kubernetes, options.trust_domain, stack)
    foreign = _foreign_issuer(options, stack)
    what = (stored, store, replicas, inventory, accounts, foreign, _say, passphrase)
    plane = Plane(options, *what)
    said = partial(_store_is_away, plane, store.place)
    await store.open()
    if replicas is not None:
        await replicas.take_over()
    await migrate(options.state_dir / FORMER_FILE, plane.mirror, store.place)
    stack.callback(plane.pipeline.close)
    standing = Standing()
    if files is not None:
        standing.doubts = files.doubts
    pages = _open_admin(options, stack)
    if options.source is not None:  # listing may take long
        await _serve_admin(pages, plane, standing, stack)
    if not await _kubernetes(options, plane, inventory, standing, stack, stopped):
        return
    plane.pipeline.rebuild()
    if replicas is not None and plane.together is not None:
        await replicas.announce(STARTING)  # before proxies come, so that a rotation waits for them
        stack.callback(spawn(plane.together.run(), "proxies of this replica").cancel)
    ports = await plane.start_grpc(stack)
    bundle_port = await plane.start_bundle(stack)
    for name, work in _works(options, plane, files, foreign).items():
        stack.callback(spawn(work, name).cancel)
    if replicas is not None:
        await replicas.announce(address_of(reachable(options.host), ports[0]))
    _announce_serving(options, (*ports, pages.getsockname()[1]), bundle_port, stack)
    stack.push_async_callback(_forget, plane.mirror)
    plane.conductor.resume()
    if options.source is None:
        await _serve_admin(pages, plane, standing, stack)
    _spare_what_stays()
    standing.serving = True


def _works(
    options: ControlPlaneOptions,
    plane: Plane,
    files: FileSource | None,
    foreign: ForeignIssuer | None,
) -> dict[str, Coroutine[Any, Any, None]]:
    """What goes on for as long as it serves, by the names of the tasks."""
    works = {
        "refresh": _refresh(plane),
        "expire": _expire(plane),
        "roster": _keep_roster(plane.roster),
        "federation": plane.federation.run(),
        "openid": plane.discovery.run(),
        "doctor": _look_after(plane),
        "preparation": _prepare(plane),
    }
    if files is not None:
        works["files"] = files.run()
    if options.ca_files is not None:
        works["authority files"] = plane.authority_files(options.ca_files).run()
    if foreign is not None:
        works["foreign roots"] = _follow_roots(foreign, plane)
    return works


def _store(
    options: ControlPlaneOptions, passphrase: bytes | None, told: Callable[[str], None]
) -> SqliteStore | EtcdStore:
    """Not opened yet."""
    store = make_store(options.stored, options.state_dir, os.environ, told)
    if store.shared and not passphrase:
        raise StoreError(
            f"the store {store.place} needs --state-passphrase-file: what replicas share of the "
            "authority, and keys that are applied, leave this machine sealed with it"
        )
    return store


def _authority(
    options: ControlPlaneOptions, passphrase: bytes | None, folder: Path
) -> StoredAuthority:
    """That of a state directory, made if it has none."""
    if options.ca_files is not None:
        adopt(options.ca_files, folder, options.trust_domain, time.time(), passphrase)
    return open_store(folder, options.trust_domain, time.time(), passphrase)


async def _replicas(
    store: SqliteStore | EtcdStore,
    state_dir: Path,
    passphrase: bytes | None,
    make: Callable[[Path], StoredAuthority],
) -> Replicas | None:
    """If there may be some, with what they have in common in the state directory."""
    if not isinstance(store, EtcdStore) or passphrase is None:
        return None
    replicas = Replicas(store, state_dir, passphrase)
    await replicas.settle(make)
    return replicas


def _files(
    options: ControlPlaneOptions, inventory: Inventory, on_change: Callable[[], None]
) -> FileSource | None:
    """Those of --config, read."""
    if options.config is None:
        if not options.kubernetes_source and not options.store:
            what = "a directory with --config, or --kubernetes, or a --store"
            raise StartError(f"nothing to serve: name {what}")
        return None
    last_good = options.state_dir / LAST_GOOD_FILE
    files = FileSource(options.config, inventory, on_change, last_good=last_good)
    files.load()
    return files


async def _kubernetes(
    options: ControlPlaneOptions,
    plane: Plane,
    inventory: Inventory,
    standing: Standing,
    stack: AsyncExitStack,
    stopped: asyncio.Future[int],
) -> bool:
    """Waits until everything was listed there, if it is a source. False: stopped before."""
    if options.source is None:
        return True
    from controlplane.sources.kubernetes.room import open_kubernetes  # and a client of HTTP

    gc.enable()  # this may take long
    changed, registry = plane.pipeline.changed, plane.metrics.registry
    room = await open_kubernetes(options.source, inventory, changed, _say, registry, stack)
    standing.troubles = lambda: room.source.troubles
    plane.pipeline.on_conditions = lambda found: room.tell(found, plane.pipeline.statuses)
    waiting = spawn(room.source.ready(), "waiting for Kubernetes")
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return not stopped.done()


def _own_state(state_dir: Path, stack: AsyncExitStack) -> None:
    """Two would overwrite each other's join tokens. The lock ends with the process, however."""
    path = state_dir / LOCK_FILE
    try:
        lock = stack.enter_context(path.open("ab"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what = f"another control plane uses the state directory {state_dir}"
        raise StartError(f"{what}: stop it, or give this one its own with --state-dir") from None
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None


def _foreign_issuer(options: ControlPlaneOptions, stack: AsyncExitStack) -> ForeignIssuer | None:
    if not options.issuer_address:
        return None
    if options.issuer_root is None:
        raise StartError("--issuer-address needs --issuer-root: the roots of what it issues")
    if options.allow_sds_keys:
        raise StartError(
            "--allow-sds-keys and --issuer-address exclude each other: a foreign issuer certifies "
            "workloads that prove themselves, and no key that was made here"
        )
    where = ForeignOptions(options.issuer_address, options.issuer_root, options.issuer_server_name)
    issuer = ForeignIssuer(where)
    stack.push_async_callback(issuer.close)
    return issuer


async def _follow_roots(foreign: ForeignIssuer, plane: Plane) -> None:
    while True:
        await asyncio.sleep(ROOTS_EVERY_S)
        if await foreign.refresh():
            plane.authority.trust_also(foreign.bundle)
            plane.ads.publish()


async def _refresh(plane: Plane) -> None:
    """Secrets change with time and not with configuration: look again and again."""
    while True:
        await asyncio.sleep(min(REFRESH_S, plane.options.certificate_ttl_s / REFRESH_SHARE))
        plane.ads.publish()


async def _look_after(plane: Plane) -> None:
    while True:
        await plane.doctor.look()
        plane.reports.forget_absent()
        await asyncio.sleep(min(REFRESH_S, plane.options.certificate_ttl_s / REFRESH_SHARE))


async def _prepare(plane: Plane) -> None:
    """Between others' turns."""
    for _ in plane.pipeline.prepare():
        await asyncio.sleep(0)


async def _keep_roster(roster: Roster) -> None:
    while True:
        await asyncio.sleep(ROSTER_EVERY_S)
        everybody = roster.snapshot()
        if everybody is not None:
            await asyncio.to_thread(roster.save, everybody)


async def _expire(plane: Plane) -> None:
    """What the store can't do now is done at the next start."""
    await asyncio.sleep(EXPIRE_S)
    try:
        await plane.mirror.expire()
    except StoreAway as error:
        log.warning("what a crash has left stays: %s", error.reason)


def _store_is_awaited(why: str) -> None:
    _say(f"weft: waiting for the store: {why}" if why else "weft: the store is there")


def _store_is_away(plane: Plane, place: str, why: str) -> None:
    plane.memory.say(f"Store {place}", *([away(place, why)] if why else []))


async def _forget(mirror: Mirror) -> None:
    try:
        await mirror.forget()
    except StoreAway as error:
        log.warning("registered workloads stay in the store: %s", error.reason)


def _open_admin(options: ControlPlaneOptions, stack: AsyncExitStack) -> socket.socket:
    """On the loopback interface whatever --host says: the pages ask for no credentials. Who calls
    before they are served waits."""
    check_free("127.0.0.1", options.admin_port, "admin-port")
    listening = socket.create_server(("127.0.0.1", options.admin_port))
    stack.callback(listening.close)
    return listening


async def _serve_admin(
    listening: socket.socket, plane: Plane, standing: Standing, stack: AsyncExitStack
) -> None:
    """The server of HTTP is imported beside those who are served already: it takes longer than all
    else that is left."""
    pages = await asyncio.to_thread(import_module, "controlplane.admin")
    rooms = standing, plane.registry, plane.metrics, plane.connections
    await pages.serve(pages.Admin(*rooms), listening, stack)


def _announce_serving(
    options: ControlPlaneOptions,
    ports: tuple[int, int, int],
    bundle_port: int | None,
    stack: AsyncExitStack,
) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    addresses = {
        "address": address_of(host, ports[0]),
        "mtls_address": address_of(host, ports[1]),
        "admin_address": address_of("127.0.0.1", ports[2]),
    }
    if bundle_port is not None:
        addresses["bundle_address"] = address_of(host, bundle_port)
    path = options.state_dir / SERVING_FILE
    try:
        write_public(path, json.dumps({"pid": os.getpid(), **addresses}).encode() + b"\n")
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from None
    stack.callback(_withdraw, path)
    named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in addresses.items())
    places = [str(options.config)] if options.config is not None else []
    places += ["Kubernetes"] if options.kubernetes_source else []
    places += [options.store] if options.store else []
    _say(f"weft: control plane serves {' and '.join(places)}: {named}")


def _withdraw(path: Path) -> None:
    """Takes the file away unless another process has written its own meanwhile."""
    try:
        if json.loads(path.read_bytes())["pid"] == os.getpid():
            path.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        pass  # gone or not ours: nothing to take away


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
