"""The grammar of RFC 9110 and 9112 as regular expressions, and what they cost nothing to refuse.

Strict where leniency lets two parsers disagree about where a message ends: no bare CR or LF, no
folding (obs-fold), no space before a colon, no control characters in a value.
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# field-value: HTAB, SP, VCHAR and obs-text (RFC 9110 section 5.5); what may stand in a whole head.
LEGAL = bytes(c for c in range(256) if c == 0x09 or (c >= 0x20 and c != 0x7F))
VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"

REQUEST_LINE = rb"(" + TOKEN + rb") ([^\x00-\x20\x7f-\xff]++) HTTP/1\.([01])\r\n"
STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n"
FIELDS = rb"((?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+)\r\n"

# A request line of a version that we do not speak, or of none (HTTP/0.9).
alien_version_match = re.compile(
    TOKEN + rb" [^\x00-\x20\x7f-\xff]++(?! HTTP/1\.[01]\r)(?: HTTP/[0-9](?:\.[0-9]++)?+)?+\r\n"
).match
request_line_match = re.compile(REQUEST_LINE).match
request_match = re.compile(REQUEST_LINE + FIELDS).match
status_match = re.compile(STATUS_LINE + FIELDS).match
fields_match = re.compile(FIELDS).fullmatch
# chunk-size [ chunk-ext ] (RFC 9112 section 7.1); an extension is read over.
chunk_match = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;" + VALUE + rb")?+").fullmatch
# uri-host [ ":" port ] (RFC 3986 section 3.2): no userinfo, no delimiters of other parts.
authority_match = re.compile(
    rb"(?:\[[0-9A-Fa-f:.%v]++\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*+)(?::[0-9]*+)?+"
).fullmatch
absolute_match = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*+)://([^/?#]*+)([/?][^#]*+)?+").fullmatch


def split_fields(block: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Names as spelled and values without surrounding white space, of lines known to be valid."""
    names: list[bytes] = []
    values: list[bytes] = []
    for line in block.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            names.append(name)
            values.append(value.strip(b" \t"))
    return tuple(names), tuple(values)
