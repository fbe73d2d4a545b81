"""A port with a socket in it behaves as without."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from gateway.workers.channel import CallFailed, Channel
from gateway.workers.remote import serve, stub


@dataclass(frozen=True, slots=True)
class Order:
    what: str
    many: int = 1


class Full(Exception):
    pass


class Shop(Protocol):
    async def buy(self, order: Order, *, hurry: bool = False) -> list[Order]: ...
    async def close(self, why: str) -> None: ...
    def look(self, what: str) -> None: ...


class RealShop:
    def __init__(self) -> None:
        self.looked: list[str] = []
        self.seen = asyncio.Event()

    async def buy(self, order: Order, *, hurry: bool = False) -> list[Order]:
        if order.many > 2:
            raise Full("not so many")
        if order.many < 0:
            raise ValueError("a bug")
        return [order] * (2 if hurry else 1)

    async def close(self, why: str) -> None:
        self.looked.append(why)

    def look(self, what: str) -> None:
        self.looked.append(what)
        self.seen.set()

    def secret(self) -> None:
        self.looked.append("secret")


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Shop, RealShop, Channel]]:
    here, there = socket.socketpair()
    left, right = await Channel.over(here), await Channel.over(there)
    real = RealShop()
    serve(Shop, real, right, (Full,))  # type: ignore[type-abstract]
    left.begin()
    right.begin()
    yield stub(Shop, left, (Full,)), real, left  # type: ignore[type-abstract]
    left.close()
    right.close()
    await left.closed.wait()
    await right.closed.wait()


async def test_calls_and_words_arrive(shop: tuple[Shop, RealShop, Channel]) -> None:
    remote, real, _ = shop
    assert await remote.buy(Order("tea")) == [Order("tea", 1)]
    assert await remote.buy(order=Order("tea", 2), hurry=True) == [Order("tea", 2)] * 2
    remote.look("window")
    await remote.close("evening")
    assert real.looked == ["window", "evening"]


async def test_errors_that_both_sides_know_arrive(shop: tuple[Shop, RealShop, Channel]) -> None:
    remote, _, _ = shop
    with pytest.raises(Full, match="not so many"):
        await remote.buy(Order("tea", 3))
    with pytest.raises(CallFailed, match="a bug"):
        await remote.buy(Order("tea", -1))


async def test_only_the_port_can_be_used(shop: tuple[Shop, RealShop, Channel]) -> None:
    remote, real, channel = shop
    assert not hasattr(remote, "secret")
    with pytest.raises(CallFailed):
        await channel.call("Shop.secret", b"{}")
    with pytest.raises(CallFailed):
        await channel.call("Shop.buy", b'{"order": 1, "hurry": false}')
    with pytest.raises(CallFailed):
        await channel.call("Shop.buy", b'{"order": {"what": "tea", "many": 1}}')
    assert real.looked == []
    with pytest.raises(TypeError):
        await remote.buy(1, 2, 3)  # type: ignore[call-arg, arg-type]
