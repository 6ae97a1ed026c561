"""Deployments as processes: what is read, what is refused and where the error points."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.deployment import Deployment, deployments, environment, expand
from weft.errors import UserError
from weft.manifest import ManifestError, read_directory, read_file
from weft.workload import in_mesh, names

WHOLE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    metadata:
      labels: {app: web, version: v1}
      annotations: {weft.dev/app-port: "9000"}
    spec:
      serviceAccountName: seller
      containers:
        - name: web
          image: ignored
          command: [python, web.py]
          args: [--port, $(PORT)]
          workingDir: src
          env:
            - {name: GREETING, value: hello}
            - {name: URL, value: "http://x/$(GREETING)"}
          ports:
            - {name: http, containerPort: 8080}
            - {containerPort: 9090}
"""
SMALL = """\
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - command: [sleep, "1"]
"""


def read(tmp_path: Path, text: str) -> list[Deployment]:
    file = tmp_path / "web.yaml"
    file.write_text(text, "utf-8")
    return deployments(read_file(file))


def test_every_field_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == [
        Deployment(
            name="web",
            namespace="shop",
            service_account="seller",
            labels={"app": "web", "version": "v1"},
            replicas=2,
            command=("python", "web.py", "--port", "$(PORT)"),
            env=(("GREETING", "hello"), ("URL", "http://x/$(GREETING)")),
            ports={"http": 8080, "port-9090": 9090},
            working_dir="src",
            position=f"{tmp_path}/web.yaml:4:9",
            fixed_port=9000,
        )
    ]


def test_the_defaults_are_those_of_kubernetes(tmp_path: Path) -> None:
    (found,) = read(tmp_path, SMALL)
    assert (found.namespace, found.service_account, found.replicas) == ("default", "default", 1)
    assert found.ports == {}
    assert found.labels == {}


def test_other_kinds_are_left_alone(tmp_path: Path) -> None:
    text = "kind: Service\napiVersion: v1\nspec: [1]\n---\n# nothing\n---\n" + SMALL
    assert [deployment.name for deployment in read(tmp_path, text)] == ["web"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            "          command: [python, web.py]\n",
            "",
            "15:11: spec.template.spec.containers[0].command: weft up runs",
        ),
        ("[python, web.py]", "python web.py", "17:20: spec.template.spec.containers[0].command"),
        ("[python, web.py]", "[python, 3]", "17:29: spec.template.spec.containers[0].command[1]"),
        ("replicas: 2", "replicas: two", "7:13: spec.replicas: expected a whole number"),
        ("replicas: 2", "replicas: 2000", "7:13: spec.replicas: expected 0 to 50"),
        ("name: web\n  name", "nome: web\n  name", "4:3: metadata.name: is required"),
        ("value: hello", "valueFrom: {x: y}", "21:43: spec.template.spec.containers[0].env[0]"),
        ("containerPort: 8080", "containerPort: 0", "24:43: spec.template.spec.containers[0].port"),
        ("containerPort: 9090", "name: http, containerPort: 1", "the port name http is used twice"),
        ("labels: {app: web", "labels: {app: 3", "10:21: spec.template.metadata.labels.app"),
        ("      containers:", "      containers: []\n      boxes:", "needs one container"),
    ],
)
def test_a_wrong_field_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, error: str
) -> None:
    assert old in WHOLE
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, WHOLE.replace(old, new))
    assert error in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/web.yaml:")


def test_a_container_without_command_is_told_what_weft_runs(tmp_path: Path) -> None:
    text = SMALL.replace('command: [sleep, "1"]', "image: nginx")
    with pytest.raises(ManifestError, match="runs processes, not images: give containers"):
        read(tmp_path, text)


def test_the_same_name_twice_points_at_the_first(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"web\.yaml:3:18"):
        read(tmp_path, SMALL + "---\n" + SMALL)


def test_what_a_laptop_does_not_do_is_noticed(tmp_path: Path) -> None:
    more = """\
        - name: helper
          command: [x]
      initContainers: [{name: i}]
"""
    (found,) = read(tmp_path, SMALL + more)
    assert [notice.partition(": ")[2] for notice in found.notices] == [
        "container helper is not run: weft up runs the first one",
        "spec.template.spec.initContainers is not used by weft up",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(PORT)", "80"),
        ("a-$(PORT)-$(NAME)", "a-80-n"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(PORT)", "$(PORT)"),
        ("$PORT ${PORT} $", "$PORT ${PORT} $"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"PORT": "80", "NAME": "n"}) == expected


def test_variables_refer_to_earlier_ones_and_ours_win(tmp_path: Path) -> None:
    (found,) = read(tmp_path, WHOLE.replace("name: GREETING", "name: PORT"))
    assert environment(found, {"PORT": "7"}) == {"PORT": "7", "URL": "http://x/$(GREETING)"}


def test_a_place_or_a_count_makes_no_other_process(tmp_path: Path) -> None:
    (found,) = read(tmp_path, WHOLE)
    (moved,) = read(tmp_path, "# more\n" + WHOLE.replace("replicas: 2", "replicas: 3"))
    (other,) = read(tmp_path, WHOLE.replace("hello", "bye"))
    assert found == moved
    assert found != other
    assert (names(found), names(moved)) == (["web", "web-2"], ["web", "web-2", "web-3"])


def test_a_program_with_a_fixed_port_runs_once(tmp_path: Path) -> None:
    (found,) = read(tmp_path, WHOLE)
    with pytest.raises(UserError, match=r"web\.yaml:4:9: web has weft\.dev/app-port"):
        in_mesh(found, [])


def test_a_directory_is_read_as_the_control_plane_reads_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "two.yml").write_text(SMALL.replace("web", "two"), "utf-8")
    (tmp_path / "a.yaml").write_text(SMALL.replace("web", "one"), "utf-8")
    (tmp_path / ".hidden" / "c.yaml").write_text("not: [yaml", "utf-8")
    (tmp_path / "note.txt").write_text("not: [yaml", "utf-8")
    assert [found.name for found in deployments(read_directory(tmp_path))] == ["one", "two"]


def test_a_list_is_its_items(tmp_path: Path) -> None:
    items = "".join(f"    {line}\n" for line in SMALL.splitlines())
    text = f"apiVersion: v1\nkind: List\nitems:\n  -\n{items}"
    (found,) = read(tmp_path, text)
    assert (found.name, found.position) == ("web", f"{tmp_path}/web.yaml:7:22")


def test_a_document_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"web\.yaml:1:1: expected a mapping, found a list"):
        read(tmp_path, "- 1\n")


def test_a_file_that_is_not_yaml_is_named_with_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"web\.yaml:2:1: not YAML: "):
        read(tmp_path, "a: [1,\n")


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_directory_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match=name):
        read_directory(tmp_path / name)
