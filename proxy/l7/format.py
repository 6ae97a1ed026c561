"""Envoy's format strings, compiled once: for access log lines, JSON lines and header values.

A compiled format is a template and one closure per operator. What a peer chose can't forge a line:
in text, control characters, quotes and backslashes become `\\xNN` (nginx's rule; Envoy leaves the
quotes), in JSON they are JSON's, and in a header value control characters become spaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from proxy.http.format_string import FormatError, Literal, Operator, parse
from proxy.l7.getters import Getter, Style, Value
from proxy.l7.json_omitting import json_omitting
from proxy.l7.operators import (
    HARMLESS,
    UNQUOTED,
    constant_value,
    getter,
    is_missing,
)

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""Envoy's, for an access log without a format."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _escape(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02X}", text)


def _spaces(text: str) -> str:
    """RFC 9110 section 5.5: control characters have no place in a field value."""
    return text if text.isprintable() else _CONTROL.sub(" ", text)


def _escape_bytes(value: bytes) -> str:
    """Bytes that are not UTF-8 stay what they are: `_encoded` turns them back."""
    text = value.decode("utf-8", "surrogateescape")
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _escape(text)


def _spaces_bytes(value: bytes) -> str:
    return _spaces(value.decode("utf-8", "surrogateescape"))


def _readable(value: bytes) -> str:
    """JSON is UTF-8: bytes that are not are read as Latin-1, as Envoy does."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _json_bytes(value: bytes) -> str:
    try:
        return encode_basestring(value.decode())
    except UnicodeDecodeError:
        return encode_basestring(_readable(value))


def _unchanged(text: str) -> str:
    return text


TEXT = Style("-", _escape, _escape_bytes)
TEXT_OMITTING = Style("", _escape, _escape_bytes)
BODY = Style("-", _unchanged, lambda value: value.decode("utf-8", "surrogateescape"))
HEADER = Style("", _spaces, _spaces_bytes)
JSON_VALUE = Style("null", encode_basestring, _json_bytes, structured=True)
"""Its getters give JSON, but for those of `UNQUOTED`."""
JSON_TEXT = Style("-", _unchanged, _readable)
JSON_OMITTING = Style("", _unchanged, _readable)


def compile_format(text: str, omits_empty: bool = False) -> Callable[[Logged], bytes]:
    """A line of an access log; '-' stands for what is missing, or nothing if it omits_empty.
    Raises FormatError."""
    return _encoded(*_template(text, TEXT_OMITTING if omits_empty else TEXT))


def compile_body_text(text: str) -> Callable[[Logged], bytes]:
    """A body: nothing in it is made harmless, '-' is what is missing. Raises FormatError."""
    return _encoded(*_template(text, BODY))


def compile_header_value(text: str) -> Callable[[Logged], bytes]:
    """A header's value; what is missing is nothing, as Envoy has it. Raises FormatError."""
    return _encoded(*_template(_spaces(text), HEADER))


def constant(text: str) -> bytes | None:
    """The header value of a format that is the same for all streams, else None."""
    template, getters = _template(_spaces(text), HEADER)
    return None if getters else (template % ()).encode("utf-8", "surrogateescape")


def compile_json(fields: Mapping[str, Any], omits_empty: bool = False) -> Callable[[Logged], bytes]:
    """A line with a JSON object whose strings are formats. A string that is one operator has the
    operator's type: a number, or null when missing (omits_empty: then it is left out). Keys are
    sorted, as Envoy's are."""
    if omits_empty:
        write = json_omitting(fields, _json_getter)
        return lambda stream: (_object(write(stream)) + "\n").encode("utf-8", "surrogateescape")
    getters: list[Getter] = []
    template = _json_template(dict(fields), getters)
    return _encoded(template + "\n", getters)


def _object(text: str) -> str:
    return "{}" if text == "null" else text


def _json_getter(text: str) -> str | Getter:
    """A string of a JSON format as JSON: fixed, or by stream."""
    getters: list[Getter] = []
    template = _json_string(text, getters, JSON_OMITTING)
    return getters[0] if getters else template % ()


def _encoded(template: str, getters: list[Getter]) -> Callable[[Logged], bytes]:
    def line(stream: Logged) -> bytes:
        text = template % tuple([get(stream) for get in getters])
        return text.encode("utf-8", "surrogateescape")

    return line


def _template(text: str, style: Style) -> tuple[str, list[Getter]]:
    """A `%` template of strings, and what fills its slots."""
    template = ""
    getters: list[Getter] = []
    for part in parse(text):
        fixed = part.text if isinstance(part, Literal) else _fixed(part, style)
        if fixed is not None:
            template += fixed.replace("%", "%%")
        elif isinstance(part, Operator):
            template += "%s"
            getters.append(getter(part, style))
    return template, getters


def _fixed(operator: Operator, style: Style) -> str | None:
    value = constant_value(operator)
    return None if value is None else style.clean(value)


# ---------------------------------------------------------------------------- JSON


def _json_template(value: object, getters: list[Getter]) -> str:
    if isinstance(value, Mapping):
        members = [
            f"{_quoted(name)}:{_json_template(value[name], getters)}" for name in sorted(value)
        ]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_json_template(each, getters) for each in value]) + "]"
    if isinstance(value, str):
        return _json_string(value, getters)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    return encode_basestring(text).replace("%", "%%")


def _json_string(text: str, getters: list[Getter], style: Style = JSON_TEXT) -> str:
    parts = parse(text)
    if len(parts) == 1 and isinstance(only := parts[0], Operator):
        value = constant_value(only)
        if value is not None:
            return _quoted(value)
        if is_missing(only) and style is JSON_TEXT:
            return "null"
        get = getter(only, JSON_VALUE)
        if only.name in HARMLESS and not only.arg and style is JSON_TEXT:
            getters.append(get)
            return '"%s"'
        getters.append(_quoting(get) if only.name in UNQUOTED else get)
        return "%s"
    template, inner = _template(text, style)
    if not inner:
        return _quoted(template % ())
    getters.append(
        lambda stream: encode_basestring(template % tuple([get(stream) for get in inner]))
    )
    return "%s"


def _quoting(get: Getter) -> Getter:
    """For a getter that gives plain text, or a number."""

    def quoted(stream: Logged) -> Value:
        value = get(stream)
        return encode_basestring(value) if isinstance(value, str) else value

    return quoted


__all__ = [
    "DEFAULT_FORMAT",
    "FormatError",
    "compile_body_text",
    "compile_format",
    "compile_header_value",
    "compile_json",
    "constant",
]
