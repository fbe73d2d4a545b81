"""Approvals for no more than so many rows, enforced in front of a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import ApproverClient, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import B, D, E, H, Message, P, Q, RawClient, S, c, d, send_cancel, tags

SCHEMA = """
CREATE TABLE person (id int PRIMARY KEY, name text);
CREATE TABLE note (id int PRIMARY KEY, person int REFERENCES person ON DELETE CASCADE);
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE late (id int PRIMARY KEY, person int REFERENCES person DEFERRABLE INITIALLY DEFERRED);
INSERT INTO person SELECT i, 'person ' || i FROM generate_series(1, 3) i;
INSERT INTO note SELECT i, (i + 3) / 4 FROM generate_series(1, 12) i;
"""
RULE: dict[str, Any] = {
    "name": "changes",
    "when": {"action": ["delete", "update"], "relation": "public.person"},
    "then": "hold",
    "approval": {"from": ["dpo"]},
}
POLICY: dict[str, Any] = {
    "personal_data": [{"relation": "public.person", "columns": ["name"], "subject": "id"}],
    "rules": [RULE],
    "defaults": {"opaque_function": "hold", "otherwise": "allow"},
}
DELETE = "DELETE FROM person"
FOURTH = "INSERT INTO person VALUES (4, 'person 4')"
COUNT = "SELECT count(*) FROM person"


class Desk:
    """A gateway, an approver and a client, and the database behind them."""

    def __init__(
        self, gateway: RunningGateway, carol: ApproverClient, client: RawClient, postgres: Postgres, name: str
    ) -> None:
        self.gateway, self.carol, self.client, self.postgres, self.name = (
            gateway,
            carol,
            client,
            postgres,
            name,
        )

    async def held(self, *messages: bytes) -> dict[str, Any]:
        """Send what is held; the hold with its preview."""
        await self.client.send(*messages)
        hold = await self.carol.wait_for_hold()
        return await self.carol.wait_for_preview(hold["id"])

    async def answer(self) -> list[Message]:
        """What the client reads up to the end, without notices."""
        return [each for each in await self.client.read_until("Z") if each.tag != "N"]

    def do(self, sql: str) -> None:
        self.postgres.execute(sql, self.name)

    @property
    def people(self) -> int:
        return int(self.postgres.scalar(COUNT, self.name))


@pytest.fixture
def crm(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database(template=None, sql=SCHEMA)
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def desk(postgres: Postgres, crm: str, tmp_path: Path) -> AsyncIterator[Desk]:
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    async with (
        running_gateway(tmp_path, make_config(postgres, POLICY, inspect)) as gateway,
        await gateway.raw(crm) as client,
    ):
        yield Desk(gateway, await gateway.client("carol"), client, postgres, crm)


def series(sql: str, *, rows: int = 0) -> tuple[bytes, ...]:
    return P(sql), B(), D("P"), E(rows=rows)


WAYS = {
    "a Query": ((Q(DELETE),), ""),
    "a Query that returns rows": ((Q(f"{DELETE} RETURNING name"),), "T"),
    "a series": ((*series(DELETE), S()), "12n"),
    "a series that returns rows": ((*series(f"{DELETE} RETURNING name"), S()), "12T"),
    "an update": ((Q("UPDATE person SET name = name"),), ""),
    "a merge": ((Q("MERGE INTO person p USING note n ON n.id = p.id WHEN MATCHED THEN DELETE"),), ""),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inside", [False, True])
async def test_approved_for_3_rows_whose_table_grew_to_4_meanwhile(
    desk: Desk, way: str, inside: bool
) -> None:
    messages, front = WAYS[way]
    if inside:
        await desk.client.query("BEGIN; INSERT INTO other VALUES (1)")
    hold = await desk.held(*messages)
    desk.do(f"{FOURTH}")
    most = hold["proposed_rows"]
    if way == "a merge":
        assert most is None
        approved = await desk.carol.approve(hold["id"], max_rows=3)
    else:
        assert most == 3
        approved = await desk.carol.approve(hold["id"])
    assert approved.json()["max_rows"] == 3
    answer = await desk.answer()
    assert tags(answer) == (front if front.startswith("1") else "") + "EZ"
    refused = answer[-2].fields
    assert refused["C"] == "54000"
    assert refused["M"] == "statement undone: it changed 4 rows, and no more than 3 rows were approved"
    assert hold["id"] in refused["D"]
    assert answer[-1].payload == (b"E" if inside else b"I")
    if inside:
        assert (await desk.client.query("SELECT 1"))[0].fields["C"] == "25P02"
        assert (await desk.client.query("COMMIT"))[0].payload == b"ROLLBACK\0"
        assert desk.postgres.scalar("SELECT count(*) FROM other", desk.name) == 0
    assert tags(await desk.client.query("SELECT 1")) == "TDCZ"
    assert desk.people == 4
    assert desk.postgres.scalar("SELECT count(*) FROM note", desk.name) == 12
    hold = await desk.carol.wait_for_outcome(hold["id"])
    verb = {"an update": "UPDATE", "a merge": "MERGE"}.get(way, "DELETE")
    assert hold["outcome"]["sqlstate"] == "54000"
    assert hold["outcome"]["tag"] == f"(undone: {verb} 4)"
    (record,) = [
        one for one in await desk.gateway.recorded(kind="statement", hold_id=hold["id"]) if one["sqlstate"]
    ]
    assert record["tag"] == f"(undone: {verb} 4)"
    assert "it changed 4 rows" in record["reason"]
    (decision,) = await desk.gateway.recorded(kind="decision")
    assert decision["details"]["max_rows"] == 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inside", [False, True])
async def test_what_stays_below_is_as_without(desk: Desk, way: str, inside: bool) -> None:
    messages, _ = WAYS[way]
    if inside:
        await desk.client.query("BEGIN")
    hold = await desk.held(*messages)
    await desk.carol.approve(hold["id"], max_rows=3)
    answer = await desk.answer()
    assert answer[-1].payload == (b"T" if inside else b"I")
    if inside:
        await desk.client.query("ROLLBACK")
    else:
        # The same directly, from the same beginning.
        desk.do(f"TRUNCATE person CASCADE; {SCHEMA.split(';')[4]};{SCHEMA.split(';')[5]}")
    async with await RawClient.connect(desk.postgres.host, desk.postgres.port, database=desk.name) as direct:
        if inside:
            await direct.query("BEGIN")
        await direct.send(*messages)
        assert [(one.tag, one.payload) for one in await direct.read_until("Z")] == [
            (one.tag, one.payload) for one in answer
        ]


async def test_an_approver_may_say_how_many(desk: Desk) -> None:
    hold = await desk.held(Q(DELETE))
    answer = await desk.carol.approve(hold["id"], max_rows=2)
    assert answer.json()["decisions"][0]["max_rows"] == 2
    assert "changed 3 rows, and no more than 2 rows" in (await desk.answer())[0].fields["M"]
    hold = await desk.held(Q(DELETE))
    desk.do(FOURTH)
    assert (await desk.carol.approve(hold["id"], max_rows=None)).json()["max_rows"] is None
    assert tags(await desk.answer()) == "CZ"
    assert desk.people == 0


@pytest.mark.parametrize(
    "body", [{"max_rows": -1}, {"max_rows": "3"}, {"max_rows": 2**63}, {"max_rows": 1.5}]
)
async def test_what_is_no_number_of_rows(desk: Desk, body: dict[str, Any]) -> None:
    hold = await desk.held(Q(DELETE))
    response = await desk.carol.http.post(f"/api/v1/holds/{hold['id']}/approve", json=body)
    assert response.status_code == 422
    assert (await desk.carol.hold(hold["id"]))["state"] == "pending"
    await desk.carol.reject(hold["id"], "no")
    await desk.answer()


@pytest.mark.parametrize(("margin", "most"), [(2, 5), ("50%", 5), ("10%", 4), (0, 3)])
async def test_the_margin_of_a_rule(
    postgres: Postgres, crm: str, tmp_path: Path, margin: object, most: int
) -> None:
    rule = {**RULE, "approval": {"from": ["dpo"], "margin": margin}}
    changes = {"rules": [rule], "databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    async with (
        running_gateway(tmp_path, make_config(postgres, POLICY, changes)) as gateway,
        await gateway.raw(crm) as client,
    ):
        desk = Desk(gateway, await gateway.client("carol"), client, postgres, crm)
        hold = await desk.held(Q(DELETE))
        assert hold["proposed_rows"] == most
        await desk.carol.approve(hold["id"])
        assert tags(await desk.answer()) == "CZ"


BOTH = f"UPDATE person SET name = 'x' WHERE id < 3; SELECT 1; {DELETE} WHERE id = 3"


async def test_several_statements_count_together(desk: Desk) -> None:
    hold = await desk.held(Q(BOTH))
    assert hold["proposed_rows"] == 3
    await desk.carol.approve(hold["id"])
    assert tags(await desk.answer()) == "CTDCCZ"
    hold = await desk.held(Q(f"UPDATE person SET name = 'y' WHERE id < 3; SELECT 1; {DELETE}"))
    await desk.carol.approve(hold["id"], max_rows=3)
    answer = await desk.answer()
    assert tags(answer) == "CTDCEZ"
    assert "changed 4 rows" in answer[-2].fields["M"]
    assert desk.postgres.scalar("SELECT count(*) FROM person WHERE name = 'y'", desk.name) == 0


async def test_a_pipeline_is_undone_up_to_its_sync(desk: Desk) -> None:
    """What stood in front of it in the same series goes too; what stands behind its Sync runs."""
    front = (P("INSERT INTO other VALUES (1)"), B(), E())
    behind = (P("INSERT INTO other VALUES (2)"), B(), E(), S())
    hold = await desk.held(*front, *series(DELETE), S(), *behind)
    await desk.carol.approve(hold["id"], max_rows=2)
    assert tags(await desk.answer()) == "12C12nEZ"
    assert tags(await desk.answer()) == "12CZ"
    assert desk.people == 3
    assert desk.postgres.scalar("SELECT array_agg(id) FROM other", desk.name) == [2]


async def test_a_series_with_a_flush(desk: Desk) -> None:
    hold = await desk.held(P(DELETE), B(), E(), H())
    await desk.carol.approve(hold["id"], max_rows=2)
    answer = [one for one in await desk.client.read_until("E") if one.tag != "N"]
    assert tags(answer) == "12E"
    await desk.client.send(P("INSERT INTO other VALUES (1)"), B(), E(), S())
    assert tags(await desk.answer()) == "Z"
    assert desk.people == 3
    hold = await desk.held(P(DELETE), B(), E(), H())
    await desk.carol.approve(hold["id"], max_rows=3)
    assert tags([one for one in await desk.client.read_until("C") if one.tag != "N"]) == "12C"
    assert desk.people == 3
    await desk.client.send(S())
    assert tags(await desk.answer()) == "Z"
    assert desk.people == 0


async def test_a_transaction_begun_in_the_same_series(desk: Desk) -> None:
    """As JDBC does without autocommit."""
    hold = await desk.held(P("BEGIN"), B(), E(), *series(DELETE), S())
    await desk.carol.approve(hold["id"], max_rows=2)
    answer = await desk.answer()
    assert tags(answer) == "12C12nEZ"
    assert answer[-1].payload == b"E"
    await desk.client.query("ROLLBACK")
    assert desk.people == 3


async def test_a_row_limit_cannot_hide_the_count(desk: Desk) -> None:
    hold = await desk.held(*series(f"{DELETE} RETURNING id", rows=1), S())
    await desk.carol.approve(hold["id"])
    answer = await desk.answer()
    assert tags(answer) == "12TEZ"
    assert "row limit" in answer[-2].fields["M"]
    assert desk.people == 3
    # Without rows to return a limit does not matter: pgjdbc sends one with every update.
    hold = await desk.held(*series(DELETE, rows=1), S())
    await desk.carol.approve(hold["id"])
    assert tags(await desk.answer()) == "12nCZ"
    assert desk.people == 0


async def test_prepared_statements_of_both_kinds(desk: Desk) -> None:
    await desk.client.query(f"PREPARE gone(int) AS {DELETE} WHERE id <> $1")
    hold = await desk.held(Q("EXECUTE gone(1)"))
    assert hold["uncounted"] is None
    await desk.carol.approve(hold["id"], max_rows=1)
    assert "changed 2 rows, and no more than 1 row " in (await desk.answer())[0].fields["M"]
    await desk.client.send(P(f"{DELETE} WHERE id <> $1", "s"), S())
    await desk.answer()
    hold = await desk.held(B(["1"], statement="s"), E(), S())
    assert hold["proposed_rows"] == 2
    desk.do(FOURTH)
    await desk.carol.approve(hold["id"])
    assert tags(await desk.answer()) == "2EZ"
    assert desk.people == 4


async def test_a_deferred_constraint_fails_as_without(desk: Desk) -> None:
    desk.do("INSERT INTO late VALUES (1, 1)")
    hold = await desk.held(Q(f"{DELETE} RETURNING id"))
    await desk.carol.approve(hold["id"], max_rows=3)
    answer = await desk.answer()
    assert tags(answer) == "TDDDEZ"
    assert answer[-2].fields["C"] == "23503"
    hold = await desk.held(*series(DELETE), S())
    await desk.carol.approve(hold["id"], max_rows=3)
    answer = await desk.answer()
    assert tags(answer) == "12nCEZ"
    assert answer[-2].fields["C"] == "23503"
    assert desk.people == 3


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("WITH gone AS (DELETE FROM person RETURNING id) SELECT count(*) FROM gone", "a part of its WITH"),
        ("WITH gone AS (DELETE FROM person) DELETE FROM other WHERE false", "a part of its WITH"),
        ("EXPLAIN ANALYZE DELETE FROM person", "EXPLAIN"),
        ("COPY (DELETE FROM person RETURNING id) TO STDOUT", "COPY"),
        ("TRUNCATE person CASCADE", "TRUNCATE"),
        ("DO $$ BEGIN DELETE FROM person; END $$", "DO"),
        ("BEGIN; DELETE FROM person; COMMIT", "COMMIT"),
        ("DELETE FROM person; COMMIT; SELECT 1", "COMMIT"),
        ("SAVEPOINT x; DELETE FROM person", "SAVEPOINT"),
        ("SELECT count(*) FROM person FOR UPDATE; VACUUM person; DELETE FROM person", "VACUUM"),
    ],
)
async def test_what_no_tag_counts_takes_no_number(desk: Desk, sql: str, why: str) -> None:
    await desk.client.send(Q(sql))
    hold = await desk.carol.wait_for_hold()
    assert why in hold["uncounted"]
    assert hold["proposed_rows"] is None
    refused = await desk.carol.approve(hold["id"], max_rows=3)
    assert refused.status_code == 422
    assert why in refused.json()["detail"]
    assert (await desk.carol.hold(hold["id"]))["state"] == "pending"
    await desk.carol.reject(hold["id"], "in parts, please")
    await desk.answer()
    assert desk.people == 3


async def test_a_copy_from_the_client_beside_it(desk: Desk) -> None:
    hold = await desk.held(Q(f"{DELETE}; COPY other FROM STDIN"))
    assert "COPY" in hold["uncounted"]
    assert (await desk.carol.approve(hold["id"])).json()["max_rows"] is None
    await desk.client.read_until("G")
    await desk.client.send(d(b"7\n"), c())
    assert tags(await desk.answer())[-1] == "Z"
    assert desk.people == 0


async def test_cascades_and_triggers_are_not_counted(desk: Desk) -> None:
    """The number is that of the command's tag, as the documentation says."""
    hold = await desk.held(Q(f"{DELETE} WHERE id = 1"))
    assert hold["proposed_rows"] == 1
    await desk.carol.approve(hold["id"])
    assert tags(await desk.answer()) == "CZ"
    assert desk.postgres.scalar("SELECT count(*) FROM note", desk.name) == 8


