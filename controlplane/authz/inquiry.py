"""What is asked: who wants to do what to whom, as far as a policy may want to know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import quote, unquote

from controlplane.mesh.policy import Normalization
from protos.frozen import frozen

_UNRESERVED = re.compile(
    r"%(4[1-9a-fA-F]|5[0-9aA]|6[1-9a-fA-F]|7[0-9aA]|3[0-9]|2[dDeE]|5[fF]|7[eE])"
)
_DOTS_WITH_PARAMETERS = re.compile(r"(/\.\.?);[^/]*")
_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""What stands in a normalized path as it is, beside letters, digits and "-._"."""
_ESCAPED_SLASHES = re.compile(r"%(2[fF]|5[cC])")


@frozen
class Inquiry:
    """One request, or (http False) one connection.

    identity: the peer's SPIFFE URI, '' without mutual TLS. ports: every number of the workload's
    port by which a policy may know it. headers: names in lower case. claims: the payload of a
    token that was found valid, None without one. metadata: what other filters left, by filter."""

    identity: str = ""
    source_ip: str = ""
    remote_ip: str = ""
    destination_ip: str = ""
    ports: tuple[int, ...] = ()
    sni: str = ""
    http: bool = True
    host: str = ""
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Any] | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    normalization: Normalization = "BASE"

    @property
    def bare_path(self) -> str:
        """Without query and fragment, and normalized as the proxies do (RFC 3986, 6)."""
        path = re.split("[?#]", self.path, maxsplit=1)[0]
        if self.normalization == "NONE":
            return path
        if self.normalization == "DECODE_AND_MERGE_SLASHES":
            path = _ESCAPED_SLASHES.sub(lambda found: unquote(found.group()), path)
        clean = normalized(path)
        return clean if self.normalization == "BASE" else re.sub("/{2,}", "/", clean)


def normalized(path: str) -> str:
    """Dot segments removed, with parameters or without (RFC 3986, 3.3), '\\' as '/', unreserved
    characters unescaped, those that no path has escaped."""
    bare = _DOTS_WITH_PARAMETERS.sub(r"\1", path).replace("\\", "/")
    plain = _UNRESERVED.sub(lambda found: unquote(found.group()), bare)
    kept: list[str] = []
    segments = plain.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return quote("/".join(kept), safe=_SAFE) or "/"
