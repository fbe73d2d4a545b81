"""Criteria that a web service and the database are asked about: what they let through, refuse, and leave to people."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    make_config,
    running_gateway,
)
from tests.support.postgres import Postgres
from tests.support.webservice import WebService, answering, web_service
from tests.support.wire import B, E, Message, P, Q, RawClient, S, tags

REQUESTS = """
CREATE TABLE erasure_request (customer_id integer PRIMARY KEY, verified boolean NOT NULL);
INSERT INTO erasure_request VALUES (7, true), (8, false), (9, true);
"""
VERIFIED = {
    "sql": {
        "name": "verified request",
        "query": "SELECT verified FROM erasure_request WHERE customer_id = $1",
        "parameters": ["subject"],
    }
}
COUNT = "SELECT count(*) FROM {}"


def rule(name: str, relation: str, *criteria: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "when": {"action": "delete", "relation": relation},
        "then": "hold",
        "criteria": list(criteria),
        "approval": {"from": ["dpo"], **more.pop("approval", {})},
        **more,
    }


RULES = [
    {
        "name": "erasure",
        "when": {"action": "delete", "relation": "public.customer"},
        "then": "hold",
        "criteria": [VERIFIED, {"webhook": "desk"}],
        "approval": {"from": ["dpo"], "break_glass": ["oncall"]},
    },
    rule("short", "public.track", {"webhook": "desk"}, approval={"expires": "1s"}),
    rule("by-ticket", "public.genre", {"webhook": "desk"}, hold="ticket"),
    {**SHOP_POLICY["rules"][0], "name": "with-it", "when": {"action": "delete", "data": "personal"}},
]
# What goes with a customer is held by the same rule, so that its criteria count.
RULES[0]["when"] = {
    "action": "delete",
    "relation": ["public.customer", "public.invoice", "public.invoice_line"],
}


@pytest.fixture
async def desk() -> AsyncIterator[WebService]:
    async with web_service() as service:
        yield service


@pytest.fixture
async def gateway(
    postgres: Postgres, tmp_path: Path, desk: WebService, database: str
) -> AsyncIterator[RunningGateway]:
    postgres.execute(REQUESTS, database)
    changes = {
        "databases": {"*": {"inspect": {"user": postgres.superuser}}},
        "checks": {"desk": desk.check(timeout="1s")},
        "users": {"postgres": {"groups": ["oncall"]}},
        "rules": RULES,
        "limits": {"preview_seconds": 0},
    }
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, changes)) as running:
        yield running


def left(postgres: Postgres, database: str, relation: str = "customer") -> int:
    return int(postgres.scalar(COUNT.format(relation), database))


async def end_of(client: RawClient) -> list[Message]:
    """The answer without the notices in front of it."""
    return [one for one in await client.read_until("Z") if one.tag != "N"]


async def outcomes(carol: ApproverClient) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The newest hold, and what came of each of its criteria."""
    hold = (await carol.holds())[0]
    return hold, {one["criterion"]: (one["outcome"], one["why"]) for one in hold["criteria"]}


async def test_all_met_runs_with_the_record_of_a_decision(
    gateway: RunningGateway,
    client: RawClient,
    carol: ApproverClient,
    desk: WebService,
    postgres: Postgres,
    database: str,
) -> None:
    before = left(postgres, database)
    desk.answer = answering({"decision": "allow", "reason": "request 7 is verified"})
    await client.send(
        P("DELETE FROM customer WHERE customer_id = $1", types=(23,)),
        B([(7).to_bytes(4, "big")], formats=(1,)),
        E(),
        S(),
    )
    assert tags(await end_of(client)) == "12CZ"
    assert left(postgres, database) == before - 1
    hold, found = await outcomes(carol)
    assert found == {
        "sql: verified request": ("met", ""),
        "webhook: desk": ("met", "request 7 is verified"),
    }
    assert (hold["state"], hold["checking_until"]) == ("approved", None)
    assert [(one["who"], one["how"]) for one in hold["decisions"]] == [("rule erasure", "rule")]
    (asked,) = desk.asked
    assert asked.is_signed()
    sent = asked.json["data"]["hold"]
    assert (sent["id"], sent["parameters"]) == (hold["id"], ["7"])
    assert {one["outcome"] for one in sent["criteria"]} == {"checking"}
    records = await gateway.recorded(hold_id=hold["id"])
    assert [(one["kind"], one["tag"], one["approved_by"]) for one in records] == [
        ("hold", "opened", []),
        ("hold", "checked", []),
        ("decision", "approved", ["rule erasure"]),
        ("statement", "DELETE 1", ["rule erasure"]),
    ]
    assert records[1]["details"]["criteria"] == hold["criteria"]


