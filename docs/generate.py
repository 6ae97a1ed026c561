"""`python -m docs.generate`: writes docs/fields.md from the table that messages are checked by.

The page can't lie: a field that the table does not allow is refused, and a test holds the page
against the table.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default

from proxy.config import any_types
from proxy.config.field_rules import Fields
from proxy.config.fields import FIELDS

PAGE = Path(__file__).with_name("fields.md")
INTRODUCTION = """\
# Every field of Envoy's configuration, and what Weft does with it

<!-- Made by `make docs` from proxy/config/fields_*.py; a test holds it against them. -->

A field of a message below is **honoured**, **without effect** (the reason stands beside it),
accepted with **one value only** because Weft does that anyway, or **refused**: a resource that sets
it is rejected with the field's path (a NACK over xDS, exit code 1 and `file:line:column` for a
bootstrap file) and the last good configuration goes on. Nothing that is set is ignored in silence.
A message that is not listed is refused wherever it could stand, and so is an extension whose type
is not.

"""


def page() -> str:
    """The whole page in Markdown."""
    messages = sorted(FIELDS)
    totals = _totals(messages)
    return INTRODUCTION + totals + "".join(map(_section, messages))


def _totals(messages: list[str]) -> str:
    honoured = idle = fixed = refused = 0
    for name in messages:
        row, fields = FIELDS[name], _descriptor(name).fields
        honoured += len(row.honoured.split())
        idle += len(row.no_effect)
        fixed += len(row.only)
        refused += len(fields) - len(row.honoured.split()) - len(row.no_effect) - len(row.only)
    return (
        f"{len(messages)} messages: {honoured} fields honoured, {idle} without effect, "
        f"{fixed} with one value, {refused} refused.\n"
    )


def _section(name: str) -> str:
    descriptor, row = _descriptor(name), FIELDS[name]
    lines = [f"\n## {name}\n\n"]
    if not descriptor.fields:
        return lines[0] + "No fields.\n"
    honoured = row.honoured.split()
    if honoured:
        lines.append(f"Honoured: {_names(descriptor, honoured)}.\n\n")
    lines += _reasons(row)
    refused = [field.name for field in descriptor.fields if field.name not in _known(row)]
    if refused:
        lines.append(f"Refused: {_names(descriptor, refused)}.\n\n")
    return "".join(lines).rstrip("\n") + "\n"


def _reasons(row: Fields) -> Iterator[str]:
    if row.no_effect or row.only:
        yield "| field | |\n|---|---|\n"
        for field, reason in row.no_effect.items():
            yield f"| `{field}` | without effect: {reason} |\n"
        for field, value in row.only.items():
            shown = str(value).lower() if isinstance(value, bool) else value
            yield f"| `{field}` | only `{shown}` |\n"
        yield "\n"


def _known(row: Fields) -> set[str]:
    return {*row.honoured.split(), *row.no_effect, *row.only}


def _names(descriptor: Descriptor, names: list[str]) -> str:
    """In the order of their numbers, a message of its own linked to its section."""
    fields = sorted((descriptor.fields_by_name[name] for name in names), key=_number)
    return ", ".join(_linked(field) for field in fields)


def _number(field: FieldDescriptor) -> int:
    return field.number


def _linked(field: FieldDescriptor) -> str:
    kind = field.message_type
    if kind is None or kind.full_name not in FIELDS:
        return f"`{field.name}`"
    return f"[`{field.name}`](#{kind.full_name.lower().replace('.', '')})"


def _descriptor(name: str) -> Descriptor:
    known = any_types.descriptor(name)
    if known is None:
        _register(name)
    found: Descriptor = known or Default().FindMessageTypeByName(name)
    return found


@cache
def _register(name: str) -> None:
    """Imports the messages of the package: the proxy itself does when a configuration names one."""
    package = ".".join(part for part in name.split(".") if not part[0].isupper())
    if package.startswith("google."):
        return
    folder = importlib.import_module(package)
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written: {PAGE.relative_to(Path.cwd())}")
