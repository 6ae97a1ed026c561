"""An applied object as a store keeps it: the text that was written, and where it stood.

Keys (of kind Secret) are kept only if there is a box to seal them in.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

from certs.errors import CertificateError
from certs.sealed_box import SealedBox
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.yaml_nodes import compose_all
from controlplane.sources.manifests import flow, objects_in
from protos.frozen import frozen

PREFIX = "objects/"
SEALED_KINDS = frozenset({"Secret"})
_FORMAT = 1
MAX_LINE = 1 << 31
_NOT_BY_LINES = re.compile(r"^%|\r(?!\n)|[\x85\u2028\u2029]", re.MULTILINE)
"""Directives (YAML 1.2, 6.8), which hold for what follows, and further line ends of YAML 1.1."""


class RecordError(ValueError):
    """A value that is no record, or one that can't be opened; the message says why."""


@frozen
class Record:
    """text: YAML of one object, which begins in the line `line` (from 1) of `source`, and is to be
    parsed with it as the first line. transient: it ends with who has registered it."""

    key: ObjectKey
    text: str
    line: int
    source: str
    transient: bool = False


def records_of(manifest: str, source: str, *, transient: bool) -> Iterator[Record]:
    """Each object of a text that parses. Verbatim, where it is a document of its own."""
    lines = manifest.split("\n")
    documents = list(compose_all(manifest))
    plain = not _NOT_BY_LINES.search(manifest)
    ends = [document.line - 1 for document in documents[1:]] + [len(lines)]
    for document, end in zip(documents, ends, strict=True):
        found = list(objects_in(document))
        whole = plain and document.column == 1 and [node for _, node in found] == [document]
        for key, node in found:
            text = "\n".join(_document(lines[node.line - 1 : end])) if whole else flow(node)
            yield Record(key, text, node.line, source, transient)


def _document(lines: list[str]) -> Iterator[str]:
    """Until the document ends (YAML 1.2, 9.1.4)."""
    for line in lines:
        if line.startswith(("---", "...")):
            return
        yield line


def name_of(key: ObjectKey) -> str:
    """Where a store has it."""
    return PREFIX + "/".join(quote(part, safe="") for part in key)


def key_of(name: str) -> ObjectKey | None:
    """The inverse of `name_of`; None: it is no such name."""
    parts = name.removeprefix(PREFIX).split("/")
    return ObjectKey(*map(unquote, parts)) if len(parts) == 3 else None


def is_kept(key: ObjectKey, box: SealedBox | None) -> bool:
    return box is not None or key.kind not in SEALED_KINDS


def encode(record: Record, box: SealedBox | None) -> bytes:
    """As JSON. The text of a key is sealed: call it only for what `is_kept`."""
    value = {"format": _FORMAT, "key": record.key, "line": record.line, "source": record.source}
    if record.transient:
        value["transient"] = True
    if record.key.kind in SEALED_KINDS:
        assert box is not None  # asked before
        sealed = box.seal(record.text.encode(), name_of(record.key).encode())
        value["sealed"] = base64.b64encode(sealed).decode()
    else:
        value["text"] = record.text
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(name: str, value: bytes, box: SealedBox | None) -> Record:
    """Raises RecordError."""
    try:
        found = json.loads(value)
        if found["format"] != _FORMAT:
            raise RecordError("it is of another version of Weft")
        key = ObjectKey(*map(str, found["key"]))
        if name_of(key) != name:
            raise RecordError(f"it is {key}, which belongs elsewhere")
        text = _opened(name, found["sealed"], box) if "sealed" in found else str(found["text"])
        line, source = int(found["line"]), str(found["source"])
        if not 0 < line < MAX_LINE:
            raise RecordError(f"it stands in line {line}")
        return Record(key, text, line, source, bool(found.get("transient")))
    except RecordError:
        raise
    except (ValueError, LookupError, ArithmeticError, TypeError, RecursionError) as error:
        raise RecordError(f"it is no object that was applied ({error})") from None


def _opened(name: str, sealed: str, box: SealedBox | None) -> str:
    if box is None:
        raise RecordError("it is sealed: give the --state-passphrase-file that it was sealed with")
    try:
        return box.open(base64.b64decode(sealed), name.encode()).decode()
    except CertificateError as error:
        raise RecordError(str(error)) from None
