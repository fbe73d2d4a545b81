"""What a requester says of a statement, however it is said; and what they are told of what waits."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    held,
    make_config,
    running_gateway,
)
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.relay import Relay
from tests.support.wire import B, E, Message, P, Q, RawClient, S, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"


async def said(client: RawClient, carol: ApproverClient, *request: bytes) -> dict[str, Any]:
    """The intent on the hold of a request, which is rejected then."""
    hold = await held(client, carol, *request)
    await carol.reject(hold["id"], "seen")
    await client.read_until("Z")
    intent: dict[str, Any] = hold["intent"]
    return intent


def words(reason: str | None, ticket: str | None) -> dict[str, str | None]:
    return {"reason": reason, "ticket": ticket, "break_glass": None}


async def test_settings_of_the_session_in_psql(
    gateway: RunningGateway, carol: ApproverClient, database: str
) -> None:
    async with psql(gateway.host, gateway.port, database) as client:
        await client.send("SET holdgate.reason = 'the customer asked';", "SET holdgate.ticket = 'GDPR-7';")
        await client.send(DELETE + ";")
        await client.until("statement waits for approval")
        hold = await carol.wait_for_hold()
        assert hold["intent"] == words("the customer asked", "GDPR-7")
        await carol.approve(hold["id"])
        await client.until("DELETE 1")
    records = await gateway.recorded(hold_id=hold["id"])
    assert [(one["kind"], one.get("details", {}).get("intent")) for one in records] == [
        ("hold", words("the customer asked", "GDPR-7")),
        ("decision", words("the customer asked", "GDPR-7")),
        ("statement", None),
    ]


async def test_nothing_said_is_nothing(client: RawClient, carol: ApproverClient) -> None:
    assert await said(client, carol, Q(DELETE)) == words(None, None)


async def test_a_comment_in_front_says_it_for_one_statement(client: RawClient, carol: ApproverClient) -> None:
    await client.query("SET holdgate.reason = 'of the session'; SET holdgate.ticket = 'S-1'")
    spoken = f"/* reason: of the statement */ {DELETE}"
    assert await said(client, carol, Q(spoken)) == words("of the statement", "S-1")
    assert await said(client, carol, P(spoken), B(), E(), S()) == words("of the statement", "S-1")
    assert await said(client, carol, Q(DELETE)) == words("of the session", "S-1")


@pytest.mark.parametrize(
    "options", ["-c holdgate.reason=at\\ login -c holdgate.ticket=L-1", "--holdgate.ticket=L-1"]
)
async def test_the_connections_options(
    gateway: RunningGateway, carol: ApproverClient, database: str, options: str
) -> None:
    reason = "at login" if "reason" in options else None
    async with await gateway.raw(database, options=options) as client:
        assert await said(client, carol, Q(DELETE)) == words(reason, "L-1")
        await client.query("SET holdgate.ticket = 'later'")
        assert await said(client, carol, Q(DELETE)) == words(reason, "later")
        await client.query("RESET holdgate.ticket")
        assert await said(client, carol, Q(DELETE)) == words(reason, "L-1")


async def test_it_follows_the_session_through_rollback(client: RawClient, carol: ApproverClient) -> None:
    """Whatever the server takes back, and however it was set, is so here too."""
    await client.query("SET holdgate.reason = 'kept'")
    await client.query("BEGIN")
    await client.query("SET holdgate.reason = 'taken back'")
    await client.query("ROLLBACK")
    assert await said(client, carol, Q(DELETE)) == words("kept", None)
    await client.query("BEGIN; SET LOCAL holdgate.ticket = 'of the transaction'; SAVEPOINT one")
    await client.query("SELECT set_config('holdgate.reason', 'in a savepoint', false)")
    await client.query("ROLLBACK TO one")
    hold = await held(client, carol, Q(DELETE))
    assert hold["intent"] == words("kept", "of the transaction")
    await carol.reject(hold["id"], "no")
    await client.read_until("Z")
    await client.query("ROLLBACK")
    assert await said(client, carol, Q(DELETE)) == words("kept", None)
    await client.query("DISCARD ALL")
    assert await said(client, carol, Q(DELETE)) == words(None, None)


async def test_in_the_middle_of_a_series(client: RawClient, carol: ApproverClient) -> None:
    await client.query("SET holdgate.ticket = 'T-1'")
    series = [P("SELECT 1"), B(), E(), P(DELETE), B(), E(), S()]
    assert await said(client, carol, *series) == words(None, "T-1")
    assert tags(await client.query("SELECT 1")) == "TDCZ"


@pytest.mark.parametrize("text", ["\x1b[2J\u202e", "ä'\"\\", "x" * 5_000])
async def test_hostile_words_are_kept_as_they_are_up_to_a_length(
    gateway: RunningGateway, carol: ApproverClient, database: str, text: str
) -> None:
    async with await gateway.psycopg(database) as client:
        await client.execute("SELECT set_config('holdgate.reason', %s, false)", [text])
        deleting = asyncio.ensure_future(client.execute(DELETE))
        hold = await carol.wait_for_hold()
        assert hold["intent"] == words(text[:2_000], None)
        await carol.reject(hold["id"], "no")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await deleting


class TestPending:
    def shown(self, answer: list[Message]) -> str:
        (row,) = [each for each in answer if each.tag == "D"]
        return row.payload[6:].decode()

    async def test_a_session_is_told_what_waits_of_its_user(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, database: str
    ) -> None:
        hold = await held(client, carol, Q(f"{DELETE} /* it's \\ ä */"))
        async with psql(gateway.host, gateway.port, database) as other:
            await other.send("SHOW holdgate.pending;")
            line = await other.until("FROM invoice_line")
            assert line.startswith(f"{hold['id']} waits for 1 of dpo, rule erasure, expires in ")
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")
            await other.send("SHOW holdgate.pending;")
            await other.until("nothing waits for a decision")

    async def test_of_others_nothing_is_told(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        await held(client, carol, Q(DELETE))
        postgres.execute("DO $$ BEGIN CREATE ROLE alice LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
        async with await gateway.raw(database, user="alice") as other:
            assert self.shown(await other.query("show HOLDGATE.PENDING")) == "nothing waits for a decision"

    async def test_by_every_protocol_and_in_a_transaction(self, client: RawClient) -> None:
        sql = "SHOW holdgate.pending"
        await client.send(P(sql), B(), E(), S())
        answer = await client.read_until("Z")
        assert tags(answer) == "12DCZ"
        assert self.shown(answer) == "nothing waits for a decision"
        await client.query("BEGIN")
        assert tags(await client.query(sql)) == "TDCZ"
        assert client.status == "T"
        await client.query("SELECT 1/0")
        failed = await client.query(sql)
        assert (tags(failed), failed[0].sqlstate, client.status) == ("EZ", "25P02", "E")

    async def test_without_the_store_it_says_so(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        store = postgres.create_database(template=None)
        async with Relay(postgres.host, postgres.port) as relay:
            url = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{store}"
            made = make_config(postgres, SHOP_POLICY, {"store": {"url": url}})
            async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
                relay.refuse()
                relay.cut()
                answer = await client.query("SHOW holdgate.pending")
                assert self.shown(answer) == "the gateway cannot look it up now"
                relay.refuse(False)
        postgres.drop_database(store)