async def test_much_is_returned_and_held_back(desk: Desk) -> None:
    desk.do("INSERT INTO person SELECT i, repeat('x', 2000) FROM generate_series(10, 2009) i")
    hold = await desk.held(Q(f"{DELETE} WHERE id >= 10 RETURNING *"))
    await desk.carol.approve(hold["id"])
    assert tags(await desk.answer()) == "T" + "D" * 2000 + "CZ"
    desk.do("INSERT INTO person SELECT i, repeat('x', 2000) FROM generate_series(10, 20009) i")
    hold = await desk.held(Q(f"{DELETE} WHERE id >= 10 RETURNING *"))
    await desk.carol.approve(hold["id"])
    answer = await desk.answer()
    assert tags(answer) == "EZ"
    assert "too long to be held back" in answer[0].fields["M"]
    assert desk.people == 20_003


async def test_a_cancel_while_it_runs(desk: Desk, crm: str) -> None:
    with desk.postgres.connect(crm, autocommit=False) as blocker:
        blocker.execute("SELECT FROM person WHERE id = 2 FOR UPDATE")
        hold = await desk.held(Q(DELETE))
        await desk.carol.approve(hold["id"])
        await asyncio.to_thread(
            desk.postgres.wait_until,
            "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')",
        )
        await send_cancel(desk.gateway.host, desk.gateway.port, desk.client.pid, desk.client.secret)
        answer = await desk.answer()
        blocker.rollback()
    assert tags(answer) == "EZ"
    assert (answer[0].fields["C"], answer[1].payload) == ("57014", b"I")
    assert tags(await desk.client.query("SELECT 1")) == "TDCZ"
    assert desk.people == 3


