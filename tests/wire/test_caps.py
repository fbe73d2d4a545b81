"""Caps on what was approved: real clients in a queue, and what a server sees of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    held,
    make_config,
    merged,
    running_gateway,
    write_config,
)
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import B, E, Message, P, Q, RawClient, S, send_cancel, tags
from tests.wire.test_tickets import ticket_in

LINE = "DELETE FROM invoice_line WHERE invoice_line_id = {}"
COUNT = "SELECT count(*) FROM invoice_line"
ONE = {"name": "one", "when": {"action": "delete"}, "simultaneous": 1, "by": "relation"}
CAPS: dict[str, Any] = {"caps": [ONE], "users": {"postgres": {"groups": ["support"]}}}


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, CAPS)) as running:
        yield running


def reload(gateway: RunningGateway, postgres: Postgres, *changes: dict[str, Any]) -> None:
    config = merged(make_config(postgres, SHOP_POLICY, CAPS), *changes)
    gateway.gateway.reload(load_config(write_config(gateway.directory, config)))


async def approved(client: RawClient, carol: ApproverClient, *messages: bytes) -> dict[str, Any]:
    """Send what is held, and have it approved."""
    hold = await held(client, carol, *messages)
    assert (await carol.approve(hold["id"])).status_code == 200
    return hold


async def queued(
    client: RawClient, carol: ApproverClient, *messages: bytes
) -> tuple[dict[str, Any], Message]:
    """Send what is held, have it approved, and read that it waits for room."""
    hold = await approved(client, carol, *messages)
    notice = await client.read()
    assert notice.tag == "N", notice
    assert notice.fields["M"].startswith(
        f"statement is approved and waits for room: hold {hold['id']}, place "
    )
    return hold, notice


async def cancel(gateway: RunningGateway, client: RawClient) -> None:
    await send_cancel(gateway.host, gateway.port, client.pid, client.secret)


async def end(client: RawClient) -> list[Message]:
    """What the statement ends with, without the notices."""
    return [each for each in await client.read_until("Z") if each.tag != "N"]


async def in_transaction(client: RawClient, carol: ApproverClient, line: int) -> None:
    """Delete a line in a transaction that stays open, and so keeps its place."""
    await client.query("BEGIN")
    await approved(client, carol, Q(LINE.format(line)))
    assert tags(await end(client)) == "CZ"


async def test_it_goes_on_by_itself_when_the_transaction_in_front_ends(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    await in_transaction(client, carol, 1)
    second, third = await gateway.raw(database), await gateway.raw(database)
    async with second, third:
        hold, notice = await queued(second, carol, Q(LINE.format(2)))
        assert notice.fields["M"].endswith("place 1 of 1")
        assert notice.fields["D"] == (
            f"Cap one: no more than 1 at the same time for {database}.public.invoice_line."
        )
        assert "It goes on by itself until " in notice.fields["H"]
        other, notice = await queued(third, carol, Q(LINE.format(3)))
        assert notice.fields["M"].endswith("place 2 of 2")
        # Everybody is told: the management port, and the user in any session.
        shown = await carol.hold(other["id"])
        assert (shown["state"], shown["released_at"]) == ("approved", None)
        assert (shown["queue"]["cap"], shown["queue"]["place"], shown["queue"]["of"]) == ("one", 2, 2)
        (spot,) = await carol.queue()
        assert (len(spot["taken"]), spot["waiting"]) == (1, [hold["id"], other["id"]])
        async with psql(gateway.host, gateway.port, database) as shell:
            await shell.send("SHOW holdgate.pending;")
            await shell.until(f"{hold['id']} is approved and waits for room, place 1 of 2 of cap one")
        # Reading and what no cap speaks of goes on.
        async with await gateway.raw(database) as reader:
            assert tags(await reader.query(COUNT)) == "TDCZ"
            await approved(reader, carol, Q("SELECT email FROM customer"))
            assert tags(await end(reader)).endswith("CZ")
        await client.query("COMMIT")
        answer = await second.read_until("Z")
        assert tags(answer) == "CZ"
        moved = await third.read()
        assert moved.fields["M"].endswith("place 1 of 1") or moved.tag == "C"
        assert tags(await end(third)).endswith("Z")
    assert postgres.scalar(COUNT, database) == before - 3
    records = await gateway.recorded(kind="hold", tag="queued")
    assert [(one["hold_id"], one["details"]["queue"]["place"]) for one in records] == [
        (hold["id"], 1),
        (other["id"], 2),
    ]
    (record,) = await gateway.recorded(kind="statement", hold_id=other["id"])
    assert record["held_ms"] > 0
    await carol.wait_for_queue(0, 0)


async def test_a_transaction_does_not_wait_for_itself(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    await in_transaction(client, carol, 1)
    await approved(client, carol, P("DELETE FROM invoice_line WHERE invoice_line_id = 2"), B(), E(), S())
    assert tags(await end(client)) == "12CZ"
    await client.query("ROLLBACK")
    assert postgres.scalar(COUNT, database) == before
    await carol.wait_for_queue(0, 0)


async def test_whoever_leaves_the_queue_makes_room_and_runs_nothing(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    await in_transaction(client, carol, 1)
    clients = [await gateway.raw(database) for _ in range(4)]
    holds = [(await queued(one, carol, Q(LINE.format(2 + at))))[0] for at, one in enumerate(clients)]
    gone, canceling, killed, staying = clients
    gone.abort()
    assert (await carol.wait_for_state(holds[0]["id"], "abandoned"))["released_at"] is None
    await cancel(gateway, canceling)
    (error, _) = await end(canceling)
    assert (error.sqlstate, error.fields["M"]) == ("57014", "canceling statement due to user request")
    assert (await carol.hold(holds[1]["id"]))["state"] == "withdrawn"
    assert tags(await canceling.query("SELECT 1")) == "TDCZ"
    root = await gateway.client("root")
    assert (await root.http.delete(f"/api/v1/sessions/{holds[2]['session_id']}")).status_code == 204
    assert (await carol.wait_for_state(holds[2]["id"], "interrupted"))["end_reason"] == "ended by root"
    await carol.wait_for_queue(1, 1)
    await client.query("COMMIT")
    assert tags(await end(staying)) == "CZ"
    for one in (canceling, killed, staying):
        one.abort()
    assert postgres.scalar(COUNT, database) == before - 2


async def test_two_transactions_that_wait_for_each_other(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    """As with locks one of them fails, and the other goes on."""
    before = postgres.scalar(COUNT, database)
    alone = {
        **ONE,
        "when": {"action": "delete", "relation": ["public.invoice_line", "public.playlist_track"]},
    }
    reload(
        gateway,
        postgres,
        {"caps": [alone], "rules": [{**SHOP_POLICY["rules"][0], "when": {"action": "delete"}}]},
    )
    postgres.execute("CREATE TABLE IF NOT EXISTS playlist_track (id int)", database)
    track = "DELETE FROM playlist_track"
    async with await gateway.raw(database) as other:
        await in_transaction(client, carol, 1)
        await other.query("BEGIN")
        await approved(other, carol, Q(track))
        assert tags(await end(other)) == "CZ"
        await queued(client, carol, Q(track))
        hold, _ = await queued(other, carol, Q(LINE.format(2)))
        (error, ready) = await end(other)
        assert (error.sqlstate, ready.payload) == ("40P01", b"E")
        assert error.fields["M"] == f"deadlock detected: hold {hold['id']} was ended"
        assert (await carol.hold(hold["id"]))["state"] == "interrupted"
        await other.query("ROLLBACK")
        assert tags(await end(client)) == "CZ"
        await client.query("COMMIT")
    assert postgres.scalar(COUNT, database) == before - 1


async def test_what_cannot_begin_in_the_time_of_its_approval_expires(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    rule = merged(SHOP_POLICY["rules"][0], {"approval": {"expires": "1s"}})
    await in_transaction(client, carol, 1)
    reload(gateway, postgres, {"rules": [rule]})
    async with await gateway.raw(database) as late:
        hold, _ = await queued(late, carol, Q(LINE.format(2)))
        (error, _) = await end(late)
        assert (error.sqlstate, error.fields["M"]) == (
            "57014",
            f"hold {hold['id']} was approved and expired: there was no room for it in time",
        )
        assert (await carol.hold(hold["id"]))["state"] == "expired"
        await client.query("COMMIT")
        assert tags(await late.query("SELECT 1")) == "TDCZ"


async def test_what_changed_in_the_queue_makes_the_approval_void(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    await in_transaction(client, carol, 1)
    async with await gateway.raw(database) as second:
        hold, _ = await queued(second, carol, Q(LINE.format(2)))
        reload(gateway, postgres, {"users": {"carol": {"enabled": False}}, "caps": [ONE]})
        await client.query("ROLLBACK")
        (error, _) = await end(second)
        assert error.fields["M"].startswith(f"the approval of hold {hold['id']} is void: ")
    assert postgres.scalar(COUNT, database) == before


async def test_other_caps_count_at_once(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    await in_transaction(client, carol, 1)
    async with await gateway.raw(database) as second, await gateway.raw(database) as third:
        await queued(second, carol, Q(LINE.format(2)))
        await queued(third, carol, Q(LINE.format(3)))
        reload(gateway, postgres, {"caps": [{**ONE, "simultaneous": 2}]})
        assert tags(await end(second)) == "CZ"
        assert tags(await end(third)) == "CZ"
        reload(gateway, postgres, {"caps": [ONE]})
        await queued(second, carol, Q("DELETE FROM invoice_line WHERE invoice_line_id = 4; SELECT 1"))
        reload(gateway, postgres, {"caps": []})
        assert tags(await end(second)) == "CTDCZ"


class TestWhoeverApproves:
    """Criteria, break-glass and tickets."""

    async def test_what_meets_all_criteria_waits_as_everybody(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        await in_transaction(client, carol, 1)
        rule = {**SHOP_POLICY["rules"][0], "criteria": [{"groups": ["support"]}]}
        reload(gateway, postgres, {"rules": [rule]})
        async with await gateway.raw(database) as second:
            await second.send(Q(LINE.format(2)))
            assert "approved by its rule" in (await second.read()).fields["M"]
            assert (await second.read()).fields["M"].endswith("place 1 of 1")
            await client.query("COMMIT")
            assert tags(await end(second)) == "CZ"

    async def test_whoever_breaks_the_glass_does_not_wait_and_counts(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        await in_transaction(client, carol, 1)
        rule = merged(SHOP_POLICY["rules"][0], {"approval": {"break_glass": ["support"]}})
        reload(gateway, postgres, {"rules": [rule]})
        async with await gateway.raw(database) as urgent, await gateway.raw(database) as third:
            await urgent.query("SET holdgate.break_glass = 'fire'; BEGIN")
            await urgent.send(Q(LINE.format(2)))
            assert tags(await end(urgent)) == "CZ"
            await queued(third, carol, Q(LINE.format(3)))
            await client.query("COMMIT")
            await carol.wait_for_queue(1, 1)
            await urgent.query("COMMIT")
            assert tags(await end(third)) == "CZ"

    async def test_a_ticket_waits_when_it_is_used_and_stays_good_if_it_is_not(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        await in_transaction(client, carol, 1)
        reload(gateway, postgres, {"rules": [{**SHOP_POLICY["rules"][0], "hold": "ticket"}]})
        delete = LINE.format(2)
        async with await gateway.raw(database) as one, await gateway.raw(database) as other:
            ticket = ticket_in(await one.query(delete))
            await carol.approve(ticket)
            # It takes no place before somebody comes to use it.
            (spot,) = await carol.queue()
            assert spot["waiting"] == []
            await one.send(Q(delete))
            assert (await one.read()).fields["M"].endswith("place 1 of 1")
            await cancel(gateway, one)
            (error, _) = await end(one)
            assert error.fields["M"] == f"ticket {ticket} was not used: canceled by the user"
            # Twice at the same moment: of the two that wait for room with it one runs.
            for each in (one, other):
                await each.send(Q(delete))
                assert (await each.read()).tag == "N"
            await client.query("COMMIT")
            answers = await asyncio.gather(end(one), end(other))
            assert sorted(map(tags, answers)) == ["CZ", "EZ"]
            assert ticket_in(next(answer for answer in answers if tags(answer) == "EZ")) != ticket


async def test_so_many_an_hour(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    hourly = {"name": "hourly", "when": {"action": "delete"}, "count": 2, "per": "hour", "by": "user"}
    reload(gateway, postgres, {"caps": [hourly]})
    for line in (1, 2):
        await approved(client, carol, Q(LINE.format(line)))
        assert tags(await end(client)) == "CZ"
    _, notice = await queued(client, carol, Q(LINE.format(3)))
    assert notice.fields["D"].startswith(
        "Cap hourly: no more than 2 an hour for postgres. There will be room at "
    )
    await cancel(gateway, client)
    assert tags(await end(client)) == "EZ"
    # Somebody else is not asked to wait.
    postgres.execute("DO $$ BEGIN CREATE ROLE alice LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    postgres.execute("GRANT SELECT, DELETE ON invoice_line TO alice", database)
    async with await gateway.raw(database, user="alice") as alice:
        await approved(alice, carol, Q(LINE.format(3)))
        assert tags(await end(alice)) == "CZ"
