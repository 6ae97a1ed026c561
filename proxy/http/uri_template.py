"""Path templates (`/users/{id}/**`): the grammar, the regular expression, and how they rewrite.

Envoy's `uri_template` path extensions. `*` takes one segment, `**` the rest with its slashes, and
`{name}`, `{name=*}`, `{name=a/*}` are the same with a name for a rewrite to use. Pure text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_VARIABLES = 5
MAX_NAME_LENGTH = 16
_CHARACTERS = "-a-zA-Z0-9._~%!$&'()+,;:@="  # RFC 3986 appendix A: pchar without `*`
_ONE_SEGMENT = f"[{_CHARACTERS}]+"
_THE_REST = f"[{_CHARACTERS}/]*"
_LITERAL = re.compile(f"[{_CHARACTERS}]+")
_REWRITE_LITERAL = re.compile(f"[{_CHARACTERS}/]+")
_NAME = re.compile("[a-zA-Z][a-zA-Z0-9_]*")
_PRINTABLE = re.compile("/[!-~]*")


class TemplateError(ValueError):
    """A template that Envoy refuses; the text says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """regex: of RE2, each variable a named group. names: in order."""

    regex: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """One of `/`, other text, `*`, `**`; or a variable: its name and parts (none: `*`)."""

    text: str
    name: str = ""
    inner: tuple[_Part, ...] = ()


def parse_template(text: str) -> Template:
    """Raises TemplateError."""
    if not _PRINTABLE.fullmatch(text):
        raise TemplateError(f"`{text}` must begin with / and have visible ASCII characters only")
    parts: list[_Part] = []
    rest = text[1:]
    while rest:
        part, rest = _variable(rest) if rest[0] == "{" else _plain(rest)
        parts += [_Part("/"), part]
        if rest == "/":
            parts.append(_Part("/"))
            break
        if rest and rest[0] != "/":  # what follows a glob or a variable ends the template
            suffix, rest = _literal(rest)
            parts.append(suffix)
            if rest:
                raise TemplateError(f"`{suffix.text}` after a `*` or a variable is not at the end")
        rest = rest[1:]
    names = tuple(part.name for part in parts if part.name)
    _check_names(names)
    _check_globs(parts)
    return Template("".join(map(_regex, parts)) or "/", names)


def parse_rewrite(text: str) -> tuple[tuple[str, bool], ...]:
    """(text, False) or (name of a variable, True) in order. Raises TemplateError."""
    found: list[tuple[str, bool]] = []
    rest = text
    while rest:
        literal, opened, rest = rest.partition("{")
        if literal:
            if not _REWRITE_LITERAL.fullmatch(literal):
                raise TemplateError(f"`{literal}` has characters that no path has")
            found.append((literal, False))
        if opened:
            name, closed, rest = rest.partition("}")
            if not closed or not _NAME.fullmatch(name):
                raise TemplateError(f"`{{{name}` is no variable")
            found.append((name, True))
    return tuple(found)


def check_rewrite(text: str, template: Template) -> None:
    """Raises TemplateError if `text` is no rewrite, or uses what `template` does not have."""
    for name, is_variable in parse_rewrite(text):
        if is_variable and name not in template.names:
            raise TemplateError(f"the path_match_policy has no variable `{name}`")


def _plain(text: str) -> tuple[_Part, str]:
    for glob in ("**", "*"):
        if text.startswith(glob):
            return _Part(glob), text[len(glob) :]
    return _literal(text)


def _literal(text: str) -> tuple[_Part, str]:
    """All of a segment."""
    found, slash, rest = text.partition("/")
    if not _LITERAL.fullmatch(found):
        raise TemplateError(f"`{found}` has characters that no path segment has")
    return _Part(found), slash + rest


def _variable(text: str) -> tuple[_Part, str]:
    inside, closed, rest = text[1:].partition("}")
    if not closed:
        raise TemplateError(f"`{text}` has no closing bracket")
    name, equals, pattern = inside.partition("=")
    if not _NAME.fullmatch(name):
        raise TemplateError(f"`{name}` is no name of a variable")
    if equals and not pattern:
        raise TemplateError(f"the pattern of `{name}` is empty")
    inner: list[_Part] = []
    while pattern:
        part, pattern = _plain(pattern)
        inner.append(part)
        if pattern:
            if pattern[0] != "/" or len(pattern) == 1:
                raise TemplateError(f"in `{name}` only /SEGMENT can follow a segment")
            inner.append(_Part("/"))
            pattern = pattern[1:]
    return _Part("", name, tuple(inner)), rest


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) > MAX_VARIABLES:
        raise TemplateError(f"has more than {MAX_VARIABLES} variables")
    for name in names:
        if len(name) > MAX_NAME_LENGTH:
            raise TemplateError(f"the name `{name}` has more than {MAX_NAME_LENGTH} characters")
        if names.count(name) > 1:
            raise TemplateError(f"has the variable `{name}` twice")


def _check_globs(parts: list[_Part]) -> None:
    """Nothing that matches a variable length may follow `**`: it has taken everything."""
    taken = False
    for part in parts:
        for piece in part.inner or (part,):
            glob = "*" if piece.name else piece.text
            if glob in ("*", "**"):
                if taken:
                    raise TemplateError("a `*` or a variable follows `**`, which takes all")
                taken = glob == "**"


def _regex(part: _Part) -> str:
    if part.name:
        inner = "".join(map(_regex, part.inner)) or _ONE_SEGMENT
        return f"(?P<{part.name}>{inner})"
    return {"*": _ONE_SEGMENT, "**": _THE_REST}.get(part.text) or re.escape(part.text)
