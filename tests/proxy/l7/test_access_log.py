"""An access logger: the configured format, one line per stream."""

from __future__ import annotations

from random import Random

import pytest

from proxy.config.model import AccessLog
from proxy.http.format_string import FormatError
from proxy.l7.access_log import AccessLogger
from proxy.runtime import RuntimeValues
from tests.support.streams import LoggedStream


class Lines:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


def logged(config: AccessLog, *streams: LoggedStream) -> list[bytes]:
    sink = Lines()
    log = AccessLogger(config, sink, Random(1), RuntimeValues())
    for stream in streams:
        log(stream)
    return sink.lines


def test_text() -> None:
    config = AccessLog("/log", text_format="%RESPONSE_CODE%\n")
    assert logged(config, LoggedStream(), LoggedStream(status=404)) == [b"200\n", b"404\n"]


def test_json() -> None:
    config = AccessLog("/log", json_format={"code": "%RESPONSE_CODE%"})
    assert logged(config, LoggedStream()) == [b'{"code":200}\n']


def test_without_a_format_it_is_envoys() -> None:
    (line,) = logged(AccessLog("/log"), LoggedStream())
    assert line.endswith(b'"GET /items?q=1 HTTP/1.1" 200 - 0 5 250 - "-" "-" "-" "shop.test" '
                         b'"10.0.0.3:9000"\n')  # fmt: skip


def test_a_bad_format_is_refused_when_it_is_made() -> None:
    with pytest.raises(FormatError, match="%FOO%"):
        AccessLogger(AccessLog("/log", text_format="%FOO%"), Lines(), Random(1), RuntimeValues())
