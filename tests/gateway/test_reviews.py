"""Breaking the glass: it runs at once, is flagged, and somebody else has to review it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.cli.running import holdgate
from tests.support.disk import full_disk
from tests.support.gateway import SHOP_POLICY, RunningGateway, held, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import Q, RawClient, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
COUNT = "SELECT count(*) FROM invoice_line"
GLASS = "SET holdgate.break_glass = 'the shop is down, INC-7'"
RULE = {
    "name": "erasure",
    "when": {"action": "delete"},
    "then": "hold",
    "approval": {"from": ["dpo"], "quorum": 2, "break_glass": ["oncall"]},
}
PEOPLE = {
    # Who is on call could approve too, but not their own, and not their own review either.
    "postgres": {"groups": ["oncall", "dpo"], "roles": ["approver", "admin"]},
    "erin": {"roles": ["approver"]},
}


@pytest.fixture
def config(postgres: Postgres) -> dict[str, Any]:
    return make_config(postgres, SHOP_POLICY, {"users": PEOPLE, "rules": [RULE]})


@pytest.fixture
async def gateway(config: dict[str, Any], tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config) as running:
        yield running


async def test_it_runs_at_once_and_is_reviewed_by_somebody_else(
    gateway: RunningGateway, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    carol, erin, own = [await gateway.client(name) for name in ("carol", "erin", "postgres")]
    async with psql(gateway.host, gateway.port, database) as client:
        await client.send(GLASS + ";", DELETE + ";")
        said = await client.until("DELETE 1")
        assert "statement runs without an approval: hold H-" in said
        assert "You broke the glass: the shop is down, INC-7" in said
    assert postgres.scalar(COUNT, database) == before - 1
    (hold,) = (await carol.http.get("/api/v1/reviews")).json()["holds"]
    assert (hold["state"], hold["break_glass"], hold["review"]) == ("approved", True, None)
    assert [(one["who"], one["how"], one["reason"]) for one in hold["decisions"]] == [
        ("postgres", "break-glass", "the shop is down, INC-7")
    ]
    review = f"/api/v1/holds/{hold['id']}/review"
    for who, status in ((own, 403), (erin, 403)):
        assert (await who.http.post(review, json={"note": "fine"})).status_code == status
    for body in ({}, {"note": ""}, {"note": "\x1b[2J"}, {"note": "x", "more": 1}):
        assert (await carol.http.post(review, json=body)).status_code == 422
    done = (await carol.http.post(review, json={"note": "seen, in order"})).json()
    assert (done["review"]["who"], done["review"]["note"]) == ("carol", "seen, in order")
    again = await carol.http.post(review, json={"note": "twice"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:holdgate:problem:review-closed")
    assert (await carol.http.get("/api/v1/reviews")).json()["holds"] == []
    records = await gateway.recorded(hold_id=hold["id"])
    assert [(one["kind"], one["tag"], one["approved_by"]) for one in records] == [
        ("hold", "opened", []),
        ("decision", "approved", ["postgres"]),
        ("statement", "DELETE 1", ["postgres"]),
        ("decision", "reviewed", ["carol"]),
    ]
    assert records[1]["details"]["intent"]["break_glass"] == "the shop is down, INC-7"


async def test_without_a_reason_it_waits(gateway: RunningGateway, client: RawClient) -> None:
    carol = await gateway.client()
    await client.query("SET holdgate.break_glass = '  '")
    hold = await held(client, carol, Q(DELETE))
    assert (hold["state"], hold["break_glass"]) == ("pending", False)
    # What is copied with the statement is no emergency.
    await carol.reject(hold["id"], "no")
    await client.read_until("Z")
    hold = await held(client, carol, Q(f"/* break_glass: now */ {DELETE}"))
    assert hold["break_glass"] is False


async def test_for_nobody_else(
    postgres: Postgres, tmp_path: Path, config: dict[str, Any], database: str
) -> None:
    config["users"]["postgres"]["groups"] = ["dpo"]
    config["users"]["dora"] = {"groups": ["oncall"]}
    async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
        carol = await gateway.client()
        await client.query(GLASS)
        hold = await held(client, carol, Q(DELETE))
        assert (hold["state"], hold["break_glass"]) == ("pending", False)
        assert hold["intent"]["break_glass"] == "the shop is down, INC-7"
        assert (
            await carol.http.post(f"/api/v1/holds/{hold['id']}/review", json={"note": "x"})
        ).status_code == 409


async def test_what_is_taken_back_is_not_said(gateway: RunningGateway, client: RawClient) -> None:
    carol = await gateway.client()
    await client.query("BEGIN")
    await client.query(GLASS)
    await client.query("ROLLBACK")
    assert (await held(client, carol, Q(DELETE)))["state"] == "pending"


async def test_what_cannot_be_recorded_does_not_run(
    postgres: Postgres, tmp_path: Path, config: dict[str, Any], database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    store = postgres.create_database(template=None)
    config["store"]["url"] = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{store}"
    async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
        await client.query(GLASS)
        await gateway.written()
        with full_disk(tmp_path / "audit.jsonl"):
            answer = await client.query(DELETE)
            assert (tags(answer), answer[0].sqlstate) == ("EZ", "58000")
        await gateway.written()
    postgres.drop_database(store)
    assert postgres.scalar(COUNT, database) == before


async def test_by_command_and_by_metric(gateway: RunningGateway, client: RawClient) -> None:
    carol = await gateway.client()
    environment = {"HOLDGATE_SERVER": gateway.url, "HOLDGATE_TOKEN": carol.token}
    said = await holdgate("holds", "reviews", **environment)
    assert (said.code, said.err) == (0, "nothing is to be reviewed\n")
    await client.query(GLASS)
    assert tags([one for one in await client.query(DELETE) if one.tag != "N"]) == "CZ"
    said = await holdgate("holds", "reviews", **environment)
    header, row = said.out.splitlines()
    assert header.split() == ["ID", "USER", "DATABASE", "RAN", "BECAUSE", "STATEMENT"]
    hold_id = row.split()[0]
    shown = (await holdgate("holds", "show", hold_id, **environment)).out
    assert re.search(r"^broke the glass: +the shop is down, INC-7$", shown, re.MULTILINE)
    assert re.search(r"^review: +open: somebody else has to close it$", shown, re.MULTILINE)
    async with asyncio.timeout(10):
        while "holdgate_reviews_open 1.0" not in (await carol.http.get("/metrics")).text:
            await asyncio.sleep(0.1)
    said = await holdgate("holds", "review", hold_id, "--note", "seen", **environment)
    assert said.out.startswith(f"{hold_id} reviewed: DELETE FROM")
    shown = (await holdgate("holds", "show", hold_id, **environment)).out
    assert re.search(r"^review: +by carol at \S+ \S+: seen$", shown, re.MULTILINE)
    said = await holdgate("holds", "reviews", "--json", **environment)
    assert (said.code, said.out) == (0, "")
