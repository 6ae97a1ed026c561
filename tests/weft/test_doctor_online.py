"""`weft ca doctor` while a control plane runs: what it prints, and its exit code."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp

from protos.gen.weft.v1 import doctor_pb2 as pb
from tests.support.control_plane import ControlPlane
from tests.support.handmade import greeter, synced
from tests.support.wait import eventually
from weft.ca import ca
from weft.doctor_online import as_json, bad, report, rows
from weft.errors import UserError

NOW = 1_800_000_000


def finding(severity: str, kind: str, ends_in_s: int = 0) -> pb.Finding:
    one = pb.Finding(severity=severity, kind=kind, where="cart-1", text="so it is", breaks="all")
    if ends_in_s:
        one.not_before.CopyFrom(Timestamp(seconds=NOW - 300))
        one.not_after.CopyFrom(Timestamp(seconds=NOW + ends_in_s))
    return one


def examination(*findings: pb.Finding) -> pb.Examination:
    return pb.Examination(at=Timestamp(seconds=NOW), findings=findings)


def test_what_is_wrong_is_told_at_length_and_what_breaks_first_at_the_end() -> None:
    later, sooner = finding("ok", "identity", 900), finding("warning", "served", 100)
    sooner.used_by = "listener edge"
    assert report(examination(sooner, later)).splitlines() == [
        "WARNING served certificate of cart-1: so it is",
        "        used by: listener edge",
        "        what breaks: all",
        "ok      certificate of cart-1: so it is",
        "if nothing were renewed, the first to break is the served certificate of cart-1, at "
        "2027-01-15T08:01:40Z: all",
    ]
    assert bad(examination(sooner, later))
    assert not bad(examination(later))
    assert report(examination()) == "nothing in the mesh ends"


def test_as_json_it_is_one_list_behind_what_is_on_disk() -> None:
    clock = finding("ok", "clock")
    clock.clock_ahead_s = -1.5
    found = examination(finding("ok", "identity", 900), clock)
    leaf, told = rows(found)
    assert (leaf["share_left"], leaf["not_after"]) == (0.75, "2027-01-15T08:15:00Z")
    assert (leaf["clock_ahead_s"], told["clock_ahead_s"]) == (None, -1.5)
    assert (told["not_after"], told["share_left"]) == (None, None)
    assert json.loads(as_json('[{"what": "root"}]', found)) == [{"what": "root"}, leaf, told]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a control plane with one proxy of ours."""
    directory = tmp_path_factory.mktemp("doctor")
    config = directory / "mesh"
    config.mkdir()
    part = greeter()
    (config / "greeter.yaml").write_text(part.entry())
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(config, directory / "state"))
        stack.enter_context(part.weft(plane, directory))
        eventually(lambda: synced(plane, 1), 60.0, "the proxy is in sync")
        yield plane.state


def call(state: Path, *words: str) -> Result:
    return CliRunner().invoke(ca, ["doctor", "--state-dir", str(state), *words])


def test_it_looks_at_every_proxy_of_a_running_mesh(state: Path) -> None:
    def clocks() -> list[float]:
        found = json.loads(call(state, "-o", "json").output)
        return [one["clock_ahead_s"] for one in found if one["what"] == "clock"]

    eventually(lambda: clocks() not in ([], [None]), 60.0, "the proxy has reported")
    assert abs(clocks()[0]) < 5
    found = call(state)
    assert found.exit_code == 0
    assert "certificate of sidecar~127.0.0.1~greeter-1.default" in found.output
    assert "trusts what the mesh trusts" in found.output
    assert "if nothing were renewed, the first to break is" in found.output


def test_what_is_on_disk_is_told_even_if_nobody_answers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert CliRunner().invoke(ca, ["init", "--state-dir", str(state)]).exit_code == 0
    with (state / "controlplane.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = call(state)
    assert "private key: fits its certificate" in found.output
    assert isinstance(found.exception, UserError)
    assert "no control plane serves" in str(found.exception)
