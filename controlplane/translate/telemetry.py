"""Telemetry and the MeshConfig -> what the proxies of which workloads log.

As in Istio: whatever Telemetry of a workload names providers last says to which logs go; the
entries of all its levels then turn these on and off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from controlplane.inventory import Snapshot
from controlplane.kinds.log_providers import FileAccessLog
from controlplane.kinds.mesh_config import ExtensionProvider, MeshConfig, MeshConfigMap
from controlplane.kinds.telemetry import AccessLogging, Direction, Telemetry
from controlplane.mesh.position import Position
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
from controlplane.translate.log_formats import json_fault, text_fault
from controlplane.translate.log_services import LogProvider
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import levels, saying, scoped, settings_of
from controlplane.translate.telemetry_providers import Providers
from protos.frozen import frozen

BUILT_IN = "envoy"
"""A provider that everybody has (Istio)."""

_OF_MESH = ""
"""What the MeshConfig itself says (accessLogFile), by the name of a provider."""


def build(
    snapshot: Snapshot, told: tuple[LogProvider, ...], report: Report
) -> tuple[ScopedLogs, ...]:
    """Where none of them is for a workload, Istio's log of everything is written. told: the
    providers that are services."""
    settings = settings_of(snapshot)
    targets = _Targets.of(settings, told, report)
    items = saying(snapshot, lambda spec: spec.access_logging)
    for item in items:
        for entry in item.spec.access_logging:
            targets.providers.tell(item, entry.providers, report)
    merged = partial(_merged, targets, report)
    return scoped(levels(items, report), merged, Logs(), ScopedLogs)


_Entry = tuple[Telemetry, AccessLogging]


# --------------------------------------------------------------------------- merging


def _merged(targets: _Targets, report: Report, items: Iterable[Telemetry]) -> Logs:
    entries = tuple((item, one) for item in items for one in item.spec.access_logging)
    return Logs(
        _of_direction("CLIENT", entries, targets, report),
        _of_direction("SERVER", entries, targets, report),
    )


def _of_direction(
    direction: Direction, entries: Iterable[_Entry], targets: _Targets, report: Report
) -> tuple[AccessLog, ...]:
    """An entry without providers is about those of the entry before it."""
    ours = [(item, one) for item, one in entries if one.match.takes(direction)]
    in_force = _in_force(ours, targets.default)
    wanted: dict[str, LogTest] = {} if ours else dict.fromkeys(targets.default, ALWAYS)
    named = targets.default
    for item, entry in ours:
        named = tuple(one.name for one in entry.providers) or named
        for name in named:
            if name not in in_force:
                continue
            if entry.disabled:
                wanted.pop(name, None)
            elif entry.filter is not None or entry.providers or name not in wanted:
                wanted[name] = _test(item, entry, report)
    found = ((targets.logs.get(name), test) for name, test in wanted.items())
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
class _Targets:
    """logs: by the name of a provider, None for what is not written. default: their names where no
    Telemetry says which."""

    default: tuple[str, ...]
    logs: Mapping[str, AccessLog | None]
    providers: Providers

    @classmethod
    def of(
        cls, settings: MeshConfigMap | None, told: tuple[LogProvider, ...], report: Report
    ) -> _Targets:
        fault = partial(_fault, {one.name: one.fault for one in told})
        providers = Providers.of(settings, BUILT_IN, fault, "nothing is logged by it")
        if settings is None:
            return cls((_OF_MESH,), {_OF_MESH: AccessLog(), BUILT_IN: AccessLog()}, providers)
        config = settings.data.mesh
        logs: dict[str, AccessLog | None] = {BUILT_IN: AccessLog()}
        for one in config.extension_providers:
            found = one.envoy_file_access_log
            logs[one.name] = _of_file(settings, found, report) if found is not None else None
        for each in told:
            if each.service is not None:
                logs[each.name] = AccessLog("", service=each.service)
        logs[_OF_MESH] = _of_mesh(settings, config, report)
        chosen = config.default_providers
        default = chosen.access_logging if chosen is not None else ()
        providers.tell_defaults(settings, "accessLogging", default, report)
        return cls(default or (_OF_MESH,), logs, providers)


def _fault(told: Mapping[str, str], provider: ExtensionProvider) -> str:
    """told: of the services, what is wrong with them."""
    if provider.name in told:
        return told[provider.name]
    if provider.envoy_file_access_log is not None:
        return ""
    return "is none of envoyFileAccessLog, envoyHttpAls, envoyTcpAls and envoyOtelAls"


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
