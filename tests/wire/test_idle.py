"""What a session keeps while it does nothing: little, and no more after a day than after a minute.

Counted in bytes of Python objects, in this process. ``make bench-sessions`` weighs whole processes.
"""

import gc

from gateway import tasks
from tests.support.gateway import RunningGateway, held
from tests.support.weight import weight
from tests.support.wire import B, C, D, E, P, Q, RawClient, S, tags

SESSIONS = 10

IDLE_BYTES = 18 * 1024
"""Objects of one idle session, its last statements among them. The process also keeps two sockets and the allocator's
waste for it."""

HELD_BYTES = 40 * 1024
"""The same with a hold: the statement, why it is held, its preview, what waits for a decision, and the last events
that pages may ask for."""


async def weighed(gateway: RunningGateway) -> int:
    """The bytes of all that the gateway and its tasks hold, once nothing waits for the disk."""
    await gateway.written()
    gc.collect()
    return weight([gateway.gateway, *tasks.running()])


async def used(client: RawClient) -> None:
    """A session's life in small: what succeeds and what fails, simple and extended."""
    assert tags(await client.query("SELECT name FROM genre WHERE genre_id = 1")) == "TDCZ"
    assert tags(await client.query("SELECT 1/0")) == "EZ"
    assert tags(await client.exchange(P("SELECT $1::int", "s"), D("S", "s"), S())) == "1tTZ"
    assert tags(await client.exchange(B(["1"], statement="s"), E(), C("S", "s"), S())) == "2DC3Z"
    for sql in ("BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH c", "ROLLBACK"):
        assert (await client.query(sql))[-1].tag == "Z"


async def test_an_idle_session_is_light(gateway: RunningGateway, database: str) -> None:
    clients = [await gateway.raw(database) for _ in range(3)]
    for client in clients:
        await used(client)
    before = await weighed(gateway)
    for _ in range(SESSIONS):
        clients.append(await gateway.raw(database))
        await used(clients[-1])
    each = (await weighed(gateway) - before) / SESSIONS
    for client in clients:
        await client.close()
    assert each < IDLE_BYTES


async def test_a_session_that_is_used_for_long_is_as_light(gateway: RunningGateway, database: str) -> None:
    async with await gateway.raw(database) as client:
        for _ in range(5):
            await used(client)
        before = await weighed(gateway)
        for _ in range(100):
            await used(client)
        # Ten bytes for each of these statements would be more; what is made once and late is less.
        assert await weighed(gateway) - before < 8192


async def test_sessions_leave_nothing_behind(gateway: RunningGateway, database: str) -> None:
    async def come_and_go() -> None:
        async with await gateway.raw(database) as client:
            await used(client)

    async with await gateway.raw(database):
        for _ in range(3):
            await come_and_go()
        await gateway.until_sessions(1)
        before = await weighed(gateway)
        for _ in range(20):
            await come_and_go()
        await gateway.until_sessions(1)
        assert await weighed(gateway) - before < 20 * 256


async def test_a_held_session_is_light(gateway: RunningGateway, database: str) -> None:
    carol = await gateway.client()
    first = await gateway.raw(database)
    await held(first, carol, Q("DELETE FROM customer WHERE customer_id = 1"))
    before = await weighed(gateway)
    clients = [first]
    for number in range(SESSIONS):
        clients.append(await gateway.raw(database))
        # Of somebody else each time: what conflicts with a hold is kept with it.
        await clients[-1].send(Q(f"DELETE FROM customer WHERE customer_id = {number + 2}"))
        assert (await clients[-1].read()).tag == "N"
    each = (await weighed(gateway) - before) / SESSIONS
    for client in clients:
        client.abort()
    assert each < HELD_BYTES
