"""What stands in protos/gen is what the .proto files and the generator make today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "protos" / "gen"

# In a process of its own: protoc would load descriptors that this one has already.
GENERATE = """
import sys
from pathlib import Path
from protos.generate import generate
generate(Path(sys.argv[1]))
"""


def sources(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*.py*")
        if path.suffix in (".py", ".pyi")
    }


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("gen")
    made = subprocess.run(
        [sys.executable, "-c", GENERATE, str(out)], cwd=ROOT, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return sources(out)


def test_the_generated_code_is_current(fresh: dict[str, str]) -> None:
    committed = sources(GENERATED)
    # The package's own file is not the generator's.
    committed.pop("__init__.py")
    assert sorted(fresh) == sorted(committed)
    stale = [name for name, text in fresh.items() if committed[name] != text]
    assert stale == [], "run: python -m protos.generate"


def test_every_proto_file_is_generated(fresh: dict[str, str]) -> None:
    for proto in (ROOT / "protos").rglob("*.proto"):
        module = str(proto.relative_to(ROOT / "protos").with_suffix("")) + "_pb2.py"
        assert module in fresh


def test_imports_are_those_of_the_package(fresh: dict[str, str]) -> None:
    assert "from protos.gen.istio import ca_pb2" in fresh["istio/ca_pb2_grpc.py"]


def test_the_service_has_istios_path() -> None:
    from protos.gen.istio import ca_pb2

    service = ca_pb2.DESCRIPTOR.services_by_name["IstioCertificateService"]
    assert service.full_name == "istio.v1.auth.IstioCertificateService"
    fields = ca_pb2.IstioCertificateRequest.DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == {
        "csr": 1,
        "validity_duration": 3,
        "metadata": 4,
    }