async def test_a_driver_goes_on(desk: Desk, crm: str) -> None:
    connection = await desk.gateway.psycopg(crm, autocommit=False)

    async def delete() -> None:
        async with connection.transaction():
            await connection.execute("DELETE FROM person WHERE id < %s", (9,))

    async with connection, connection.transaction():
        await connection.execute("INSERT INTO other VALUES (1)")
        deleting = asyncio.ensure_future(delete())
        hold = await desk.carol.wait_for_hold()
        await desk.carol.approve(hold["id"], max_rows=1)
        with pytest.raises(
            psycopg.errors.ProgramLimitExceeded, match="changed 3 rows, and no more than 1 row"
        ):
            await deleting
        # The driver's savepoint took it back.
        await connection.execute("INSERT INTO other VALUES (2)")
    assert desk.people == 3
    assert desk.postgres.scalar("SELECT count(*) FROM other", desk.name) == 2


async def test_psql_goes_on(desk: Desk, crm: str) -> None:
    async with psql(desk.gateway.host, desk.gateway.port, crm) as shell:
        await shell.send("\\set VERBOSITY verbose", f"{DELETE};")
        hold = await desk.carol.wait_for_hold()
        hold = await desk.carol.wait_for_preview(hold["id"])
        desk.do(FOURTH)
        await desk.carol.approve(hold["id"])
        await shell.send("SELECT 'still ' || count(*) FROM person;")
        said = await shell.until("still 4")
    assert "54000: statement undone: it changed 4 rows, and no more than 3 rows were approved" in said
    assert "HINT:  See what has changed" in said
