"""The access log of a connection manager: one line per stream, at its end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from proxy.config.model import AccessLog
from proxy.l7.format import DEFAULT_FORMAT, compile_format, compile_json
from proxy.l7.log_filter import Wants, compile_log_filter
from proxy.l7.log_writer import LineSink
from proxy.runtime import RuntimeValues

if TYPE_CHECKING:
    from proxy.l7.logged import Logged


class AccessLogger:
    """Called with each stream at its end. Raises FormatError when made from a format that can't be
    compiled."""

    __slots__ = ("_line", "_wants", "_write")

    def __init__(
        self, config: AccessLog, writer: LineSink, random: Random, runtime: RuntimeValues
    ) -> None:
        if config.json_format is not None:
            self._line = compile_json(config.json_format, config.omits_empty)
        else:
            self._line = compile_format(config.text_format or DEFAULT_FORMAT, config.omits_empty)
        self._wants: Wants | None = None
        if config.wants is not None:
            self._wants = compile_log_filter(config.wants, random, runtime)
        self._write = writer.write

    def __call__(self, stream: Logged) -> None:
        if self._wants is None or self._wants(stream):
            self._write(self._line(stream))
