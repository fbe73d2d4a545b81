"""Previews of held statements, taken beside the hold by the database's inspect login."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    make_config,
    merged,
    running_gateway,
)
from tests.support.postgres import Postgres
from tests.support.wire import B, E, P, Q, RawClient, S, tags

SCHEMA = """
CREATE SCHEMA crm;
CREATE TABLE crm.person (id int PRIMARY KEY, name text, mentor int REFERENCES crm.person ON DELETE SET NULL);
CREATE TABLE crm.account (id int PRIMARY KEY, person int REFERENCES crm.person ON DELETE CASCADE);
CREATE TABLE crm.entry (id int PRIMARY KEY, account int NOT NULL REFERENCES crm.account ON DELETE CASCADE);
CREATE TABLE crm.contract (id int PRIMARY KEY, person int REFERENCES crm.person);
CREATE FUNCTION crm.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
CREATE TRIGGER notes BEFORE DELETE ON crm.entry FOR EACH ROW EXECUTE FUNCTION crm.noted();
CREATE FUNCTION crm.old(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO crm.entry VALUES (-1, -1); RETURN true; END $$;
INSERT INTO crm.person SELECT i, 'person ' || i, NULLIF(i - 1, 0) FROM generate_series(1, 10) i;
INSERT INTO crm.account SELECT i, (i + 1) / 2 FROM generate_series(1, 20) i;
INSERT INTO crm.entry SELECT i, (i + 2) / 3 FROM generate_series(1, 60) i;
INSERT INTO crm.contract SELECT i, i FROM generate_series(1, 3) i;
"""
POLICY = merged(
    SHOP_POLICY,
    {
        "personal_data": [{"relation": "crm.person", "columns": ["name"], "subject": "id"}],
        "rules": [
            *SHOP_POLICY["rules"],
            {
                "name": "changes",
                "when": {"action": "update", "relation": "crm.person"},
                "then": "hold",
                "approval": {"from": ["dpo"]},
            },
        ],
    },
)


@pytest.fixture
def crm(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database(template=None, sql=SCHEMA)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def reader(postgres: Postgres, crm: str) -> Iterator[str]:
    role = postgres.create_role()
    postgres.execute(f'GRANT pg_read_all_data TO "{role}"', crm)
    yield role
    postgres.drop_role(role)


@pytest.fixture
def config(postgres: Postgres, reader: str) -> dict[str, Any]:
    return make_config(postgres, POLICY, {"databases": {"*": {"inspect": {"user": reader}}}})


@pytest.fixture
async def gateway(config: dict[str, Any], tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, crm: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(crm) as raw:
        yield raw


async def previewed(client: RawClient, carol: ApproverClient, *messages: bytes) -> dict[str, Any]:
    """Send what is held; the hold once its preview is there."""
    await client.send(*messages)
    hold = await carol.wait_for_hold()
    return await carol.wait_for_preview(hold["id"])


async def test_it_counts_what_a_delete_would_reach(client: RawClient, carol: ApproverClient) -> None:
    hold = await previewed(client, carol, Q("delete from crm.person where id=2"))
    impact = hold["impact"]
    (change,) = impact["changes"]
    reached = {(one["relation"], one["rule"]): one["rows"] for one in change.pop("reached")}
    assert change == {
        "action": "delete",
        "relation": "crm.person",
        "rows": 1,
        "triggers": ["crm.entry: notes (crm.noted)"],
        "unseen": [],
    }
    assert reached == {
        ("crm.person", "SET NULL"): 1,
        ("crm.account", "CASCADE"): 2,
        ("crm.entry", "CASCADE"): 6,
        ("crm.contract", "NO ACTION"): 1,
    }
    assert impact["formatted"] == "DELETE FROM crm.person\nWHERE\n  id = 2"
    assert impact["reads"] == []
    assert impact["transaction"] is None
    assert impact["unseen"] == []
    assert hold["opened_at"] <= impact["taken_at"]


async def test_parameters_are_bound_as_values(client: RawClient, carol: ApproverClient) -> None:
    """Text and binary ones, of types the client named or left to the server, used or only written."""
    messages = (
        P("UPDATE crm.person SET name = $1 WHERE id > $2 AND name <> $3", types=(25, 23, 0)),
        B([b"x\xc3\xa9 '; DROP", (8).to_bytes(4, "big"), b"person 9"], formats=(0, 1, 0)),
        E(),
        S(),
    )
    hold = await previewed(client, carol, *messages)
    assert [(one["action"], one["rows"]) for one in hold["impact"]["changes"]] == [("update", 1)]
    assert hold["impact"]["unseen"] == []


async def test_code_is_not_run_for_a_preview(
    client: RawClient, carol: ApproverClient, postgres: Postgres, crm: str
) -> None:
    hold = await previewed(client, carol, Q("DELETE FROM crm.person WHERE crm.old(id)"))
    (change,) = hold["impact"]["changes"]
    assert change["rows"] is None
    assert "crm.old()" in change["unseen"][0]
    assert all(
        "crm.old" not in line for line in postgres.log_text().splitlines() if "holdgate preview" in line
    )
    assert postgres.scalar("SELECT count(*) FROM crm.entry", crm) == 60


async def test_a_read_is_estimated_and_not_run(client: RawClient, carol: ApproverClient) -> None:
    hold = await previewed(client, carol, Q("SELECT name FROM crm.person"))
    (read,) = hold["impact"]["reads"]
    assert read["rows"] > 0
    assert read["cost"] > 0
    assert read["unseen"] is None


async def test_what_an_open_transaction_keeps_from_others(
    client: RawClient, carol: ApproverClient, postgres: Postgres, crm: str
) -> None:
    await client.query("BEGIN; UPDATE crm.account SET person = 3 WHERE id = 1")
    with postgres.connect(crm) as other:
        waiting = asyncio.ensure_future(
            asyncio.to_thread(other.execute, "UPDATE crm.account SET person = 4 WHERE id = 1")
        )
        await asyncio.to_thread(
            postgres.wait_until,
            "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')",
        )
        hold = await previewed(client, carol, Q("DELETE FROM crm.person WHERE id = 7"))
        transaction = hold["impact"]["transaction"]
        assert transaction["waiting"] == 1
        assert transaction["unseen"] is None
        assert {"relation": "crm.account", "mode": "RowExclusiveLock"} in transaction["locks"]
        assert any("open transaction" in text for text in hold["impact"]["unseen"])
        await carol.reject(hold["id"], "others wait")
        await client.read_until("Z")
        await client.query("ROLLBACK")
        await waiting


async def test_a_preview_that_hangs_delays_nothing(
    client: RawClient, carol: ApproverClient, postgres: Postgres, crm: str
) -> None:
    with postgres.connect(crm, autocommit=False) as other:
        # Row locks do not meet these, so that what is approved can run while the preview cannot.
        other.execute("LOCK TABLE crm.account IN ACCESS EXCLUSIVE MODE")
        await client.send(Q("SELECT name FROM crm.person, crm.account a WHERE a.person = person.id"))
        hold = await carol.wait_for_hold()
        assert (await carol.hold(hold["id"]))["impact"] is None
        assert (await carol.approve(hold["id"])).status_code == 200
        other.rollback()
    assert tags(await client.read_until("Z"))[-2:] == "CZ"


async def test_what_is_locked_is_said_not_to_be_seen(
    client: RawClient, carol: ApproverClient, postgres: Postgres, crm: str
) -> None:
    with postgres.connect(crm, autocommit=False) as other:
        other.execute("LOCK TABLE crm.account IN ACCESS EXCLUSIVE MODE")
        hold = await previewed(client, carol, Q("DELETE FROM crm.person WHERE id = 2"))
        other.rollback()
    (change,) = hold["impact"]["changes"]
    assert change["rows"] == 1
    assert {one["relation"]: one["rows"] for one in change["reached"]}["crm.account"] is None
    assert any(text.startswith("crm.account (account_person_fkey) not counted") for text in change["unseen"])


async def test_it_ends_at_its_time_limit(
    config: dict[str, Any], tmp_path: Path, postgres: Postgres, crm: str
) -> None:
    many = "DELETE FROM crm.person WHERE id IN (SELECT count(*) FROM generate_series(1, 400000000))"
    async with running_gateway(tmp_path, merged(config, {"limits": {"preview_seconds": "300ms"}})) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(crm) as client:
            hold = await previewed(client, carol, Q(many))
            (change,) = hold["impact"]["changes"]
            assert change["rows"] is None
            assert hold["impact"]["took_ms"] < 5000
            said = (*change["unseen"], *hold["impact"]["unseen"])
            assert any("timeout" in text or "were over" in text for text in said)
            await carol.reject(hold["id"], "too much")
            await client.read_until("Z")
    postgres.wait_until(
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'holdgate preview')"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"databases": {"*": {"inspect": {"user": "nobody-of-that-name"}}}}, "the rest: "),
        ({"databases": {"*": {"inspect": None}}}, "nothing was counted: database "),
    ],
)
async def test_without_a_login_the_ways_are_shown_uncounted(
    config: dict[str, Any], tmp_path: Path, crm: str, change: dict[str, Any], said: str
) -> None:
    changed = merged(config, change)
    if changed["databases"]["*"]["inspect"] is None:
        del changed["databases"]["*"]["inspect"]
    async with running_gateway(tmp_path, changed) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(crm) as client:
            hold = await previewed(client, carol, Q("DELETE FROM crm.person WHERE id = 2"))
            assert hold["impact"]["unseen"][0].startswith(said)
            (found,) = hold["impact"]["changes"]
            assert found["rows"] is None
            assert found["triggers"] == ["crm.entry: notes (crm.noted)"]
            assert {one["rows"] for one in found["reached"]} == {None}
            assert (await carol.approve(hold["id"])).status_code == 200
            answer = await client.read_until("Z")
            # The contract that refers to the person stops it, as the preview said.
            assert answer[-2].fields["C"] == "23503"


async def test_it_can_be_switched_off(
    config: dict[str, Any], tmp_path: Path, postgres: Postgres, crm: str
) -> None:
    async with running_gateway(tmp_path, merged(config, {"limits": {"preview_seconds": 0}})) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(crm) as client:
            await client.send(Q("DELETE FROM crm.person WHERE id = 2"))
            hold = await carol.wait_for_hold()
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")
            assert (await carol.hold(hold["id"]))["impact"] is None
    assert "holdgate preview" not in postgres.log_text()


async def test_the_approver_sees_what_the_session_did_before(
    gateway: RunningGateway, carol: ApproverClient, crm: str
) -> None:
    connection = await gateway.psycopg(crm)
    async with connection:
        await connection.execute("SELECT count(*) FROM crm.person WHERE id < %s", (5,))
        with pytest.raises(psycopg.errors.UndefinedColumn):
            await connection.execute("SELECT nothing FROM crm.account")
        running = asyncio.ensure_future(connection.execute("DELETE FROM crm.person WHERE id = 9"))
        hold = await carol.wait_for_hold()
        assert [(one["sql"], one["tag"], one["sqlstate"]) for one in hold["recent"]] == [
            ("SELECT count(*) FROM crm.person WHERE id < $1", "SELECT 1", None),
            ("SELECT nothing FROM crm.account", None, "42703"),
        ]
        await carol.approve(hold["id"])
        await running


async def test_what_the_audit_leaves_out_is_not_shown(
    config: dict[str, Any], tmp_path: Path, crm: str
) -> None:
    async with running_gateway(tmp_path, merged(config, {"audit": {"redact": "literals"}})) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(crm) as client:
            await client.query("SELECT 'secret' FROM crm.account WHERE id = 1")
            await client.send(Q("DELETE FROM crm.person WHERE id = 2"))
            hold = await carol.wait_for_hold()
            assert [one["sql"] for one in hold["recent"]] == ["SELECT ? FROM crm.account WHERE id = ?"]
            assert hold["sql"] == "DELETE FROM crm.person WHERE id = 2"
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")
