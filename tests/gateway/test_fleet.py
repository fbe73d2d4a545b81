"""Two gateways on one store: what one decides the other hears, and what a dead one left nobody can use."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.fleet import Fleet
from gateway.holds import HoldState
from gateway.metrics import Metrics
from tests.gateway.management import hold_request
from tests.gateway.store.samples import sqlite_url
from tests.gateway.test_holds import open_desk, soon
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    GatewayProcess,
    held,
    make_config,
)
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.relay import Relay
from tests.support.wire import Message, Q, RawClient, tags

pytestmark = pytest.mark.timeout(120)

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
COUNT = "SELECT count(*) FROM invoice_line"
TWO_OF_THEM = {
    "rules": [
        {
            "name": "erasure",
            "when": {"action": "delete"},
            "then": "hold",
            "approval": {"from": ["dpo"], "quorum": 2},
        }
    ]
}


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[str]:
    """The address of a new PostgreSQL store."""
    name = postgres.create_database(template=None)
    yield f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{name}"
    postgres.drop_database(name)


class Pair:
    """Two gateways as processes. Whatever is asked of ``there`` is meant to reach what waits ``here``."""

    def __init__(self, here: GatewayProcess, there: GatewayProcess) -> None:
        self.here = here
        self.there = there


@contextlib.asynccontextmanager
async def pair(postgres: Postgres, folder: Path, store: str, *changes: dict[str, Any]) -> AsyncIterator[Pair]:
    gateways = []
    for name in ("here", "there"):
        (folder / name).mkdir()
        config = make_config(postgres, SHOP_POLICY, {"store": {"url": store}}, *changes)
        gateways.append(GatewayProcess(folder / name, config))
    async with gateways[0] as here, gateways[1] as there:
        yield Pair(here, there)


async def metric(gateway: GatewayProcess, viewer: ApproverClient, name: str) -> float:
    text = (await viewer.http.get(f"{gateway.url}/metrics")).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


async def test_a_decision_through_any_reaches_the_one_that_holds(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    async with pair(postgres, tmp_path, store) as fleet, await fleet.there.client("carol") as carol:
        async with psql(fleet.here.host, fleet.here.port, database) as client:
            await client.send(DELETE + ";")
            await client.until("waits for approval")
            hold = await carol.wait_for_hold()
            decided = time.monotonic()
            assert (await carol.approve(hold["id"], "asked")).status_code == 200
            await client.until("DELETE 1")
            assert time.monotonic() - decided < 2, "a second, and some for a busy machine"
            async with asyncio.timeout(10):
                while (await carol.hold(hold["id"]))["outcome"] is None:
                    await asyncio.sleep(0.05)
        assert postgres.scalar(COUNT, database) == before - 1
        # The one that took the decision has it in its audit, and the one that let the statement run.
        for gateway, elsewhere in ((fleet.there, None), (fleet.here, True)):
            (record,) = gateway.audit(kind="decision")
            assert (record["hold_id"], record["approved_by"]) == (hold["id"], ["carol"])
            assert record["details"].get("elsewhere") is elsewhere
        (record,) = fleet.here.audit(kind="statement", hold_id=hold["id"])
        assert (record["tag"], record["approved_by"]) == ("DELETE 1", ["carol"])


async def test_a_rejection_and_votes_through_both(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    async with (
        pair(postgres, tmp_path, store, TWO_OF_THEM) as fleet,
        await fleet.here.client("carol") as carol,
        await fleet.there.client("dave") as dave,
        await RawClient.connect(fleet.here.host, fleet.here.port, database=database) as client,
    ):
        hold = await held(client, carol, Q(DELETE))
        assert (await dave.approve(hold["id"])).json()["state"] == "pending"
        # Somebody who has approved there has approved here.
        again = await dave.http.post(f"{fleet.here.url}/api/v1/holds/{hold['id']}/approve", json={})
        assert again.status_code == 409
        notice = await client.read()
        assert "Approved by dave so far." in notice.fields["D"]
        assert (await carol.approve(hold["id"])).json()["state"] == "approved"
        assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "CZ"
        hold = await held(client, carol, Q(DELETE))
        await dave.reject(hold["id"], "not again")
        (error, _) = [one for one in await client.read_until("Z") if one.tag != "N"]
        assert error.fields["M"] == "statement rejected by dave: not again"


async def test_what_a_killed_gateway_held_is_interrupted_in_ten_seconds(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    async with pair(postgres, tmp_path, store) as fleet, await fleet.there.client("carol") as carol:
        here = await RawClient.connect(fleet.here.host, fleet.here.port, database=database)
        there = await RawClient.connect(fleet.there.host, fleet.there.port, database=database)
        async with here, there:
            lost = await held(here, carol, Q(DELETE))
            await there.send(Q("DELETE FROM invoice_line WHERE invoice_line_id = 8"))
            assert (await there.read()).tag == "N"
            kept = next(one for one in await carol.holds(state="pending") if one["id"] != lost["id"])
            await fleet.here.kill()
            ended = await carol.wait_for_end(lost["id"], patience=10)
            assert (ended["state"], ended["end_reason"]) == (
                "interrupted",
                "the gateway whose session waited is gone",
            )
            assert (await carol.approve(lost["id"])).status_code == 409
            # What the living one holds goes on.
            assert (await carol.approve(kept["id"])).status_code == 200
            assert tags([one for one in await there.read_until("Z") if one.tag != "N"]) == "CZ"
    assert postgres.scalar(COUNT, database) == before - 1


async def test_without_the_store_nothing_held_is_decided_and_the_rest_goes_on(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    async with Relay(postgres.host, postgres.port) as relay:
        away = re.sub(r"@[^/]*/", f"@{relay.host}:{relay.port}/", store)
        metrics = {"admin": {"open_metrics": True}}
        async with (
            pair(postgres, tmp_path, away, metrics) as fleet,
            await fleet.there.client("carol") as carol,
            await RawClient.connect(fleet.here.host, fleet.here.port, database=database) as client,
        ):
            assert await metric(fleet.there, carol, "holdgate_store_up") == 1
            hold = await held(client, carol, Q(DELETE))
            relay.refuse()
            relay.cut()
            for gateway in (fleet.here, fleet.there):
                answer = await carol.http.post(f"{gateway.url}/api/v1/holds/{hold['id']}/approve", json={})
                assert answer.status_code in (401, 503)
                other = await RawClient.connect(gateway.host, gateway.port, database=database)
                async with other:
                    assert tags(await other.query("SELECT 1")) == "TDCZ"
                    refused = await other.query("DELETE FROM invoice_line WHERE invoice_line_id = 9")
                    assert (tags(refused), refused[0].sqlstate) == ("EZ", "58000")
                async with asyncio.timeout(20):
                    while await metric(gateway, carol, "holdgate_store_up"):
                        await asyncio.sleep(0.1)
            assert postgres.scalar(COUNT, database) == before
            relay.refuse(False)
            async with asyncio.timeout(20):
                while not await metric(fleet.there, carol, "holdgate_store_up"):
                    await asyncio.sleep(0.1)
            # The pause was not taken for anybody's death: what waited still waits, and can be decided.
            async with asyncio.timeout(20):
                while (await carol.approve(hold["id"])).status_code != 200:
                    await asyncio.sleep(0.1)
            assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "CZ"
    assert postgres.scalar(COUNT, database) == before - 1


HOLDS = 200
APPROVERS = 10


@pytest.mark.timeout(300)
async def test_two_hundred_holds_and_ten_approvers_through_two_gateways(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    """Each hold ends in one state, what was approved ran once, and the audits agree with the rows."""
    people = {f"p{number}": {"groups": ["dpo"], "roles": ["approver"]} for number in range(APPROVERS)}
    limits = {"pending_holds": 1000, "pending_holds_per_user": 1000}
    postgres.execute("CREATE TABLE victim (id int PRIMARY KEY, ran int NOT NULL DEFAULT 0)", database)
    postgres.execute(f"INSERT INTO victim SELECT generate_series(1, {HOLDS})", database)
    # What runs twice would count twice.
    postgres.execute("CREATE TABLE ran (id int, at timestamptz DEFAULT now())", database)
    rule = {"name": "counted", "when": {"relation": "ran"}, "then": "hold", "approval": {"from": ["dpo"]}}
    changes = {"users": people, "limits": limits, "rules": [rule]}
    dice = random.Random(7)
    async with pair(postgres, tmp_path, store, changes) as fleet, contextlib.AsyncExitStack() as stack:
        gateways = (fleet.here, fleet.there)
        approvers = [
            await stack.enter_async_context(await gateways[number % 2].client(f"p{number}"))
            for number in range(APPROVERS)
        ]

        async def run(number: int) -> str:
            gateway = gateways[number % 2]
            client = await psycopg.AsyncConnection.connect(
                host=gateway.host, port=gateway.port, dbname=database, user="postgres", autocommit=True
            )
            async with client:
                try:
                    await client.execute(f"INSERT INTO ran (id) VALUES ({number})")
                except psycopg.errors.InsufficientPrivilege:
                    return "rejected"
                return "approved"

        async def decide(approver: ApproverClient, holds: list[str]) -> list[tuple[str, str]]:
            """(hold, what it became) of those that this approver's word decided."""
            won: list[tuple[str, str]] = []
            for hold_id in holds:
                approve = dice.random() < 0.6
                answer = await (approver.approve(hold_id) if approve else approver.reject(hold_id, "no luck"))
                assert answer.status_code in (200, 409), answer.text
                if answer.status_code == 200:
                    won.append((hold_id, answer.json()["state"]))
            return won

        running = [asyncio.ensure_future(run(number)) for number in range(1, HOLDS + 1)]
        async with asyncio.timeout(120):
            while len(pending := await approvers[0].holds(state="pending", limit="200")) < HOLDS:
                assert not any(one.done() for one in running), "nothing ends before somebody decides"
                await asyncio.sleep(0.5)
        ids = [hold["id"] for hold in pending]
        # Each hold is tried by two of them, in an order of their own.
        shares: list[list[str]] = [[] for _ in approvers]
        for hold_id in ids:
            for chosen in dice.sample(range(APPROVERS), 2):
                shares[chosen].append(hold_id)
        for share in shares:
            dice.shuffle(share)
        async with asyncio.timeout(120):
            decisions = await asyncio.gather(
                *(decide(approver, share) for approver, share in zip(approvers, shares, strict=True))
            )
            ends = await asyncio.gather(*running)
        became = [decision for each in decisions for decision in each]
        assert sorted(hold_id for hold_id, _ in became) == sorted(ids), "each was decided by one"
        states = dict(became)
        final = {hold["id"]: hold["state"] for hold in await approvers[0].holds(limit="200")}
        assert final == states
        approved = sorted(
            int(hold["sql"].split("(")[-1].rstrip(")"))
            for hold in pending
            if states[hold["id"]] == "approved"
        )
        rows = [row[0] for row in postgres.execute("SELECT id FROM ran ORDER BY id", database)]
        assert rows == approved
        assert [number for number, end in enumerate(ends, 1) if end == "approved"] == approved
    ran = [
        record
        for gateway in gateways
        for record in gateway.audit(kind="statement", verdict="hold")
        if record["sqlstate"] is None
    ]
    assert sorted(int(one["sql"].split("(")[-1].rstrip(")")) for one in ran) == approved
    assert {one["hold_id"] for one in ran} == {hold for hold, state in states.items() if state == "approved"}
    for record in ran:
        assert len(record["approved_by"]) == 1


