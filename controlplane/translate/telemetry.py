"""Telemetry and the MeshConfig -> what the proxies of which workloads log.

As in Istio: whatever Telemetry of a workload names providers last says to which logs go; the
entries of all its levels then turn these on and off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from controlplane.inventory import Snapshot
from controlplane.kinds.log_providers import FileAccessLog
from controlplane.kinds.mesh_config import MeshConfig, MeshConfigMap
from controlplane.kinds.telemetry import AccessLogging, Telemetry
from controlplane.mesh.position import Position
from controlplane.mesh.scopes import Scope
from controlplane.mesh.telemetry import (
    ALWAYS,
    STDOUT,
    AccessLog,
    Encoding,
    Logs,
    LogTest,
    ScopedLogs,
)
from controlplane.translate import log_filters
from controlplane.translate.index import age
from controlplane.translate.log_formats import json_fault, text_fault
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import Levels
from protos.frozen import frozen

KINDS = (MeshConfigMap, Telemetry)
"""What of a snapshot decides."""

Mode = Literal["CLIENT", "SERVER"]
BUILT_IN = "envoy"
"""A provider that everybody has (Istio)."""

_OF_MESH = ""
"""What the MeshConfig itself says (accessLogFile), by the name of a provider."""


def build(snapshot: Snapshot, report: Report) -> tuple[ScopedLogs, ...]:
    """The first whose scope takes a workload holds for it; without one Istio's log of everything.
    Empty where nobody says anything."""
    settings = next(iter(snapshot.of(MeshConfigMap)), None)
    providers = _Providers.of(settings, report)
    levels = Levels()
    for item in sorted(snapshot.of(Telemetry), key=age):
        if item.spec.access_logging:
            levels.add(item, report)
    made = [
        ScopedLogs(scope, _merged(_entries(items), providers, report))
        for scope, items in levels.all()
    ]
    if made and made[-1].scope == Scope():
        return tuple(made)
    default = _merged((), providers, report)
    return tuple(made) if default == Logs() and not made else (*made, ScopedLogs(Scope(), default))


_Entry = tuple[Telemetry, AccessLogging]


# --------------------------------------------------------------------------- merging


def _entries(items: Iterable[Telemetry]) -> tuple[_Entry, ...]:
    return tuple((item, one) for item in items for one in item.spec.access_logging)


def _merged(entries: tuple[_Entry, ...], providers: _Providers, report: Report) -> Logs:
    return Logs(
        _of_mode("CLIENT", entries, providers, report),
        _of_mode("SERVER", entries, providers, report),
    )


def _of_mode(
    mode: Mode, entries: tuple[_Entry, ...], providers: _Providers, report: Report
) -> tuple[AccessLog, ...]:
    """An entry without providers is about those of the entry before it."""
    ours = [(item, one) for item, one in entries if one.match.mode in (mode, "CLIENT_AND_SERVER")]
    in_force = _in_force(ours, providers.default)
    wanted: dict[str, LogTest] = {} if ours else dict.fromkeys(providers.default, ALWAYS)
    named = providers.default
    for item, entry in ours:
        named = tuple(one.name for one in entry.providers) or named
        for name in named:
            if name not in in_force:
                continue
            if entry.disabled:
                wanted.pop(name, None)
            elif entry.filter is not None or entry.providers or name not in wanted:
                wanted[name] = _test(item, entry, report)
    for item, entry in ours:
        providers.tell(item, entry, report)
    found = ((providers.log(name), test) for name, test in wanted.items())
    return tuple(replace(log, wanted=test) for log, test in found if log is not None)


def _in_force(entries: Iterable[_Entry], default: tuple[str, ...]) -> frozenset[str]:
    """The providers of the last Telemetry that names any."""
    found: dict[str, set[str]] = {}
    for item, entry in entries:
        if entry.providers:
            found.setdefault(str(item.key), set()).update(one.name for one in entry.providers)
    return frozenset(list(found.values())[-1] if found else default)


def _test(item: Telemetry, entry: AccessLogging, report: Report) -> LogTest:
    """A filter that can't be had takes everything: better a log too long than none."""
    if entry.filter is None:
        return ALWAYS
    try:
        return log_filters.parse(entry.filter.expression)
    except log_filters.NoFilter as error:
        message = f"filter.expression {error}; everything is logged"
        report.error(item, entry.filter.at("expression"), "NotSupported", message)
        return ALWAYS


# --------------------------------------------------------------------------- providers


@frozen
class _Providers:
    """logs: by the name of a provider, None for one that has no access log of ours."""

    default: tuple[str, ...]
    logs: Mapping[str, AccessLog | None]

    @classmethod
    def of(cls, settings: MeshConfigMap | None, report: Report) -> _Providers:
        if settings is None:
            return cls((_OF_MESH,), {_OF_MESH: AccessLog(), BUILT_IN: AccessLog()})
        config = settings.data.mesh
        logs: dict[str, AccessLog | None] = {BUILT_IN: AccessLog()}
        for one in config.extension_providers:
            found = one.envoy_file_access_log
            logs[one.name] = _of_file(settings, found, report) if found is not None else None
        logs[_OF_MESH] = _of_mesh(settings, config, report)
        chosen = config.default_providers
        default = chosen.access_logging if chosen is not None else ()
        for name in default:
            if logs.get(name) is None and chosen is not None:
                message = f"defaultProviders.accessLogging: {_why_not(name, logs)}"
                report.error(settings, chosen.at("accessLogging"), "UnknownProvider", message)
        return cls(default or (_OF_MESH,), logs)

    def log(self, name: str) -> AccessLog | None:
        return self.logs.get(name)

    def tell(self, item: Telemetry, entry: AccessLogging, report: Report) -> None:
        for one in entry.providers:
            if self.logs.get(one.name) is None:
                report.error(item, one.position, "UnknownProvider", _why_not(one.name, self.logs))


def _why_not(name: str, logs: Mapping[str, AccessLog | None]) -> str:
    if name in logs:
        return f"the provider {name!r} is no envoyFileAccessLog, and nothing is logged by it"
    known = ", ".join(sorted(one for one in logs if one))
    return f"the MeshConfig has no extensionProvider {name!r} (it has {known})"


def _of_mesh(settings: MeshConfigMap, config: MeshConfig, report: Report) -> AccessLog | None:
    """An empty file is none, as in Istio; nothing said is standard output, as in its profiles."""
    path = config.access_log_file
    if path == "":
        return None
    log = AccessLog(path or STDOUT, config.access_log_encoding, config.access_log_format)
    return _sound(log, partial(_refuse, settings, config.at("accessLogFormat"), report))


def _of_file(settings: MeshConfigMap, found: FileAccessLog, report: Report) -> AccessLog:
    given = found.log_format
    encoding: Encoding = "TEXT"
    text = given.text if given is not None else ""
    if given is not None and given.labels is not None:
        encoding, text = "JSON", given.labels if given.labels != "{}" else ""
    log = AccessLog(found.path, encoding, text, found.omit_empty_values)
    return _sound(log, partial(_refuse, settings, found.at("logFormat"), report))


def _refuse(settings: MeshConfigMap, position: Position, report: Report, fault: str) -> None:
    message = f"the log's format: {fault}; Istio's is written instead"
    report.error(settings, position, "InvalidFormat", message)


def _sound(log: AccessLog, refuse: Callable[[str], None]) -> AccessLog:
    if not log.format:
        return log
    fault = json_fault(log.format) if log.encoding == "JSON" else text_fault(log.format)
    if not fault:
        return log
    refuse(fault)
    return replace(log, format="")
