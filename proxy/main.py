"""`weft proxy`: one process, one loop, all rooms put together. The only place that knows every room.

Start order: bootstrap, last good configuration (if there is a state directory), admin, then the
control plane. Every mistake that a user can make ends as one line and exit code 1.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvloop

from proxy.compile.runtime import Runtime
from proxy.config import bootstrap as bootstraps
from proxy.config.model import Bootstrap
from proxy.config.positions import BadConfig
from proxy.config.snapshot import Snapshot
from proxy.l7.worker import Worker
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.stats import Stats
from proxy.tls.contexts import TlsConfigError
from proxy.upstream.connect import open_connection

log = logging.getLogger("weft")


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """What the command line says. ca_address: where certificates are asked for ('' for none)."""

    bootstrap: Path
    state_dir: Path | None = None
    ca_address: str = ""
    ca_root: Path | None = None
    join_token_file: Path | None = None
    log_level: str = "info"


class StartError(Exception):
    """The proxy can't start; the text is one line for the user."""


def run(options: ProxyOptions) -> int:
    """Serves until SIGTERM or SIGINT. Exit code 0, or 1 after one line on stderr."""
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        config = bootstraps.load(options.bootstrap)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Proxy(config, options).serve())
    except (StartError, BadConfig, TlsConfigError, OSError) as error:
        print(f"weft: error: {error}", file=sys.stderr)
        return 1
    return 0


class Proxy:
    """The running whole."""

    def __init__(self, config: Bootstrap, options: ProxyOptions) -> None:
        self._config = config
        self._options = options
        self._stats = Stats()
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        worker = Worker(Random())
        worker.start()
        self._runtime = Runtime(worker, self._stats, open_connection, self._make_logger)
        self._listeners = Listeners(loop, self._stats)
        self._apply_static()
        _settle_collector()
        await self._stopped.wait()
        self._listeners.close()

    def _make_logger(self, config):
        raise StartError("no logs")

    def _apply_static(self) -> None:
        config = self._config
        snapshot = Snapshot(
            listeners={one.name: one for one in config.listeners},
            clusters={one.name: one for one in config.clusters},
            secrets={one.name: one for one in config.secrets},
        )
        errors = self._apply(snapshot)
        if errors:
            raise StartError(next(iter(errors.values())))

    def _apply(self, snapshot: Snapshot) -> dict[str, str]:
        self._runtime.apply(snapshot)
        return self._listeners.apply(
            {
                name: ListenerRuntime(one.config, one.chains, one.default)
                for name, one in self._runtime.listeners.items()
            }
        )


def _settle_collector() -> None:
    """What is alive now stays: the collector need not look at it again, nor run often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