def most_at_once(spans: list[tuple[Any, Any]]) -> int:
    """How many of ``spans`` (begin, end) overlap where most of them do."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    at_work, most = 0, 0
    for _, step in steps:
        at_work += step
        most = max(most, at_work)
    return most


AT_WORK = 3


async def test_tickets_and_grants_through_both_at_the_same_moment(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    """One use is one, whichever gateway it goes through."""
    approval = {"from": ["dpo"], "grants": {"max_for": "1h"}}
    rule = {**SHOP_POLICY["rules"][0], "hold": "ticket", "approval": approval}
    line = "DELETE FROM invoice_line WHERE invoice_line_id = {}"
    before = postgres.scalar(COUNT, database)
    async with (
        pair(postgres, tmp_path, store, {"rules": [rule]}) as fleet,
        await fleet.there.client("carol") as carol,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(
                await RawClient.connect(gateway.host, gateway.port, database=database)
            )
            for gateway in (fleet.here, fleet.there) * 3
        ]

        async def run(*statements: str) -> list[str]:
            """What each client's statement ended with: nothing, or the ticket it names."""
            together = (one.query(sql) for one, sql in zip(clients, statements, strict=True))
            answers = await asyncio.gather(*together)
            errors = [next((one for one in answer if one.tag == "E"), None) for answer in answers]
            return sorted("" if error is None else error.fields["M"][-28:] for error in errors)

        for number in range(1, 4):
            (ticket,) = set(await run(*[line.format(number)] * 6))
            assert (await carol.approve(ticket)).status_code == 200
            ran, *others = await run(*[line.format(number)] * 6)
            assert ran == ""
            (other,) = set(others)
            assert other not in ("", ticket)
        (ticket,) = set(await run(*[line.format(4)] * 6))
        approved = await carol.approve(ticket, grant={"for": "1h", "uses": 4})
        assert approved.json()["granted_id"], approved.text
        ends = await run(*(line.format(10 + number) for number in range(6)))
        assert ends[:4] == [""] * 4
        assert len({*ends[4:]}) == 2
        (view,) = await carol.grants()
        assert (view["state"], view["used"]) == ("used up", 4)
    assert postgres.scalar(COUNT, database) == before - 3 - 4