async def test_whoever_is_not_provably_meant_is_left_to_people(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = left(postgres, database)
    for sql, outcome, why in (
        ("DELETE FROM customer WHERE customer_id = 8", "unmet", "the query says no for 8"),
        ("DELETE FROM customer WHERE customer_id IN (7, 8)", "unmet", "the query says no for 8"),
        ("DELETE FROM customer WHERE customer_id = 10", "unmet", "the query found nothing for 10"),
        (
            "DELETE FROM customer WHERE email = 'x'",
            "unchecked",
            "the statement does not say whose data it touches",
        ),
        ("DELETE FROM customer WHERE customer_id = 7 OR true", "unchecked", None),
        ("DELETE FROM customer WHERE customer_id = 7; DELETE FROM invoice", "unchecked", None),
        (
            "WITH a AS (DELETE FROM invoice_line) DELETE FROM customer WHERE customer_id = 7",
            "unchecked",
            None,
        ),
    ):
        await client.send(Q(sql))
        assert "criteria of its rule are checked" in (await client.read()).fields["M"]
        assert "still waits for approval" in (await client.read()).fields["M"]
        hold, found = await outcomes(carol)
        assert (hold["state"], hold["checking_until"]) == ("pending", None)
        assert found["sql: verified request"][0] == outcome, (sql, found)
        assert why in (None, found["sql: verified request"][1])
        await carol.reject(hold["id"], "no")
        assert tags(await end_of(client)) == "EZ"
    assert left(postgres, database) == before


async def test_a_service_that_says_no_rejects(
    client: RawClient, carol: ApproverClient, desk: WebService, postgres: Postgres, database: str
) -> None:
    before = left(postgres, database)
    desk.answer = answering({"decision": "deny", "reason": "a lawsuit is\npending"})
    await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
    error, _ = await end_of(client)
    assert error.fields["C"] == "42501"
    assert error.fields["M"] == "statement rejected by rule erasure: desk says no: a lawsuit is pending"
    assert "ask the operator" in error.fields["H"]
    hold, found = await outcomes(carol)
    assert (hold["state"], found["webhook: desk"]) == ("rejected", ("denied", "a lawsuit is pending"))
    assert [(one["who"], one["verdict"]) for one in hold["decisions"]] == [("rule erasure", "reject")]
    assert left(postgres, database) == before


async def test_one_that_hangs_delays_nobody_else_and_then_people_are_asked(
    gateway: RunningGateway,
    client: RawClient,
    carol: ApproverClient,
    desk: WebService,
    postgres: Postgres,
    database: str,
) -> None:
    before = left(postgres, database)
    desk.answer = desk.hang
    await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
    notice = await client.read()
    assert "waits while the criteria of its rule are checked: hold H-" in notice.fields["M"]
    hold = await carol.wait_for_hold()
    assert hold["checking_until"] is not None
    # Nobody is asked yet.
    early = await carol.approve(hold["id"])
    assert (early.status_code, early.json()["type"]) == (409, "urn:holdgate:problem:criteria-being-checked")
    async with await gateway.raw(database) as other:
        async with asyncio.timeout(0.9):
            assert tags(await other.query("SELECT 1")) == "TDCZ"
    notice = await client.read()
    assert "still waits for approval" in notice.fields["M"]
    hold, found = await outcomes(carol)
    assert found["webhook: desk"] == ("unchecked", "there was no answer in 1 s")
    assert found["sql: verified request"] == ("met", "")
    assert left(postgres, database) == before
    assert (await carol.approve(hold["id"])).status_code == 200
    assert tags(await end_of(client)) == "CZ"
    assert left(postgres, database) == before - 1
    text = (await carol.http.get("/metrics")).text
    assert 'holdgate_criteria_total{kind="webhook",outcome="unchecked"} 1.0' in text


async def test_a_client_that_leaves_meanwhile_runs_nothing(
    gateway: RunningGateway, carol: ApproverClient, desk: WebService, postgres: Postgres, database: str
) -> None:
    before = left(postgres, database)
    desk.answer = desk.hang
    async with await gateway.raw(database) as client:
        await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
        hold = await carol.wait_for_hold()
        async with asyncio.timeout(10):
            await desk.arrived.wait()
    assert (await carol.wait_for_end(hold["id"]))["state"] == "abandoned"
    # Nobody waits for what it would have said.
    async with asyncio.timeout(10):
        await desk.left.wait()
    assert left(postgres, database) == before


async def test_somebody_may_reject_meanwhile_and_an_answer_that_comes_later_changes_nothing(
    client: RawClient, carol: ApproverClient, desk: WebService, postgres: Postgres, database: str
) -> None:
    before = left(postgres, database)
    go = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answering({"decision": "allow"})(reader, writer)

    desk.answer = late
    await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
    hold = await carol.wait_for_hold()
    assert (await carol.reject(hold["id"], "not today")).status_code == 200
    go.set()
    error, _ = await end_of(client)
    assert error.fields["M"] == "statement rejected by carol: not today"
    assert left(postgres, database) == before


async def test_the_hold_expires_meanwhile(client: RawClient, desk: WebService, carol: ApproverClient) -> None:
    desk.answer = desk.hang
    await client.send(Q("DELETE FROM track WHERE track_id = 7"))
    async with asyncio.timeout(10):
        answer = await end_of(client)
    assert answer[0].fields["C"] == "57014"
    hold = (await carol.holds())[0]
    assert hold["state"] == "expired"


async def test_who_breaks_the_glass_waits_for_nobody(
    client: RawClient, carol: ApproverClient, desk: WebService
) -> None:
    await client.query("SET holdgate.break_glass = 'it burns'")
    await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
    assert tags(await end_of(client)) == "CZ"
    hold, found = await outcomes(carol)
    assert hold["break_glass"]
    assert set(found.values()) == {("unchecked", "it ran without waiting for anybody")}
    assert desk.asked == []


async def test_a_ticket_is_checked_before_it_is_asked_for(
    client: RawClient, carol: ApproverClient, desk: WebService, postgres: Postgres, database: str
) -> None:
    postgres.execute("INSERT INTO genre VALUES (901, 'a'), (902, 'b'), (903, 'c')", database)
    assert tags(await client.query("DELETE FROM genre WHERE genre_id = 901")) == "CZ"
    desk.answer = answering({"decision": "deny", "reason": "never"})
    for _ in range(2):
        # The second time, the no is remembered.
        error, _ = await client.query("DELETE FROM genre WHERE genre_id = 902")
        assert error.fields["M"] == "statement rejected by rule by-ticket: desk says no: never"
    desk.answer = answering({"decision": "ask"})
    error, _ = await client.query("DELETE FROM genre WHERE genre_id = 903")
    assert error.fields["M"].startswith("statement needs approval: ticket H-")
    assert len(desk.asked) == 3
    hold = (await carol.holds())[0]
    assert (await carol.approve(hold["id"])).status_code == 200
    # What is approved asks nobody.
    assert tags(await client.query("DELETE FROM genre WHERE genre_id = 903")) == "CZ"
    assert len(desk.asked) == 3
    assert int(postgres.scalar("SELECT count(*) FROM genre WHERE genre_id > 900", database)) == 1
