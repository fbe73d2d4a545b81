"""Holds for which nobody waits: the statement fails at once, and runs once when it is sent again after its approval."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.config import load_config
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    GatewayProcess,
    RunningGateway,
    make_config,
    merged,
    running_gateway,
    write_config,
)
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import B, E, Message, P, Q, RawClient, S, tags

ERASURE: dict[str, Any] = {**SHOP_POLICY["rules"][0], "hold": "ticket"}
POLICY = merged(SHOP_POLICY, {"rules": [ERASURE]})
DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
LINES = "SELECT count(*) FROM invoice_line"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    async with running_gateway(tmp_path, make_config(postgres, POLICY, inspect)) as running:
        yield running


def ticket_in(answer: list[Message]) -> str:
    """The ticket that a refusal names."""
    refused = next(each for each in answer if each.tag == "E")
    assert refused.fields["C"] == "42501"
    match = re.fullmatch("statement needs approval: ticket (H-[0-9A-Z]{26})", refused.fields["M"])
    assert match is not None, refused.fields
    return match[1]


async def test_it_fails_at_once_and_goes_through_once(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(LINES, database)
    answer = await client.query(DELETE)
    assert tags(answer) == "EZ"
    ticket = ticket_in(answer)
    assert "Somebody of group dpo can approve or reject it" in answer[0].fields["H"]
    assert "Rule erasure" in answer[0].fields["D"]
    # The same again is the same ticket, from whatever session of the user.
    assert ticket_in(await client.query(DELETE)) == ticket
    async with await gateway.raw(database) as other:
        assert ticket_in(await other.query(DELETE)) == ticket
    hold = await carol.wait_for_preview(ticket)
    assert (hold["state"], hold["ticket"], hold["use_by"]) == ("pending", True, None)
    assert hold["impact"]["changes"][0]["rows"] == 1
    approved = await carol.approve(ticket)
    assert approved.status_code == 200
    assert approved.json()["use_by"] > approved.json()["resolved_at"]
    async with await gateway.raw(database) as other:
        assert tags(await other.query(DELETE)) == "CZ"
    assert postgres.scalar(LINES, database) == before - 1
    hold = await carol.wait_for_outcome(ticket)
    assert hold["outcome"]["tag"] == "DELETE 1"
    assert ticket_in(await client.query(DELETE)) != ticket
    records = await gateway.recorded(hold_id=ticket)
    assert [(one["kind"], one["tag"]) for one in records] == [
        ("hold", "opened"),
        *[("statement", "(pending)")] * 3,
        ("decision", "approved"),
        ("statement", "DELETE 1"),
    ]


async def test_what_differs_is_another_ticket(client: RawClient, carol: ApproverClient) -> None:
    """Bound to text, parameters, user, database and role, but not to how a driver names its statement."""

    def run(name: str, value: str) -> tuple[bytes, ...]:
        text = "DELETE FROM invoice_line WHERE invoice_line_id = $1"
        return P(text, name), B([value], statement=name), E(), S()

    async def ask(*messages: bytes) -> str:
        await client.send(*messages)
        return ticket_in(await client.read_until("Z"))

    one = await ask(*run("", "7"))
    assert await ask(*run("s_1", "7")) == one
    assert await ask(*run("s_2", "8")) != one
    assert ticket_in(await client.query(DELETE)) != one
    await client.query("CREATE ROLE clerk; GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
    await carol.approve(one)
    await client.query("SET ROLE clerk")
    assert await ask(*run("s_3", "7")) != one
    await client.query("RESET ROLE")
    await client.send(*run("s_4", "7"))
    assert tags(await client.read_until("Z")) == "12CZ"
    await client.query("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM clerk; DROP ROLE clerk")


async def test_of_two_at_once_one_goes_through(
    gateway: RunningGateway, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(LINES, database)
    clients = [await gateway.raw(database) for _ in range(6)]
    try:
        sql = "DELETE FROM invoice_line WHERE invoice_line_id IN (SELECT max(invoice_line_id) FROM invoice_line)"
        asked = await asyncio.gather(*(one.query(sql) for one in clients))
        (ticket,) = {ticket_in(answer) for answer in asked}
        await carol.approve(ticket)
        answers = await asyncio.gather(*(one.query(sql) for one in clients))
        assert sorted(tags(answer) for answer in answers) == ["CZ", *["EZ"] * 5]
        (other,) = {ticket_in(answer) for answer in answers if tags(answer) == "EZ"}
        assert other != ticket
    finally:
        for one in clients:
            one.abort()
    assert postgres.scalar(LINES, database) == before - 1


async def test_a_rejection_is_told_to_whoever_runs_it_again(client: RawClient, carol: ApproverClient) -> None:
    ticket = ticket_in(await client.query(DELETE))
    await carol.reject(ticket, "not without a request")
    for _ in range(2):
        answer = await client.query(DELETE)
        assert answer[0].fields["M"] == "statement rejected by carol: not without a request"
        assert ticket in answer[0].fields["D"]


async def test_in_a_transaction_it_fails_as_any_error(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    await client.query("BEGIN")
    answer = await client.query(DELETE)
    ticket = ticket_in(answer)
    assert answer[-1].payload == b"E"
    await client.query("ROLLBACK")
    await carol.approve(ticket)
    before = postgres.scalar(LINES, database)
    await client.query("BEGIN")
    assert tags(await client.query(DELETE)) == "CZ"
    await client.query("COMMIT")
    assert postgres.scalar(LINES, database) == before - 1


async def test_it_is_for_no_more_rows_than_were_seen(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    sql = "DELETE FROM invoice_line WHERE quantity = 77"
    postgres.execute("UPDATE invoice_line SET quantity = 77 WHERE invoice_line_id < 4", database)
    ticket = ticket_in(await client.query(sql))
    await carol.wait_for_preview(ticket)
    assert (await carol.approve(ticket)).json()["max_rows"] == 3
    postgres.execute("UPDATE invoice_line SET quantity = 77 WHERE invoice_line_id = 4", database)
    answer = await client.query(sql)
    assert "it changed 4 rows, and no more than 3 rows" in answer[0].fields["M"]
    # It was used all the same.
    assert ticket_in(await client.query(sql)) != ticket


async def test_whose_approver_is_gone_is_void(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres
) -> None:
    ticket = ticket_in(await client.query(DELETE))
    await carol.approve(ticket)
    config = gateway.gateway.config
    gateway.gateway.reload(_without(config, "carol"))
    answer = await client.query(DELETE)
    assert f"the approval of hold {ticket} is void" in answer[0].fields["M"]
    assert ticket_in(await client.query(DELETE)) != ticket


def _without(config: Any, name: str) -> Any:
    """The configuration with somebody disabled, and the same policy."""
    users = {**config.users, name: dataclasses.replace(config.users[name], enabled=False)}
    return dataclasses.replace(config, users=users)


async def test_an_identity_may_ask_for_it(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """For an application; people of the same rule wait, and a rule that says so has the last word."""
    users = {"users": {"postgres": {"hold": "ticket", "groups": ["support"]}}}
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, users)) as gateway:
        carol = await gateway.client("carol")
        async with await gateway.raw(database) as client:
            ticket = ticket_in(await client.query(DELETE))
            await carol.approve(ticket)
            assert tags(await client.query(DELETE)) == "CZ"
            rule = {**ERASURE, "hold": "wait"}
            again = make_config(postgres, SHOP_POLICY, users, {"rules": [rule]})
            gateway.gateway.reload(load_config(write_config(tmp_path, again)))
            await client.send(Q(DELETE))
            hold = await carol.wait_for_hold(user="postgres")
            assert not hold["ticket"]
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")


@pytest.mark.timeout(90)
async def test_it_outlives_the_gateway(postgres: Postgres, database: str, tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path, make_config(postgres, POLICY))
    async with process:
        async with await RawClient.connect(process.host, process.port, database=database) as client:
            ticket = ticket_in(await client.query(DELETE))
        await process.kill()
        await process.start()
        async with await process.client("carol") as carol:
            assert (await carol.hold(ticket))["state"] == "pending"
            assert (await carol.approve(ticket)).status_code == 200
        await process.kill()
        await process.start()
        async with await RawClient.connect(process.host, process.port, database=database) as client:
            assert tags(await client.query(DELETE)) == "CZ"
            assert ticket_in(await client.query(DELETE)) != ticket


async def test_a_driver_and_psql(
    gateway: RunningGateway, carol: ApproverClient, database: str, postgres: Postgres
) -> None:
    async with await gateway.psycopg(database) as connection:
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="needs approval: ticket H-"
        ) as refused:
            await connection.execute("DELETE FROM invoice_line WHERE invoice_line_id = %s", (9,))
        ticket = str(refused.value).split("ticket ")[1][:28]
        await carol.approve(ticket)
        done = await connection.execute("DELETE FROM invoice_line WHERE invoice_line_id = %s", (9,))
        assert done.rowcount == 1
    async with psql(gateway.host, gateway.port, database) as shell:
        await shell.send(f"{DELETE};")
        said = await shell.until("goes through once")
        await carol.approve(said.split("ticket ")[1][:28])
        await shell.send(f"{DELETE};", "\\echo done")
        assert "DELETE 1" in await shell.until("done")


async def test_criteria_that_are_met_need_no_ticket_and_use_none(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    """Where nobody's data is deleted: of what is, people would be shown the ticket as a conflict."""
    rule = {**ERASURE, "when": {"relation": "plain"}, "criteria": [{"ticket": "GDPR-[0-9]+"}]}
    postgres.execute("CREATE TABLE plain AS SELECT 1 AS id", database)
    sql = "DELETE FROM plain WHERE id = 1"
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, {"rules": [rule]})) as gateway:
        carol = await gateway.client("carol")
        async with await gateway.raw(database) as client:

            async def run() -> list[Message]:
                return [one for one in await client.query(sql) if one.tag != "N"]

            ticket = ticket_in(await run())
            await client.query("SET holdgate.ticket = 'GDPR-7'")
            assert tags(await run()) == "CZ"
            await client.query("RESET holdgate.ticket")
            # The ticket is as it was: for people, and for once.
            assert ticket_in(await run()) == ticket
            await carol.approve(ticket)
            await client.query("SET holdgate.ticket = 'GDPR-7'")
            assert tags(await run()) == "CZ"
            assert (await carol.hold(ticket))["released_at"] is None
            await client.query("RESET holdgate.ticket")
            assert tags(await run()) == "CZ"
            assert (await carol.hold(ticket))["released_at"] is not None
            assert ticket_in(await run()) != ticket


async def test_whoever_breaks_the_glass_needs_no_ticket_and_uses_none(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    rule = merged(ERASURE, {"approval": {"break_glass": ["support"]}})
    users = {"postgres": {"groups": ["support"]}}
    made = make_config(postgres, SHOP_POLICY, {"rules": [rule], "users": users})
    async with running_gateway(tmp_path, made) as gateway:
        carol = await gateway.client("carol")
        async with await gateway.raw(database) as client:
            ticket = ticket_in(await client.query(DELETE))
            await carol.approve(ticket)
            await client.query("SET holdgate.break_glass = 'fire'")
            assert tags([one for one in await client.query(DELETE) if one.tag != "N"]) == "CZ"
            (review,) = (await carol.http.get("/api/v1/reviews")).json()["holds"]
            assert review["id"] != ticket
            assert (await carol.hold(ticket))["released_at"] is None
            await client.query("RESET holdgate.break_glass")
            assert tags(await client.query(DELETE)) == "CZ"
            assert ticket_in(await client.query(DELETE)) != ticket