@pytest.mark.timeout(300)
async def test_caps_are_counted_over_both_and_one_that_dies_gives_back_what_it_had(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    rule = {"name": "slow", "when": {"relation": "ran"}, "then": "hold", "criteria": [{"users": "postgres"}]}
    caps = [
        {"name": "slow", "when": {"relation": "ran"}, "simultaneous": AT_WORK},
        {"name": "deletions", "when": {"action": "delete"}, "simultaneous": 2},
    ]
    limits = {"pending_holds": 1000, "pending_holds_per_user": 1000}
    changes = {"rules": [rule, SHOP_POLICY["rules"][0]], "caps": caps, "limits": limits}
    async with pair(postgres, tmp_path, store, changes) as fleet:
        async with asyncio.timeout(200):
            await many_at_once(fleet, postgres, database)
        await one_is_killed(fleet, postgres, database)


CAPPED = 60


async def many_at_once(fleet: Pair, postgres: Postgres, database: str) -> None:
    """Never more than three at work, as the server saw it: each leaves behind when it began and when it ended."""
    postgres.execute("CREATE TABLE ran (id int, began timestamptz, pause text, ended timestamptz)", database)
    sql = "INSERT INTO ran SELECT {}, clock_timestamp(), pg_sleep(0.04)::text, clock_timestamp()"
    gateways = (fleet.here, fleet.there)

    async def run(number: int) -> None:
        gateway = gateways[number % 2]
        client = await psycopg.AsyncConnection.connect(
            host=gateway.host, port=gateway.port, dbname=database, user="postgres", autocommit=True
        )
        async with client:
            await client.execute(sql.format(number))

    await asyncio.gather(*map(run, range(CAPPED)))
    rows = postgres.execute("SELECT id, began, ended FROM ran", database)
    assert sorted(row[0] for row in rows) == list(range(CAPPED))
    # On a machine that is slow between two of them fewer may overlap.
    assert 1 < most_at_once([(began, ended) for _, began, ended in rows]) <= AT_WORK


async def one_is_killed(fleet: Pair, postgres: Postgres, database: str) -> None:
    """Three of one gateway, two at work in open transactions; two of the other wait for it."""
    line = "DELETE FROM invoice_line WHERE invoice_line_id = {}"
    before = postgres.scalar(COUNT, database)
    gateways = (fleet.here, fleet.here, fleet.here, fleet.there, fleet.there)
    async with await fleet.there.client("carol") as carol, contextlib.AsyncExitStack() as stack:
        await carol.wait_for_queue(0, 0)
        clients = [
            await stack.enter_async_context(
                await RawClient.connect(gateway.host, gateway.port, database=database)
            )
            for gateway in gateways
        ]
        for number, client in enumerate(clients):
            await client.query("BEGIN")
            hold = await held(client, carol, Q(line.format(number + 1)))
            assert (await carol.approve(hold["id"])).status_code == 200
            if number < 2:
                assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "CZ"
            else:
                notice = await client.read()
                assert notice.fields["M"].endswith(f"place {number - 1} of {number - 1}"), notice
        await fleet.here.kill()
        killed = time.monotonic()
        for client in clients[3:]:
            assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "CZ"
            await client.query("COMMIT")
        assert time.monotonic() - killed < 12, "ten seconds, and some for a busy machine"
        await carol.wait_for_queue(0, 0)
    assert postgres.scalar(COUNT, database) == before - 2


async def test_exports_run_before_deletions_of_the_same_person_whichever_gateway_they_come_by(
    postgres: Postgres, tmp_path: Path, store: str, database: str
) -> None:
    export = {
        "name": "export",
        "when": {"action": "read", "data": "personal"},
        "then": "hold",
        "approval": {"from": ["dpo"]},
    }
    changes = {"rules": [SHOP_POLICY["rules"][0], export], "limits": {"preview_seconds": 0}}

    async def ask(client: RawClient, sql: str) -> str:
        await client.send(Q(sql))
        found = re.search("hold (H-[0-9A-Z]{26})", (await client.read()).fields["M"])
        assert found is not None
        return found[1]

    async def answer(client: RawClient) -> list[Message]:
        return [one for one in await client.read_until("Z") if one.tag != "N"]

    async with (
        pair(postgres, tmp_path, store, changes) as fleet,
        await fleet.here.client("carol") as carol,
        await fleet.there.client("dave") as dave,
    ):
        here = await RawClient.connect(fleet.here.host, fleet.here.port, database=database)
        there = await RawClient.connect(fleet.there.host, fleet.there.port, database=database)
        async with here, there:
            for number in (7, 8, 9, 10):
                # At the same moment: who is first is left to chance, and so is who is approved first.
                exports = f"SELECT email FROM customer WHERE customer_id = {number}"
                removes = f"DELETE FROM customer WHERE customer_id = {number}"
                exporting, deleting = (here, there) if number % 2 else (there, here)
                first, second = await asyncio.gather(ask(exporting, exports), ask(deleting, removes))
                await asyncio.gather(dave.approve(second), carol.approve(first))
                rows, gone = await asyncio.gather(answer(exporting), answer(deleting))
                assert tags(rows) == "TDCZ", "the person was there when they were exported"
                assert tags(gone) == "CZ"
                (one,) = (await carol.hold(second))["conflicts"]
                assert (one["hold_id"], one["action"]) == (first, "order")
            # The export of a gateway that is gone is waited for as long as it takes to know that.
            lost = await ask(here, "SELECT email FROM customer WHERE customer_id = 11")
            deletion = await ask(there, "DELETE FROM customer WHERE customer_id = 11")
            await dave.approve(deletion)
            assert f"waits until hold {lost}" in (await there.read()).fields["M"]
            await fleet.here.kill()
            async with asyncio.timeout(12):
                assert tags(await answer(there)) == "CZ"


@pytest.mark.parametrize("shared", [False, True], ids=["own store", "shared store"])
async def test_tickets_that_are_over_are_ended(
    tmp_path: Path, store: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.fleet.SWEEP_SECONDS", 0.02)
    async with open_desk(tmp_path, store if shared else sqlite_url(tmp_path)) as desk:
        fleet = Fleet(desk.store, desk.holds, desk.bus, Metrics("0"))
        await fleet.start()
        try:
            one = await desk.holds.ticket(hold_request())
            desk.clock.ahead += 16 * 60
            await soon(lambda: "hold.resolved" in desk.kinds())
            assert (await desk.holds.get(one.id)).state is HoldState.EXPIRED
        finally:
            await fleet.stop()
