"""Loads configurations as the proxy does at start, without serving: decoded, and then compiled."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random

from proxy.compile.runtime import Runtime
from proxy.config import bootstrap
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import Bootstrap
from proxy.config.positions import BadConfig
from proxy.config.rejected import Rejected
from proxy.l7.logged import Logged
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.xds.store import Store
from tests.conformance.suite import Result


def refusal(path: Path) -> str:
    """Why this bootstrap can't be put in force; '' when it can."""
    try:
        config = bootstrap.load(path)
        problems = list(_compiled(config).values())
    except (BadConfig, Rejected) as error:
        return str(error)
    return problems[0] if problems else ""


def judged(name: str, envoy_accepts: bool, found: str) -> Result:
    """Equal verdicts pass; a refusal of what Envoy accepts passes when it names what Weft lacks."""
    if UNSUPPORTED in found:
        return Result(name, lacks=_what(found))
    if envoy_accepts == (not found):
        return Result(name)
    return Result(name, f"Envoy accepts it, Weft says {found}" if found else "Envoy refuses it")


def crashed(name: str, error: BaseException) -> Result:
    return Result(name, f"{type(error).__name__}: {error}")


def _what(found: str) -> str:
    """`a.b[3].c: X is not supported` without the position and the numbers."""
    words = re.sub(r"\[\d+\]", "[]", found)
    return re.sub(r"^.*?:\d+:\d+: ", "", words)


def _compiled(config: Bootstrap) -> Mapping[str, str]:
    """A line for each cluster and listener that can't be put in force."""
    snapshot = Store(config, frozenset(), 0.0).snapshot()

    async def apply() -> Mapping[str, str]:
        """In a loop, whose tasks (of DNS) are cancelled before they have begun."""
        stats = Stats()
        runtime = Runtime(Worker(Random(0), stats), stats, lambda pool: None, lambda log: _ignore)
        problems = runtime.apply(snapshot)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return problems

    logging.disable(logging.ERROR)
    try:
        return asyncio.run(apply())
    finally:
        logging.disable(logging.NOTSET)


def _ignore(stream: Logged) -> None:
    """An access log that writes nothing."""
