"""Domains made service by service are those that the whole mesh comes to, whatever was before."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from controlplane.emit import routes
from controlplane.mesh.model import Service, ServicePort
from controlplane.xds.domains import Called, Directory
from tests.support.mesh import service

NAMES = ("a", "B", "c.one", "10.0.0.1", "::1", "*.d", "10.1.0.0/16")
PORTS = (80, 81, 8080)


def some_service(chance: random.Random, number: int) -> Service:
    def some(most: int) -> tuple[str, ...]:
        return tuple(chance.sample(NAMES, chance.randrange(most)))

    ports = tuple(
        ServicePort(one, "x", chance.choice(("HTTP", "TCP", "UDP", "GRPC")))
        for one in chance.sample(PORTS, chance.randrange(1, 3))
    )
    return replace(
        service(f"s{number}"),
        hostname=f"s{number}.example",
        namespace=chance.choice(("one", "two")),
        ports=ports,
        aliases=some(3),
        local_aliases=some(2),
        addresses=some(2),
    )


@pytest.mark.parametrize("seed", range(8))
def test_they_are_those_of_the_whole_mesh(seed: int) -> None:
    chance, directory = random.Random(seed), Directory()
    found = {number: some_service(chance, number) for number in range(4)}
    last: dict[tuple[str, bool], Called | None] = {}
    disputed = 0
    for _ in range(20):
        number = chance.randrange(6)
        if found.pop(number, None) is None or chance.random() < 0.7:
            found[number] = some_service(chance, number)
        services = tuple(found[number] for number in sorted(found))
        directory.use(services)
        for namespace in ("one", "two", "three"):
            for some in (False, True):
                seen = services[::2] if some else services
                called = directory.called(seen, namespace, last.get((namespace, some)))
                last[namespace, some] = called
                whole = routes.Domains(seen, namespace)
                for one in seen:
                    for port in routes.tcp_ports(one):
                        domains = whole.of(one, port)
                        assert list(called.of(one, port)) == domains
                        alone = directory.alone(one, namespace).get(port, ())
                        disputed += list(alone) != domains
    assert disputed


def test_what_others_want_leaves_a_service_alone() -> None:
    one = replace(service("one"), aliases=("first",))
    other = replace(service("other"), aliases=("second",))
    directory = Directory()
    directory.use((one, other))
    before = directory.called((one, other), "default", None)
    ported = replace(other, ports=(*other.ports, ServicePort(99, "y", "TCP")))
    directory.use((one, ported))
    assert directory.called((one, ported), "default", before) is before
    assert [port for port in (99, 100) if before.of(ported, port)] == [99]
    rival = replace(ported, aliases=("first",))
    directory.use((one, rival))
    after = directory.called((one, rival), "default", before)
    assert after is not before
    port = one.ports[0].number
    assert (f"first:{port}" in after.of(one, port), f"first:{port}" in after.of(rival, port)) == (
        True,
        False,
    )
