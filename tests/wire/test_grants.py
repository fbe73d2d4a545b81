"""Grants: more of the same shape without another approval, and never more than that."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime
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
from tests.support.wire import B, E, Message, P, Q, RawClient, S, tags

APPROVAL = {"from": ["dpo"], "grants": {"max_for": "8h", "max_uses": 20}}
ERASURE: dict[str, Any] = {**SHOP_POLICY["rules"][0], "approval": APPROVAL}
BULK: dict[str, Any] = {**SHOP_POLICY["rules"][1], "approval": APPROVAL}
POLICY = {"rules": [ERASURE, BULK], "users": {"postgres": {"groups": ["support"]}}}
LINE = "DELETE FROM invoice_line WHERE invoice_line_id = {}"
COUNT = "SELECT count(*) FROM invoice_line"


@pytest.fixture
def config(postgres: Postgres) -> dict[str, Any]:
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    return make_config(postgres, SHOP_POLICY, POLICY, inspect)


@pytest.fixture
async def gateway(config: dict[str, Any], tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config) as running:
        yield running


def reload(gateway: RunningGateway, config: dict[str, Any], *changes: dict[str, Any]) -> None:
    gateway.gateway.reload(load_config(write_config(gateway.directory, merged(config, *changes))))


async def end(client: RawClient) -> str:
    """What the statement ends with, without the notices."""
    return tags([each for each in await client.read_until("Z") if each.tag != "N"])


async def grant(
    client: RawClient, carol: ApproverClient, *messages: bytes, rows: object = "previewed", **terms: object
) -> str:
    """Have something approved with a grant of more."""
    hold = await held(client, carol, *messages)
    await carol.wait_for_preview(hold["id"])
    body: dict[str, Any] = {} if rows == "previewed" else {"max_rows": rows}
    answer = await carol.approve(hold["id"], **body, grant={"for": "1h", **terms})
    assert answer.status_code == 200, answer.text
    await end(client)
    return str(answer.json()["granted_id"])


async def asked(client: RawClient, carol: ApproverClient, *messages: bytes) -> None:
    """What is sent now is held for people, who say no."""
    hold = await held(client, carol, *messages)
    await carol.reject(hold["id"], "not this one")
    assert await end(client) == "EZ"


async def granted(client: RawClient, *messages: bytes) -> Message:
    """What is sent now runs by a grant; the notice that says so."""
    await client.send(*messages)
    notice = await client.read()
    assert notice.tag == "N", notice
    assert notice.fields["M"].startswith("statement was approved by grant G-"), notice.fields
    assert (await end(client)).endswith("CZ")
    return notice


async def test_more_of_the_same_shape_runs_by_the_grant_and_is_recorded(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    grant_id = await grant(client, carol, Q(LINE.format(1)), uses=3)
    (view,) = await carol.grants()
    assert view["statement"] == "DELETE FROM invoice_line WHERE invoice_line_id = …"
    assert (view["state"], view["used"], view["uses"], view["max_rows"]) == ("active", 0, 3, 1)
    assert (view["user"], view["approved_by"], view["rules"]) == ("postgres", ["carol"], ["erasure"])
    notice = await granted(client, Q(LINE.format(2)))
    assert grant_id in notice.fields["M"]
    assert notice.fields["D"].endswith("Granted by carol.")
    # In any session of the user; not another shape, nor more.
    async with await gateway.raw(database) as other:
        await granted(other, Q(LINE.format(3)))
        for sql in (
            "DELETE FROM invoice_line",
            "DELETE FROM invoice_line WHERE invoice_line_id IN (4, 5)",
            "DELETE FROM invoice_line WHERE invoice_line_id = 4 OR true",
            "DELETE FROM invoice_line WHERE invoice_line_id >= 4",
            "DELETE FROM invoice_line WHERE invoice_id = 4",
            "DELETE FROM invoice WHERE invoice_id = 4",
            f"{LINE.format(4)}; {LINE.format(5)}",
            f"/* more */ {LINE.format(4)}",
        ):
            await asked(other, carol, Q(sql))
        await granted(other, Q(LINE.format(4)))
        # Three uses are three.
        await asked(other, carol, Q(LINE.format(5)))
    assert postgres.scalar(COUNT, database) == before - 4
    (view,) = await carol.grants()
    assert (view["state"], view["used"]) == ("used up", 3)
    use = next(one for one in await carol.holds(state="approved") if one["sql"] == LINE.format(4))
    assert (use["grant_id"], use["max_rows"], use["granted_id"]) == (grant_id, 1, None)
    (record,) = await gateway.recorded(kind="statement", hold_id=use["id"])
    assert (record["tag"], record["approved_by"]) == ("DELETE 1", [f"grant {grant_id}", "carol"])
    (record,) = gateway.audit(kind="decision", hold_id=use["id"])
    assert (record["tag"], record["approved_by"]) == ("approved", [f"grant {grant_id}", "carol"])
    assert record["details"]["grant_id"] == grant_id


async def test_each_use_is_for_no_more_rows_than_were_approved(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    """Values may differ where nothing bounds the rows but the ceiling: it counts for each use."""
    postgres.execute("UPDATE invoice_line SET quantity = 70 WHERE invoice_line_id < 3", database)
    postgres.execute("UPDATE invoice_line SET quantity = 71 WHERE invoice_line_id IN (3, 4)", database)
    postgres.execute("UPDATE invoice_line SET quantity = 72 WHERE invoice_line_id BETWEEN 5 AND 9", database)
    sql = "DELETE FROM invoice_line WHERE quantity = {}"
    await grant(client, carol, Q(sql.format(70)))
    await granted(client, Q(sql.format(71)))
    await client.send(Q(sql.format(72)))
    (error,) = [each for each in await client.read_until("Z") if each.tag == "E"]
    assert "it changed 5 rows, and no more than 2 rows were approved" in error.fields["M"]


async def test_without_a_ceiling_or_a_bound_nothing_may_differ(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    sql = "DELETE FROM invoice_line WHERE quantity = {}"
    await grant(client, carol, Q(sql.format(70)), rows=None)
    (view,) = await carol.grants()
    assert view["statement"] == sql.format(70)
    await granted(client, Q(sql.format(70)))
    await asked(client, carol, Q(sql.format(71)))
    # So for a bulk read.
    await grant(client, carol, Q("SELECT email FROM customer WHERE country = 'USA'"))
    await granted(client, Q("SELECT email FROM customer WHERE country = 'USA'"))
    await asked(client, carol, Q("SELECT email FROM customer WHERE country = 'Chile'"))


async def test_rows_are_counted_as_they_are_changed(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    for quantity in range(70, 75):
        first = 10 * (quantity - 69)
        postgres.execute(
            f"UPDATE invoice_line SET quantity = {quantity} WHERE invoice_line_id IN ({first}, {first + 1})",
            database,
        )
    sql = "DELETE FROM invoice_line WHERE quantity = {}"
    await grant(client, carol, Q(sql.format(70)), rows=5, uses=9)
    # The terms of the grant, not of this approval.
    (view,) = await carol.grants()
    assert (view["rows"], view["max_rows"]) == (None, 5)
    hold = await held(client, carol, Q(f"{sql.format(71)} RETURNING *"))
    await carol.wait_for_preview(hold["id"])
    answer = await carol.approve(hold["id"], max_rows=9, grant={"for": "1h", "rows": 3})
    assert answer.status_code == 200
    await end(client)
    grant_id = answer.json()["granted_id"]
    await granted(client, Q(f"{sql.format(72)} RETURNING *"))
    assert await rows_used(carol, grant_id) == 2
    # One row is left, and two would change: it is undone, and costs a use but no row.
    await client.send(Q(f"{sql.format(73)} RETURNING *"))
    (error,) = [each for each in await client.read_until("Z") if each.tag == "E"]
    assert "it changed 2 rows, and no more than 1 row was approved" in error.fields["M"].replace(
        "were", "was"
    )
    assert await rows_used(carol, grant_id) == 2


async def rows_used(carol: ApproverClient, grant_id: str) -> int:
    """What is gone of a grant's rows, once its last use has ended."""
    uses = [one for one in await carol.holds(state="approved") if one["grant_id"] == grant_id]
    await carol.wait_for_outcome(uses[0]["id"])
    (used,) = [one["rows_used"] for one in await carol.grants() if one["id"] == grant_id]
    return int(used)


