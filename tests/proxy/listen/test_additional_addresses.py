"""A listener with several addresses is at all of them, or while it is new at none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.config import model
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats


def at(*places: tuple[str, int], name: str = "x", binds: bool = True) -> ListenerRuntime:
    first, *more = (model.SocketAddress(*place) for place in places)
    more_too = tuple(more)
    config = model.Listener(name, first, bind_to_port=binds, additional_addresses=more_too)
    return ListenerRuntime(config, ())


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    made = Listeners(asyncio.get_running_loop(), Stats(), RuntimeValues())
    yield made
    made.close()


async def accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_it_is_at_all_of_them_and_leaves_those_that_go(listeners: Listeners) -> None:
    both = at(("127.0.0.1", 0), ("127.0.0.2", 0))
    assert listeners.apply({"x": both}) == {}
    first, second = listeners.all_addresses["x"]
    assert (first[0], second[0]) == ("127.0.0.1", "127.0.0.2")
    assert listeners.addresses["x"] == first
    assert await accepts(*first)
    assert await accepts(*second)
    assert listeners.apply({"x": at(("127.0.0.1", 0))}) == {}
    assert listeners.all_addresses["x"] == [first]
    assert await accepts(*first)
    assert not await accepts(*second)


async def test_a_new_one_that_can_not_have_all_has_none(listeners: Listeners) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        errors = listeners.apply({"x": at(("127.0.0.1", port), ("127.0.0.2", port))})
        assert list(errors) == ["x"]
        assert f"127.0.0.2:{port}" in errors["x"]
        assert listeners.all_addresses == {}
        assert not await accepts("127.0.0.1", port)


async def test_one_that_is_there_stays_where_it_is_when_more_can_not_be_had(
    listeners: Listeners,
) -> None:
    assert listeners.apply({"x": at(("127.0.0.1", 0))}) == {}
    (first,) = listeners.all_addresses["x"]
    with socket.create_server(("127.0.0.2", 0)) as taken:
        more = at(("127.0.0.1", 0), ("127.0.0.2", taken.getsockname()[1]))
        assert list(listeners.apply({"x": more})) == ["x"]
    assert listeners.all_addresses["x"] == [first]
    assert await accepts(*first)


async def test_it_moves_where_an_old_one_stood_in_the_way(listeners: Listeners) -> None:
    """Of the wildcard and an address with the same port only one can be had at a time."""
    assert listeners.apply({"x": at(("127.0.0.1", 0), ("127.0.0.2", 0))}) == {}
    (_, one), (_, other) = listeners.all_addresses["x"]
    assert listeners.apply({"x": at(("127.0.0.1", one), ("0.0.0.0", other))}) == {}
    assert listeners.all_addresses["x"] == [("127.0.0.1", one), ("0.0.0.0", other)]
    assert await accepts("127.0.0.3", other)


async def test_two_listeners_have_no_address_in_common(listeners: Listeners) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = at(("127.0.0.1", port), ("127.0.0.2", port))
    other = at(("127.0.0.3", port), ("127.0.0.2", port), name="y")
    errors = listeners.apply({"x": one, "y": other})
    assert "listener x has the same address" in errors["y"]
    assert set(listeners.all_addresses) == {"x"}


async def test_redirected_connections_find_it_by_each(listeners: Listeners) -> None:
    every = at(("0.0.0.0", 80), ("::", 80), binds=False)
    listeners.apply({"x": every})
    for host in ("10.0.0.1", "fd00::1"):
        assert listeners._find_listener((host, 80)) is every
        assert listeners._find_listener((host, 81)) is None
