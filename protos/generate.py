"""Remakes the generated code: `python -m protos.generate`.

Without options: our own `.proto` files to `protos/gen/` (committed; a test checks that they are
current). With `--stubs DIR`: type stubs for the xds-protos wheel, which ships none, made from the
descriptors inside the wheel itself (7 MB, so not committed).
"""

from __future__ import annotations

import argparse
import importlib
import re
from importlib.metadata import files
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import descriptor, descriptor_pb2
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
OURS = (
    "contrib/peak_ewma.proto",
    "contrib/peak_ewma_filter.proto",
    "etcd/rpc.proto",
    "istio/ca.proto",
    "weft/v1/authority.proto",
    "weft/v1/doctor.proto",
    "weft/v1/management.proto",
)
# The wheel also installs `test`, `google`, ...: those names belong to others.
STUBBED = ("envoy", "opentelemetry", "udpa", "validate", "xds")
# protoc writes absolute imports of its own layout; ours lives below protos.gen.
OWN_IMPORT = re.compile(r"^from (etcd|istio|weft)(\S*) import", re.MULTILINE)


def run_protoc(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed; its reason stands above")


def generate(out: Path) -> None:
    """Writes `*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` of our own protos below `out`."""
    include = str(Path(importlib.import_module("grpc_tools").__path__[0]) / "_proto")
    targets = (f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}")
    run_protoc(f"-I{HERE}", f"-I{include}", *targets, *OURS)
    for path in sorted([*out.rglob("*_pb2*.py"), *out.rglob("*_pb2*.pyi")]):
        text = OWN_IMPORT.sub(r"from protos.gen.\1\2 import", path.read_text())
        path.write_text(text)
    for folder in {path.parent for path in out.rglob("*_pb2.py")} | {out / "weft"}:
        (folder / "__init__.py").touch()


def generate_stubs(out: Path) -> None:
    """Writes `.pyi` files for every `_pb2` module of the installed xds-protos below `out`."""
    modules = [
        str(path)[: -len(".py")].replace("/", ".")
        for path in files("xds-protos") or ()
        if str(path).endswith("_pb2.py") and path.parts[0] in STUBBED
    ]
    wanted = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()
    names = [_collect(_load(module), wanted, seen) for module in modules]
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "descriptors"
        descriptors.write_bytes(wanted.SerializeToString())
        run_protoc(f"--descriptor_set_in={descriptors}", f"--pyi_out={out}", *names)


def _load(module: str) -> descriptor.FileDescriptor:
    loaded: descriptor.FileDescriptor = importlib.import_module(module).DESCRIPTOR
    return loaded


def _collect(
    file: descriptor.FileDescriptor, into: descriptor_pb2.FileDescriptorSet, seen: set[str]
) -> str:
    """Adds `file` behind everything it imports, which is the order that protoc wants."""
    if file.name not in seen:
        seen.add(file.name)
        for dependency in file.dependencies:
            _collect(dependency, into, seen)
        file.CopyToProto(into.file.add())
    return file.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stubs", type=Path, metavar="DIR", help="make xds-protos stubs there")
    stubs: Path | None = parser.parse_args().stubs
    if stubs is None:
        generate(HERE / "gen")
    else:
        generate_stubs(stubs)


if __name__ == "__main__":
    main()