async def test_parameters(client: RawClient, carol: ApproverClient) -> None:
    """A value that a name is compared with may differ; one that a condition or a limit hangs on may not."""

    def run(text: str, *values: str) -> tuple[bytes, ...]:
        return P(text), B(list(values)), E(), S()

    one = "DELETE FROM invoice_line WHERE invoice_line_id = $1"
    await grant(client, carol, *run(one, "1"))
    await granted(client, *run(one, "2"))
    both = "DELETE FROM invoice_line WHERE invoice_line_id = $1 AND quantity > $2"
    await grant(client, carol, *run(both, "3", "0"))
    await granted(client, *run(both, "4", "0"))
    await asked(client, carol, *run(both, "4", "-1"))
    twice = "DELETE FROM invoice_line WHERE invoice_line_id = $1 OR $1 > 5"
    await grant(client, carol, *run(twice, "5"), rows=1)
    await asked(client, carol, *run(twice, "6"))
    limited = "SELECT email FROM customer WHERE country = $1 LIMIT $2"
    await grant(client, carol, *run(limited, "USA", "30"))
    await granted(client, *run(limited, "Chile", "30"))
    await asked(client, carol, *run(limited, "USA", "31"))


class TestEnds:
    """With what it stands on."""

    async def test_when_it_is_revoked(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        grant_id = await grant(client, carol, Q(LINE.format(1)))
        root = await gateway.client("root")
        answer = await root.http.post(f"/api/v1/grants/{grant_id}/revoke", json={"reason": "done"})
        assert (answer.json()["state"], answer.json()["revoked_by"]) == ("revoked", "root")
        await asked(client, carol, Q(LINE.format(2)))
        again = await root.http.post(f"/api/v1/grants/{grant_id}/revoke")
        assert (again.status_code, again.json()["type"]) == (409, "urn:holdgate:problem:grant-over")
        for unknown in ("G-0", "G-" + "0" * 26):
            assert (await root.http.post(f"/api/v1/grants/{unknown}/revoke")).status_code == 404
        (record,) = await gateway.recorded(kind="decision", tag="grant revoked")
        assert (record["approved_by"], record["details"]["grant_id"]) == (["root"], grant_id)

    async def test_with_an_approver_a_group_a_user_or_the_rule(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, config: dict[str, Any]
    ) -> None:
        dave = await gateway.client("dave")
        await grant(client, carol, Q(LINE.format(1)))
        state: list[tuple[str, str | None]] = []
        changes: list[dict[str, Any]] = [
            {"users": {"carol": {"groups": []}}},
            {"users": {"carol": {"enabled": False}}},
            {"users": {"postgres": {"groups": []}}},
            {"rules": [{**ERASURE, "message": "mind this"}, BULK]},
            # What is no matter of the rule's is none of the grant's.
            {"rules": [ERASURE, BULK, {"name": "other", "when": {"action": "ddl"}, "then": "deny"}]},
        ]
        for change in changes:
            reload(gateway, config, change)
            (view,) = await dave.grants()
            state.append((view["state"], view["why"]))
            if view["state"] == "void":
                await asked(client, dave, Q(LINE.format(2)))
        assert state == [
            ("void", "approver carol is no longer in group dpo"),
            ("void", "approver carol is no longer known or enabled"),
            ("void", "user postgres is no longer in support"),
            ("void", "the rule changed"),
            ("active", None),
        ]
        await granted(client, Q(LINE.format(2)))

    async def test_for_other_users_databases_and_roles_it_is_none(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        postgres.execute("DO $$ BEGIN CREATE ROLE alice LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
        await client.query("GRANT SELECT, DELETE ON invoice_line TO alice")
        await grant(client, carol, Q(LINE.format(1)))
        async with await gateway.raw(database, user="alice") as alice:
            await asked(alice, carol, Q(LINE.format(2)))
        await client.query("SET ROLE alice")
        await asked(client, carol, Q(LINE.format(2)))
        await client.query("RESET ROLE")
        other = postgres.create_database()
        async with await gateway.raw(other) as elsewhere:
            await asked(elsewhere, carol, Q(LINE.format(2)))
        postgres.drop_database(other)
        await granted(client, Q(LINE.format(2)))


class TestGiving:
    """Who may give what."""

    async def refused(self, carol: ApproverClient, hold: dict[str, Any], **body: Any) -> str:
        answer = await carol.approve(hold["id"], **body)
        assert answer.status_code == 422, answer.text
        return str(answer.json()["detail"])

    async def test_no_more_than_the_rule_lets(self, client: RawClient, carol: ApproverClient) -> None:
        hold = await held(client, carol, Q(LINE.format(1)))
        assert hold["grantable"] == {
            "statement": "DELETE FROM invoice_line WHERE invoice_line_id = …",
            "max_seconds": 28800.0,
            "max_uses": 20,
        }
        said = [
            await self.refused(carol, hold, grant=terms)
            for terms in ({"for": "9h"}, {"for": "1h", "uses": 21}, {"for": "soon"}, {"for": "0s"})
        ]
        assert said == [
            "Not accepted: a grant is for at most 28800 s here.",
            "Not accepted: a grant is for 1 to 20 uses here.",
            "grant.for: expected a duration such as 30s, 15m, 1h30m or 400d.",
            "Not accepted: a grant is for at most 28800 s here.",
        ]
        for terms in (
            {},
            {"for": "1h", "uses": 0},
            {"for": "1h", "rows": "many"},
            {"for": "1h", "who": "all"},
        ):
            await self.refused(carol, hold, grant=terms)
        assert (await carol.hold(hold["id"]))["state"] == "pending"
        answer = await carol.approve(hold["id"], grant={"for": "8h"})
        (view,) = await carol.grants()
        assert (view["id"], view["uses"]) == (answer.json()["granted_id"], 20)
        assert await end(client) == "CZ"

    async def test_where_the_rule_says_nothing_or_the_statement_does_more_than_rows_none(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, config: dict[str, Any]
    ) -> None:
        body = "BEGIN EXECUTE ''SELECT 1''; RETURN 1; END"
        await client.query(f"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS '{body}'")
        for sql in ("DELETE FROM invoice_line WHERE invoice_line_id = f()", f"SET x.y = 1; {LINE.format(1)}"):
            hold = await held(client, carol, Q(sql))
            assert hold["grantable"] is None
            assert "nothing can be granted here" in await self.refused(carol, hold, grant={"for": "1h"})
            await carol.reject(hold["id"], "no")
            await end(client)
        reload(gateway, config, {"rules": [SHOP_POLICY["rules"][0]]})
        hold = await held(client, carol, Q(LINE.format(1)))
        assert "its rule allows no grants" in await self.refused(carol, hold, grant={"for": "1h"})
        await carol.reject(hold["id"], "no")
        await end(client)

    async def test_only_if_everybody_who_approves_does_and_the_least_of_it(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, config: dict[str, Any]
    ) -> None:
        dave = await gateway.client("dave")
        reload(gateway, config, {"rules": [{**ERASURE, "approval": {**APPROVAL, "quorum": 2}}]})
        for line, terms in ((1, None), (2, {"for": "2h", "uses": 5})):
            hold = await held(client, carol, Q(LINE.format(line)))
            await carol.wait_for_preview(hold["id"])
            first = await carol.approve(hold["id"], grant={"for": "1h", "uses": 9})
            assert (first.json()["state"], first.json()["granted_id"]) == ("pending", None)
            assert await carol.grants() == []
            body: dict[str, Any] = {} if terms is None else {"grant": terms}
            last = (await dave.approve(hold["id"], **body)).json()
            assert (last["state"], last["granted_id"] is None) == ("approved", terms is None)
            await end(client)
        (view,) = await carol.grants()
        assert (view["uses"], view["approved_by"]) == (5, ["carol", "dave"])
        assert 3590 < _seconds(view) <= 3600
        await granted(client, Q(LINE.format(3)))
        (use,) = [one for one in await carol.holds(state="approved") if one["grant_id"]]
        assert [one["who"] for one in use["decisions"]] == ["carol", "dave"]
        # Without one of them it is worth nothing.
        users = {**gateway.gateway.config.users}
        users["dave"] = dataclasses.replace(users["dave"], enabled=False)
        gateway.gateway.reload(dataclasses.replace(gateway.gateway.config, users=users))
        (view,) = await carol.grants()
        assert view["why"] == "approver dave is no longer known or enabled"


def _seconds(view: dict[str, Any]) -> float:
    spans = [datetime.fromisoformat(view[name]) for name in ("expires_at", "created_at")]
    return (spans[0] - spans[1]).total_seconds()


async def test_the_last_use_is_used_once(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    await grant(client, carol, Q(LINE.format(1)), uses=2)
    clients = [await gateway.raw(database) for _ in range(6)]
    try:
        for number, one in enumerate(clients):
            await one.send(Q(LINE.format(number + 2)))
        notices = await asyncio.gather(*(one.read() for one in clients))
        by_grant = [one.fields["M"].startswith("statement was approved by grant") for one in notices]
        assert sorted(by_grant) == [False] * 4 + [True] * 2
        for one, runs in zip(clients, by_grant, strict=True):
            if runs:
                assert await end(one) == "CZ"
        assert len(await carol.holds(state="pending")) == 4
    finally:
        for one in clients:
            one.abort()
    assert postgres.scalar(COUNT, database) == before - 3


async def test_what_did_not_run_was_not_used(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, config: dict[str, Any], database: str
) -> None:
    """It waits for room under a cap by the grant, and its client leaves."""
    await grant(client, carol, Q(LINE.format(1)), uses=2)
    reload(gateway, config, {"caps": [{"name": "one", "simultaneous": 1}]})
    await client.query("BEGIN")
    await granted(client, Q(LINE.format(2)))
    async with await gateway.raw(database) as other:
        await other.send(Q(LINE.format(3)))
        assert (await other.read()).fields["M"].startswith("statement was approved by grant")
        assert "waits for room" in (await other.read()).fields["M"]
        assert [one["used"] for one in await carol.grants()] == [2]
        (queued,) = [one for one in await carol.holds(state="approved") if one["queue"]]
    await carol.wait_for_state(queued["id"], "abandoned")
    assert [one["used"] for one in await carol.grants()] == [1]
    # What is revoked while it waits does not run.
    async with await gateway.raw(database) as other:
        await other.send(Q(LINE.format(3)))
        assert (await other.read()).fields["M"].startswith("statement was approved by grant")
        assert "waits for room" in (await other.read()).fields["M"]
        (view,) = await carol.grants()
        assert (await carol.http.post(f"/api/v1/grants/{view['id']}/revoke")).status_code == 200
        await client.query("COMMIT")
        (error,) = [each for each in await other.read_until("Z") if each.tag == "E"]
        assert f"is void: grant {view['id']} was revoked" in error.fields["M"]


async def test_a_ticket_is_good_at_once(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, config: dict[str, Any]
) -> None:
    await grant(client, carol, Q(LINE.format(1)), uses=1)
    reload(gateway, config, {"users": {"postgres": {"hold": "ticket"}}})
    assert tags(await client.query(LINE.format(2))) == "CZ"
    answer = await client.query(LINE.format(3))
    assert "statement needs approval: ticket H-" in answer[0].fields["M"]
