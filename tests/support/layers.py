"""The house rules as a program: which module may import what, and how long things may grow.

Reads the tables of ARCHITECTURE.md and the source as text; it never imports what it judges. Every
violation names the place, the rule and why the rule is there. `tests/test_layers.py` runs it over
the project and over small fake trees.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

TREES = ("protos", "certs", "proxy", "controlplane", "weft")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_WARN = 40

IO_PACKAGES = frozenset({"asyncio", "socket", "ssl", "grpc", "uvloop", "select", "selectors"})
PROTOBUF_PACKAGES = ("envoy", "xds", "udpa", "google.protobuf", "protos.gen")
CLOCK_CALLS = frozenset(
    f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter")
) | frozenset(
    ("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
)
IMPORTERS = ("importlib.import_module", "import_module", "__import__")
# No expression can break a rule in a file without one of these words.
_CLOCKS = "|".join(sorted({name.rpartition(".")[2] for name in CLOCK_CALLS}))
WORDS = re.compile(rf"\.\s*(?:{_CLOCKS})\b|\b(?:import_module|__import__)\b")
AUTHORITY_ONLY = ("certs.authority", "certs.store", "certs.cli")
# HTTP/2 and TLS as such, which know nothing of a proxy: for the control plane's own gRPC server.
SHARED = {
    "controlplane.rpc": (
        "proxy.http",
        "proxy.tls.failure",
        "proxy.tls.handshake",
        "proxy.tls.openssl",
        "proxy.tls.session",
        "proxy.tls.transport",
    ),
}
DOORS = {
    "weft.cli": ("proxy.main", "controlplane.main"),
    "weft.authz": ("controlplane.authz.command",),
    "weft.offline": ("controlplane.analyze", "controlplane.sources.files"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The three tables: level of each (tree, room), shells and protobuf rooms as name patterns."""

    levels: dict[tuple[str, str], int]
    shells: dict[str, tuple[str, ...]]
    protobuf: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Import:
    """An import of `target` at `line`; `lazy` if it stands inside a function."""

    target: str
    line: int
    lazy: bool


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    line: int
    lines: int


