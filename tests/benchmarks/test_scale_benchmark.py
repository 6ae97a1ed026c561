"""The mesh of the scale benchmark is one that the control plane takes whole."""

from __future__ import annotations

from pathlib import Path

from benchmarks.scale import mesh
from controlplane.inventory import Inventory
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.sources.files import FileSource
from controlplane.translate import build


def translated(inventory: Inventory) -> Mesh:
    made, statuses = build(inventory.snapshot(), "cluster.local")
    assert not statuses
    return made


def test_its_objects_are_what_it_says(tmp_path: Path) -> None:
    assert mesh.write(tmp_path, services=3, count=4, proxies=2) == 3 * 4 - 2 * 2 + 2
    inventory = Inventory()
    FileSource(tmp_path, inventory, lambda: None).load()
    for text in (mesh.endpoints(mesh.MOVING, 4), mesh.rules(mesh.MOVING)):
        inventory.put(parse(text, "api").objects[0])
    made = translated(inventory)
    assert [len(service.endpoints) for service in made.services] == [4, 0, 4]
    assert [len(service.rules) for service in made.services] == [2, 0, 2]
    assert len(made.workloads) == 2


def test_each_change_is_one() -> None:
    meshes = []
    for generation in (1, 2):
        inventory = Inventory()
        texts = (mesh.service(0), mesh.endpoints(0, 3, generation), mesh.rules(0, generation))
        for text in texts:
            inventory.put(parse(text, "api").objects[0])
        meshes.append(translated(inventory))
    one, two = (made.services[0] for made in meshes)
    places = [{endpoint.address for endpoint in service.endpoints} for service in (one, two)]
    assert len(places[0] ^ places[1]) == 2
    assert one.rules != two.rules
