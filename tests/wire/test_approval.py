"""Who decides, seen from both ends: psql and drivers that wait, people with tokens, a real gateway and server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    GatewayProcess,
    RunningGateway,
    held,
    make_config,
    merged,
    running_gateway,
)
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import B, E, P, Q, RawClient, S, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
COUNT = "SELECT count(*) FROM invoice_line"
PEOPLE = {
    "lea": {"groups": ["lead"], "roles": ["approver"]},
    "erin": {"roles": ["approver"]},
    "postgres": {"groups": ["dpo"], "roles": ["approver", "admin"]},
}
STAGES = {"stages": [{"from": ["lead"]}, {"from": ["dpo"], "quorum": 2}], "expires": "10m"}


def config(postgres: Postgres, approval: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """Deletions wait for ``approval``; postgres, who asks, is of the group dpo and an admin too."""
    rule = {"name": "erasure", "when": {"action": "delete"}, "then": "hold", "approval": approval}
    return make_config(postgres, SHOP_POLICY, {"users": PEOPLE, "rules": [rule]}, *more)


def count(postgres: Postgres, database: str) -> int:
    return int(postgres.scalar(COUNT, database))


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config(postgres, STAGES)) as running:
        yield running


async def test_stages_in_psql(gateway: RunningGateway, postgres: Postgres, database: str) -> None:
    before = count(postgres, database)
    lea, carol, dave = [await gateway.client(name) for name in ("lea", "carol", "dave")]
    async with psql(gateway.host, gateway.port, database) as client:
        await client.send(DELETE + ";")
        said = await client.until("HINT:")
        said = await client.until("Cancel the statement")
        assert "NOTICE:  statement waits for approval: hold H-" in said
        assert (
            "Somebody of group lead can approve or reject it first, then 2 people of group dpo, "
            "on the management port." in said
        )
        hold = await carol.wait_for_hold()
        assert (await carol.approve(hold["id"])).status_code == 403
        first = await lea.approve(hold["id"], "the customer asked")
        assert (first.status_code, first.json()["state"]) == (200, "pending")
        # The client hears of it at once.
        said = await client.until("Approved by lea so far.")
        said = await client.until("2 people of group dpo can approve or reject it on the management port.")
        assert (await carol.approve(hold["id"])).json()["stages"][1]["missing"] == 1
        again = await carol.approve(hold["id"])
        assert (again.status_code, again.json()["type"]) == (409, "urn:holdgate:problem:already-decided")
        assert again.json()["hold"]["state"] == "pending"
        assert count(postgres, database) == before
        assert (await dave.approve(hold["id"])).json()["state"] == "approved"
        await client.until("DELETE 1")
        assert (await dave.approve(hold["id"])).status_code == 409
    assert count(postgres, database) == before - 1
    (record,) = await gateway.recorded(kind="statement", hold_id=hold["id"])
    assert record["approved_by"] == ["lea", "carol", "dave"]
    tags_ = [one["tag"] for one in gateway.audit(kind="decision", hold_id=hold["id"])]
    assert tags_ == ["counted", "counted", "approved"]


async def test_nobody_decides_about_their_own_statement_admins_included(
    gateway: RunningGateway, database: str
) -> None:
    """postgres asks, is of the group dpo, an approver and an admin."""
    lea, postgres_ = await gateway.client("lea"), await gateway.client("postgres")
    async with await gateway.raw(database) as client:
        hold = await held(client, lea, Q(DELETE))
        await lea.approve(hold["id"])
        for answer in (await postgres_.approve(hold["id"]), await postgres_.reject(hold["id"], "mine")):
            assert answer.status_code == 403
            assert answer.json()["detail"] == "Not allowed: nobody decides about their own statement."
        assert (await lea.hold(hold["id"]))["stages"][1]["missing"] == 2


async def test_a_rejection_ends_it_at_any_stage(
    gateway: RunningGateway, postgres: Postgres, database: str
) -> None:
    lea, carol, dave = [await gateway.client(name) for name in ("lea", "carol", "dave")]
    before = count(postgres, database)
    async with await gateway.psycopg(database) as client:
        deleting = asyncio.ensure_future(client.execute(DELETE))
        hold = await lea.wait_for_hold()
        await lea.approve(hold["id"])
        await carol.approve(hold["id"])
        assert (await dave.reject(hold["id"], "the wrong customer")).json()["state"] == "rejected"
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="rejected by dave: the wrong customer"
        ):
            await deleting
        assert (await carol.approve(hold["id"])).status_code == 409
    assert count(postgres, database) == before


async def test_votes_that_come_together_count_each_once(
    gateway: RunningGateway, postgres: Postgres, database: str
) -> None:
    lea, carol, dave = [await gateway.client(name) for name in ("lea", "carol", "dave")]
    before = count(postgres, database)
    for key in range(1, 6):
        async with await gateway.raw(database) as client:
            hold = await held(client, lea, Q(f"DELETE FROM invoice_line WHERE invoice_line_id = {key}"))
            await lea.approve(hold["id"])
            # Each of them presses twice, and so does somebody who has no say.
            voters = [carol, carol, dave, dave, lea]
            answers = await asyncio.gather(*(one.approve(hold["id"]) for one in voters))
            codes = [answer.status_code for answer in answers]
            assert sorted(codes[:2]) == sorted(codes[2:4]) == [200, 409]
            assert codes[4] in (403, 409)
            answer = [one for one in await client.read_until("Z") if one.tag != "N"]
            assert tags(answer) == "CZ"
            done = await lea.hold(hold["id"])
            assert sorted(one["who"] for one in done["decisions"]) == ["carol", "dave", "lea"]
    assert count(postgres, database) == before - 5


async def test_escalation(postgres: Postgres, tmp_path: Path, database: str) -> None:
    approval = {"from": ["lead"], "escalate": {"to": ["dpo"], "after": "1s"}, "expires": "10m"}
    async with running_gateway(tmp_path, config(postgres, approval)) as gateway:
        carol = await gateway.client("carol")
        async with psql(gateway.host, gateway.port, database) as client:
            await client.send(DELETE + ";")
            await client.until("Somebody of group lead can approve")
            hold = await carol.wait_for_hold()
            assert (await carol.approve(hold["id"])).status_code == 403
            await client.until("Somebody of groups lead, dpo can approve")
            assert (await carol.approve(hold["id"])).status_code == 200
            await client.until("DELETE 1")
        (record,) = await gateway.recorded(kind="hold", tag="escalated")
        assert (record["hold_id"], record["reason"]) == (hold["id"], "to dpo")


def deputies(*, days: int = 1) -> dict[str, Any]:
    today = datetime.now(UTC).date()
    until = today + timedelta(days=days)
    return {"deputies": [{"deputy": "erin", "for": "carol", "until": until.isoformat()}]}


class TestDeputies:
    async def ask(
        self, gateway: RunningGateway, database: str, client: RawClient
    ) -> tuple[ApproverClient, dict[str, Any]]:
        erin = await gateway.client("erin")
        return erin, await held(client, erin, Q(DELETE))

    async def test_a_deputy_decides_in_the_name_of_who_is_away(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        made = config(postgres, {"from": ["dpo"], "quorum": 2}, deputies())
        async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
            erin, hold = await self.ask(gateway, database, client)
            me = (await erin.http.get("/api/v1/me")).json()
            assert me["stands_in_for"] == {"carol": ["dpo"]}
            first = (await erin.approve(hold["id"])).json()
            assert [(one["who"], one["deputy_for"]) for one in first["decisions"]] == [("erin", "carol")]
            carol, dave = await gateway.client("carol"), await gateway.client("dave")
            assert (await carol.approve(hold["id"])).status_code == 409
            assert (await dave.approve(hold["id"])).json()["state"] == "approved"
            assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "CZ"

    async def test_not_after_the_last_day(self, postgres: Postgres, tmp_path: Path, database: str) -> None:
        made = config(postgres, {"from": ["dpo"]}, deputies(days=-1))
        async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
            erin, hold = await self.ask(gateway, database, client)
            assert (await erin.approve(hold["id"])).status_code == 403
            assert (await erin.reject(hold["id"], "no")).status_code == 403

    async def test_not_in_the_name_of_whoever_asks(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        until = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
        own = {"deputies": [{"deputy": "erin", "for": "postgres", "until": until}]}
        made = config(postgres, {"from": ["dpo"]}, own)
        async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
            erin, hold = await self.ask(gateway, database, client)
            assert (await erin.approve(hold["id"])).status_code == 403


@pytest.mark.timeout(90)
async def test_votes_survive_while_the_process_lives_and_end_with_it(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    """An approval in part is in the store; a gateway that is killed leaves nothing that could run."""
    before = count(postgres, database)
    store = postgres.create_database(template=None)
    url = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{store}"
    made = merged(config(postgres, STAGES), {"store": {"url": url}})
    async with GatewayProcess(tmp_path, made) as gateway:
        async with await gateway.client("lea") as lea, await gateway.client("carol") as carol:
            client = await RawClient.connect(gateway.host, gateway.port, database=database)
            async with client:
                hold = await held(client, lea, Q(DELETE))
                await lea.approve(hold["id"])
                await carol.approve(hold["id"])
                await gateway.kill()
        await gateway.start()
        async with await gateway.client("dave") as dave:
            # In a store that others may share, a gateway is dead when it has said nothing for a while.
            left = await dave.wait_for_end(hold["id"])
            assert left["state"] == "interrupted"
            assert [one["who"] for one in left["decisions"]] == ["lea", "carol"]
            assert (await dave.approve(hold["id"])).status_code == 409
    postgres.drop_database(store)
    assert count(postgres, database) == before


BULK = "SELECT email FROM customer"


@pytest.mark.parametrize(
    "message",
    [
        [Q(f"WITH d AS (DELETE FROM invoice_line RETURNING 1) {BULK}")],
        [Q(f"DELETE FROM invoice_line; {BULK}")],
        # A series is one transaction, and one hold.
        [P("DELETE FROM invoice_line"), B(), E(), P(BULK), B(), E(), S()],
    ],
    ids=["one statement", "one message", "one series"],
)
async def test_what_two_rules_hold_takes_the_people_of_both(
    postgres: Postgres, tmp_path: Path, database: str, message: list[bytes]
) -> None:
    """A deletion that returns everybody's address is a bulk read, whoever may approve deletions."""
    rules = [
        {"name": "erasure", "when": {"action": "delete"}, "then": "hold", "approval": {"from": ["lead"]}},
        {
            "name": "bulk",
            "when": {"action": "read", "data": "personal", "rows": "> 20"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        },
    ]
    before = count(postgres, database)
    made = merged(config(postgres, {}), {"rules": rules})
    async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
        lea, carol = await gateway.client("lea"), await gateway.client("carol")
        hold = await held(client, lea, *message)
        assert [one["groups"] for one in hold["stages"]] == [["lead"], ["dpo"]]
        assert (await lea.approve(hold["id"])).json()["state"] == "pending"
        assert (await lea.approve(hold["id"])).status_code == 403
        await carol.reject(hold["id"], "no")
        answer = [one for one in await client.read_until("Z") if one.tag != "N"]
        assert tags(answer) == "EZ"
    assert count(postgres, database) == before
