"""The pages about the process itself: ready, server_info, memory, logging, and what changes it."""

from __future__ import annotations

import logging as python_logging
import os

from proxy.admin.reply import Query, Reply, bad_request, json_reply
from proxy.admin.view import AdminView

OK = "OK\n"

# Envoy's words; Python has no level below debug.
_LEVELS = {
    "trace": python_logging.DEBUG,
    "debug": python_logging.DEBUG,
    "info": python_logging.INFO,
    "warning": python_logging.WARNING,
    "error": python_logging.ERROR,
    "critical": python_logging.CRITICAL,
    "off": python_logging.CRITICAL + 10,
}
_ROOT = "weft"


def ready(view: AdminView, query: Query) -> Reply:
    state = view.state()
    return Reply(state + "\n", 200 if state == "LIVE" else 503)


def server_info(view: AdminView, query: Query) -> Reply:
    from importlib import metadata  # which takes longer than all that is here

    uptime = f"{int(view.uptime_s())}s"
    node = view.node
    return json_reply(
        {
            "version": f"weft/{metadata.version('weft')}",
            "state": view.state(),
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": "disabled",
            "command_line_options": view.options,
            "node": {
                "id": node.id,
                "cluster": node.cluster,
                "metadata": node.metadata,
                "locality": dict(zip(("region", "zone", "sub_zone"), node.locality, strict=True)),
            },
        }
    )


def memory(view: AdminView, query: Query) -> Reply:
    """From /proc/self/statm: heap_size is data and stack, total_physical_bytes the resident set."""
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared, _, _, data, _ = (int(word) for word in file.read().split())
    page = os.sysconf("SC_PAGE_SIZE")
    return json_reply(
        {
            "allocated": str((resident - shared) * page),
            "heap_size": str(data * page),
            "total_physical_bytes": str(resident * page),
        }
    )


def logging(view: AdminView, query: Query) -> Reply:
    """?level= of everything, ?paths=name:level,name:level"""
    wanted = dict(part.partition(":")[::2] for part in query.get("paths", "").split(",") if part)
    if "level" in query:
        wanted[_ROOT] = query["level"]
    for name, level in wanted.items():
        if level not in _LEVELS:
            return bad_request(f"error: unknown logger level\nlevels: {' '.join(_LEVELS)}")
        if name != _ROOT and name not in _loggers():
            return bad_request(f"error: unknown logger {name}")
    for name, level in wanted.items():
        python_logging.getLogger(name).setLevel(_LEVELS[level])
    lines = [
        f"  {name}: {python_logging.getLevelName(logger.getEffectiveLevel()).lower()}\n"
        for name, logger in sorted(_loggers().items())
    ]
    return Reply("active loggers:\n" + "".join(lines))


def _loggers() -> dict[str, python_logging.Logger]:
    known = python_logging.root.manager.loggerDict
    names = [_ROOT, *(name for name in known if name.startswith(_ROOT + "."))]
    return {name: python_logging.getLogger(name) for name in names}


# --------------------------------------------------------------------------- changes, POST only


def healthcheck_fail(view: AdminView, query: Query) -> Reply:
    view.fail_health_check(True)
    return Reply(OK)


def healthcheck_ok(view: AdminView, query: Query) -> Reply:
    view.fail_health_check(False)
    return Reply(OK)


def reset_counters(view: AdminView, query: Query) -> Reply:
    for counter in view.stats.counters.values():
        counter.value = 0
    for samples in view.stats.labelled.counters.values():
        for sample in samples.values():
            sample.value = 0
    return Reply(OK)


def drain_listeners(view: AdminView, query: Query) -> Reply:
    """?graceful, ?inboundonly"""
    if "skip_exit" in query:
        return bad_request("skip_exit: not supported")
    view.drain_listeners("inboundonly" in query, "graceful" in query)
    return Reply(OK)


def quitquitquit(view: AdminView, query: Query) -> Reply:
    return Reply(OK, after=view.quit)