@dataclass(slots=True)
class Source:
    """What the rules need to know of one file. `module` is dotted, without `.__init__`."""

    path: str
    module: str
    lines: int
    imports: list[Import] = field(default_factory=list)
    clocks: list[tuple[str, int]] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)

    @property
    def tree(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str:
        return room_of(self.module)

    @property
    def inside(self) -> str:
        """The dotted name below the tree: `xds.channel` of `proxy.xds.channel`."""
        return self.module.partition(".")[2]


def room_of(module: str) -> str:
    """The first path part below the tree; '' for the tree itself."""
    return module.partition(".")[2].partition(".")[0]


# --------------------------------------------------------------------------- the tables


def read_rules(architecture: str) -> Rules:
    """The tables of ARCHITECTURE.md, each found by its heading row."""
    levels = {
        (tree, room): int(level)
        for tree, level, rooms in _table(architecture, "tree", "level", "rooms")
        for room in _names(rooms)
    }
    return Rules(
        levels,
        shells={tree: _names(names) for tree, names in _table(architecture, "tree", "shells")},
        protobuf={tree: _names(names) for tree, names in _table(architecture, "tree", "protobuf")},
    )


def _table(text: str, *heading: str) -> Iterator[list[str]]:
    """Rows of the markdown table whose first row is `heading`; ValueError when there is none."""
    rows = iter(text.splitlines())
    for line in rows:
        if _cells(line) == list(heading):
            break
    else:
        raise ValueError(f"ARCHITECTURE.md has no table with the columns {', '.join(heading)}")
    next(rows)
    for line in rows:
        if not line.startswith("|"):
            return
        yield _cells(line)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _names(cell: str) -> tuple[str, ...]:
    names = (name.strip().strip("`") for name in cell.split(","))
    return tuple(name for name in names if name)


# --------------------------------------------------------------------------- reading source


def read_trees(root: Path, trees: Iterable[str] = TREES) -> list[Source]:
    """Every module of the trees, generated code (`protos/gen`) left out."""
    found = []
    for tree in trees:
        for path in sorted((root / tree).rglob("*.py")):
            relative = path.relative_to(root)
            if "__pycache__" not in relative.parts and relative.parts[:2] != ("protos", "gen"):
                found.append(read_source(relative.as_posix(), path.read_text("utf-8")))
    return found


PLAIN = (ast.Constant, ast.Name, ast.expr_context, ast.operator)


def read_source(path: str, text: str) -> Source:
    """Parse one file. `path` is relative to the root, with '/'."""
    parts = path.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    source = Source(path, module, text.count("\n"))
    package = module if is_package else module.rpartition(".")[0]
    skipped = PLAIN if WORDS.search(text) else (*PLAIN, ast.expr)
    _walk(ast.parse(text, path), source, package, skipped, lazy=False)
    return source


def _walk(
    node: ast.AST, source: Source, package: str, skipped: tuple[type[ast.AST], ...], lazy: bool
) -> None:
    for child in ast.iter_child_nodes(node):
        inner = lazy
        if isinstance(child, ast.Import):
            source.imports += [Import(name.name, child.lineno, lazy) for name in child.names]
        elif isinstance(child, ast.ImportFrom):
            source.imports += _from_imports(child, package, lazy)
        elif isinstance(child, ast.Attribute):
            _note_clock(child, source)
        elif isinstance(child, ast.Call):
            source.imports += _dynamic_import(child, lazy)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (child.end_lineno or child.lineno) - child.lineno + 1
            source.functions.append(Function(child.name, child.lineno, lines))
            inner = True
        if not isinstance(child, skipped):
            _walk(child, source, package, skipped, inner)


def _from_imports(node: ast.ImportFrom, package: str, lazy: bool) -> list[Import]:
    """`from a import b` may mean the module a.b: the full name is kept, prefixes decide."""
    base = node.module or ""
    if node.level:
        anchor = package.split(".")[: len(package.split(".")) - (node.level - 1)]
        base = ".".join([*anchor, base] if base else anchor)
    return [Import(f"{base}.{name.name}", node.lineno, lazy) for name in node.names]


def _dynamic_import(node: ast.Call, lazy: bool) -> list[Import]:
    name = _dotted(node.func)
    if name not in IMPORTERS or not node.args:
        return []
    target = node.args[0]
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return [Import(target.value, node.lineno, lazy)]
    return []


def _note_clock(node: ast.Attribute, source: Source) -> None:
    name = ".".join(_dotted(node).split(".")[-2:])
    if name in CLOCK_CALLS:
        source.clocks.append((name, node.lineno))


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""


# --------------------------------------------------------------------------- the rules


def violations(rules: Rules, sources: Iterable[Source]) -> list[str]:
    """One line for each broken rule: place, what, rule, why."""
    return [message for source in sources for message in _judge(rules, source)]


def _judge(rules: Rules, source: Source) -> Iterator[str]:
    yield from _room_known(rules, source)
    for imported in source.imports:
        where = f"{source.path}:{imported.line}: imports {imported.target}"
        reason = _forbidden(rules, source, imported)
        if reason:
            yield f"{where}: {reason}"
    if not _is_shell(rules, source):
        yield from _clock_read(source)
    yield from too_long(source)


def _room_known(rules: Rules, source: Source) -> Iterator[str]:
    if source.room and (source.tree, source.room) not in rules.levels:
        yield (
            f"{source.path}: the room {source.room!r} of {source.tree} is not in ARCHITECTURE.md's "
            "level table: give it a level there, so that everybody knows what it may import"
        )


def _forbidden(rules: Rules, source: Source, imported: Import) -> str:
    """Why this import is not allowed, or ''."""
    target = imported.target
    tree = target.partition(".")[0]
    if tree in IO_PACKAGES and not _is_shell(rules, source):
        return (
            f"{source.module} is not a shell: only the shells of ARCHITECTURE.md's table do "
            "input/output, everything else is tested with plain bytes and values"
        )
    if _within(target, PROTOBUF_PACKAGES) and not _may_protobuf(rules, source):
        return (
            f"{source.module} is not in ARCHITECTURE.md's protobuf table: messages are decoded "
            "once at the edge, because reading them costs four times a compiled closure"
        )
    if tree not in TREES or tree == target:
        return ""
    if tree == source.tree:
        return _level_broken(rules, source, target)
    return _tree_broken(source, imported)


def _level_broken(rules: Rules, source: Source, target: str) -> str:
    mine, theirs = source.room, room_of(target)
    if not mine:
        return f"the package {source.tree} itself imports none of its rooms: it would load them all"
    if mine == theirs:
        return ""
    here, there = (rules.levels.get((source.tree, room)) for room in (mine, theirs))
    if here is None or there is None or there < here:
        return ""
    return (
        f"{source.tree}.{mine} is level {here}, {source.tree}.{theirs} level {there}: a module "
        "imports lower levels of its tree or its own room only, so that every room can be read, "
        "tested and replaced knowing nothing of the rooms above (pass what it needs as an argument)"
    )


def _tree_broken(source: Source, imported: Import) -> str:
    tree = imported.target.partition(".")[0]
    pair = (source.tree, tree)
    if source.tree == "weft" and tree in ("proxy", "controlplane"):
        if imported.lazy and _within(imported.target, DOORS.get(source.module, ())):
            return ""
        return (
            "weft starts processes and imports the inside of none; only weft/cli.py may import "
            "proxy.main and controlplane.main, weft/authz.py controlplane.authz.command, and "
            "weft/offline.py controlplane.analyze with what reads files, inside the function of "
            "the command"
        )
    if set(pair) == {"proxy", "controlplane"}:
        room = f"{source.tree}.{source.room}"
        if _within(imported.target, SHARED.get(room, ())):
            return ""
        return (
            "proxy and controlplane never import each other: they meet only on the wire, so that a "
            "real Envoy or another xDS server can take either's place (controlplane.rpc may import "
            "HTTP and TLS as such)"
        )
    if pair == ("proxy", "certs") and _within(imported.target, AUTHORITY_ONLY):
        return (
            "a proxy proves who it is and never signs: certs.authority, certs.store and certs.cli "
            "belong to the control plane, whose key must not be within a sidecar's reach"
        )
    if tree in ("protos", "certs") and TREES.index(tree) < TREES.index(source.tree):
        return ""
    return f"{source.tree} does not import {tree}: the trees build on protos and certs alone"


def _clock_read(source: Source) -> Iterator[str]:
    imported = [(i.target, i.line) for i in source.imports if i.target in CLOCK_CALLS]
    for name, line in source.clocks + imported:
        yield (
            f"{source.path}:{line}: reads {name}: {source.module} is not a shell, `now` comes as "
            "an argument, so that a test can fix it"
        )


def too_long(source: Source) -> Iterator[str]:
    """The walls: lines of a file, lines of a function."""
    if source.lines > FILE_LINES_MAX:
        yield (
            f"{source.path}: {source.lines} lines, the wall is {FILE_LINES_MAX}: one public idea "
            "per module, split it"
        )
    for function in source.functions:
        if function.lines > FUNCTION_LINES_MAX:
            yield (
                f"{source.path}:{function.line}: {function.name} has {function.lines} lines, the "
                f"wall is {FUNCTION_LINES_MAX}: a function is read in one look"
            )


def nearly_too_long(sources: Iterable[Source]) -> list[str]:
    """Functions over the house's 40 lines and below the wall, longest first."""
    found = [
        (function.lines, f"{source.path}:{function.line} {function.name}")
        for source in sources
        for function in source.functions
        if FUNCTION_LINES_WARN < function.lines <= FUNCTION_LINES_MAX
    ]
    return [f"{lines} lines: {where}" for lines, where in sorted(found, reverse=True)]


def _is_shell(rules: Rules, source: Source) -> bool:
    return _named(rules.shells.get(source.tree, ()), source.inside)


def _may_protobuf(rules: Rules, source: Source) -> bool:
    return _named(rules.protobuf.get(source.tree, ()), source.inside)


def _named(patterns: Iterable[str], inside: str) -> bool:
    """A pattern names a module or a whole room; `*` is a wildcard inside one part."""
    return any(fnmatchcase(inside, p) or fnmatchcase(inside, p + ".*") for p in patterns)


def _within(target: str, packages: Iterable[str]) -> bool:
    return any(target == package or target.startswith(package + ".") for package in packages)
