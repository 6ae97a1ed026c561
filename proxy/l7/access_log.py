"""The access log of a connection manager: one line per stream, at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.model import AccessLog
from proxy.l7.format import DEFAULT_FORMAT, compile_format, compile_json
from proxy.l7.log_writer import LineSink

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


class AccessLogger:
    """Called with each stream at its end. Raises FormatError when made from a format that can't be
    compiled."""

    __slots__ = ("_line", "_write")

    def __init__(self, config: AccessLog, writer: LineSink) -> None:
        if config.json_format is not None:
            self._line = compile_json(config.json_format)
        else:
            self._line = compile_format(config.text_format or DEFAULT_FORMAT)
        self._write = writer.write

    def __call__(self, stream: Stream) -> None:
        self._write(self._line(stream))
