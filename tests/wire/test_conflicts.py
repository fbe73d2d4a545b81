"""Deletions and exports of the same people, seen from both ends."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    make_config,
    merged,
    running_gateway,
    write_config,
)
from tests.support.postgres import Postgres
from tests.support.wire import Message, Q, RawClient, tags

DELETE = "DELETE FROM customer WHERE customer_id = 7"
EXPORT = "SELECT email FROM customer WHERE customer_id IN (7, 8)"
EVERYBODY = "SELECT email FROM customer"
COUNT = "SELECT count(*) FROM customer"
EXPORTS = {
    "name": "export",
    "when": {"action": "read", "data": "personal", "rows": "> 1"},
    "then": "hold",
    "approval": {"from": ["dpo"]},
}
POLICY = merged(SHOP_POLICY, {"rules": [SHOP_POLICY["rules"][0], EXPORTS], "limits": {"preview_seconds": 0}})


@pytest.fixture
def config(postgres: Postgres) -> dict[str, Any]:
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    return make_config(postgres, POLICY, inspect)


@pytest.fixture
async def gateway(config: dict[str, Any], tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config) as running:
        yield running


@pytest.fixture
async def other(gateway: RunningGateway, database: str) -> AsyncIterator[RawClient]:
    """A second session."""
    async with await gateway.raw(database) as raw:
        yield raw


async def ask(client: RawClient, carol: ApproverClient, sql: str) -> str:
    """Send what is held; the hold's id."""
    await client.send(Q(sql))
    notice = await client.read()
    assert notice.tag == "N", notice
    assert "waits for approval" in notice.fields["M"]
    match = re.search("H-[0-9A-Z]{26}", notice.fields["M"])
    assert match is not None
    return match[0]


async def approve(carol: ApproverClient, hold_id: str) -> None:
    assert (await carol.approve(hold_id)).status_code == 200


async def answer(client: RawClient) -> list[Message]:
    """What comes, without the notices."""
    return [one for one in await client.read_until("Z") if one.tag != "N"]


async def notice(client: RawClient, part: str) -> str:
    """The next notice, which has this in it."""
    async with asyncio.timeout(10):
        while True:
            message = await client.read()
            assert message.tag == "N", message
            if part in message.fields["M"]:
                return message.fields["M"]


def conflicts(hold: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (one["kind"], one["action"], one["hold_id"], one["earlier"], one["ended"], one["waits"])
        for one in hold["conflicts"]
    ]


class TestOrder:
    @pytest.mark.parametrize("export", [EXPORT, EVERYBODY])
    async def test_a_deletion_waits_for_an_export_that_was_asked_for_before(
        self,
        client: RawClient,
        other: RawClient,
        carol: ApproverClient,
        gateway: RunningGateway,
        postgres: Postgres,
        database: str,
        export: str,
    ) -> None:
        before = postgres.scalar(COUNT, database)
        first = await ask(client, carol, export)
        then = await ask(other, carol, DELETE)
        shown = await carol.hold(then)
        assert conflicts(shown) == [("export_then_delete", "order", first, True, False, True)]
        assert shown["conflicts"][0]["about"][0] == "public.customer: customer_id 7"
        assert conflicts(await carol.hold(first)) == [
            ("export_then_delete", "order", then, False, False, False)
        ]
        await approve(carol, then)
        assert f"waits until hold {first} of postgres (pending) has ended" in await notice(
            other, "is approved"
        )
        await approve(carol, first)
        rows = [one for one in await answer(client) if one.tag == "D"]
        # It has the one who is then gone.
        assert len(rows) == (2 if export == EXPORT else before)
        assert tags(await answer(other)) == "CZ"
        assert postgres.scalar(COUNT, database) == before - 1
        assert conflicts(await carol.wait_for_outcome(then)) == [
            ("export_then_delete", "order", first, True, True, False)
        ]
        records = await gateway.recorded(hold_id=then)
        assert [(one["kind"], one["tag"]) for one in records] == [
            ("hold", "opened"),
            ("decision", "approved"),
            ("hold", "waits"),
            ("statement", "DELETE 1"),
        ]
        assert records[0]["details"]["conflicts"][0]["hold_id"] == first
        (met,) = await gateway.recorded(hold_id=first, tag="conflict")
        assert met["reason"] == f"with {then} of postgres"

    async def test_and_for_one_that_was_asked_for_while_it_waited(
        self, client: RawClient, other: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = postgres.scalar(COUNT, database)
        deletion = await ask(client, carol, DELETE)
        export = await ask(other, carol, EXPORT)
        assert conflicts(await carol.hold(deletion)) == [
            ("delete_then_export", "order", export, False, False, True)
        ]
        await approve(carol, deletion)
        await notice(client, f"waits until hold {export}")
        assert postgres.scalar(COUNT, database) == before
        # It goes on by itself, however the export ends.
        await carol.reject(export, "no")
        assert tags(await answer(other)) == "EZ"
        assert tags(await answer(client)) == "CZ"
        assert postgres.scalar(COUNT, database) == before - 1

    async def test_what_is_over_is_only_told_of(
        self, client: RawClient, other: RawClient, carol: ApproverClient
    ) -> None:
        export = await ask(client, carol, EXPORT)
        await approve(carol, export)
        assert tags(await answer(client))[-2:] == "CZ"
        await carol.wait_for_outcome(export)
        deletion = await ask(other, carol, DELETE)
        assert conflicts(await carol.hold(deletion)) == [
            ("export_then_delete", "order", export, True, True, False)
        ]
        await approve(carol, deletion)
        assert tags(await answer(other)) == "CZ"
        await carol.wait_for_outcome(deletion)
        # And the other way round; what the session itself did is among its recent statements.
        export = await ask(client, carol, EXPORT)
        assert conflicts(await carol.hold(export)) == [
            ("delete_then_export", "order", deletion, True, True, False)
        ]
        await approve(carol, export)
        assert tags(await answer(client))[-2:] == "CZ"

    async def test_others_are_no_conflict(
        self, client: RawClient, other: RawClient, carol: ApproverClient
    ) -> None:
        await ask(client, carol, "DELETE FROM customer WHERE customer_id = 9")
        export = await ask(other, carol, EXPORT)
        assert conflicts(await carol.hold(export)) == []

    async def test_who_leaves_or_cancels_runs_nothing(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        before = postgres.scalar(COUNT, database)
        await ask(client, carol, EXPORT)
        async with await gateway.raw(database) as leaving:
            gone = await ask(leaving, carol, DELETE)
            await approve(carol, gone)
            await notice(leaving, "is approved, and waits")
        async with asyncio.timeout(10):
            while (await carol.hold(gone))["state"] == "approved":
                await asyncio.sleep(0.02)
        assert (await carol.hold(gone))["state"] == "abandoned"
        assert postgres.scalar(COUNT, database) == before

    async def test_it_does_not_wait_longer_than_a_hold_waits(
        self, tmp_path: Path, config: dict[str, Any], postgres: Postgres, database: str
    ) -> None:
        short = {**SHOP_POLICY["rules"][0], "approval": {"from": ["dpo"], "expires": "2s"}}
        before = postgres.scalar(COUNT, database)
        async with running_gateway(tmp_path, merged(config, {"rules": [short, EXPORTS]})) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as one, await gateway.raw(database) as two:
                export = await ask(one, carol, EXPORT)
                deletion = await ask(two, carol, DELETE)
                await approve(carol, deletion)
                error, _ = await answer(two)
                assert error.fields["C"] == "57014"
                assert f"hold {export} of postgres (pending) did not end in time" in error.fields["M"]
                assert (await carol.hold(deletion))["state"] == "expired"
        assert postgres.scalar(COUNT, database) == before


class TestOtherActions:
    async def test_block_refuses_the_later_one(
        self, tmp_path: Path, config: dict[str, Any], database: str
    ) -> None:
        blocks = {
            "conflicts": dict.fromkeys(("export_then_delete", "delete_then_export", "delete_twice"), "block")
        }
        async with running_gateway(tmp_path, merged(config, blocks)) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as one, await gateway.raw(database) as two:
                for first, then, does in (
                    (EXPORT, DELETE, "exports"),
                    (DELETE, EXPORT, "deletes"),
                    (DELETE, "DELETE FROM invoice WHERE customer_id = 7", "deletes"),
                ):
                    there = await ask(one, carol, first)
                    error, _ = await two.query(then)
                    assert error.fields["C"] == "55006"
                    assert error.fields["M"].startswith(
                        f"statement refused: hold {there} of postgres (pending) {does} the same data: public."
                    )
                    await carol.reject(there, "no")
                    await answer(one)
                    # Nothing is in the way any more.
                    again = await ask(two, carol, then)
                    await carol.reject(again, "no")
                    await answer(two)
                (refused, *_) = await gateway.recorded(kind="statement", sqlstate="55006")
                assert "the same data" in refused["reason"]

    async def test_a_rule_does_not_approve_what_people_are_only_warned_of(
        self, tmp_path: Path, config: dict[str, Any], postgres: Postgres, database: str
    ) -> None:
        by_rule = {**SHOP_POLICY["rules"][0], "criteria": [{"users": "postgres"}]}
        config = merged(config, {"rules": [by_rule, EXPORTS], "conflicts": {"export_then_delete": "warn"}})
        before = postgres.scalar(COUNT, database)
        async with running_gateway(tmp_path, config) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as one, await gateway.raw(database) as two:
                export = await ask(one, carol, EXPORT)
                deletion = await ask(two, carol, DELETE)
                shown = await carol.hold(deletion)
                assert {one["outcome"] for one in shown["criteria"]} == {"met"}
                assert conflicts(shown) == [("export_then_delete", "warn", export, True, False, False)]
                await approve(carol, deletion)
                assert tags(await answer(two)) == "CZ"
                await carol.reject(export, "too late")
                await answer(one)
                # Without anybody in the way, it approves by itself.
                await two.send(Q("DELETE FROM customer WHERE customer_id = 9"))
                assert tags(await answer(two)) == "CZ"
        assert postgres.scalar(COUNT, database) == before - 2


async def test_whoever_breaks_the_glass_waits_for_nobody(
    tmp_path: Path, config: dict[str, Any], database: str
) -> None:
    glass = {**SHOP_POLICY["rules"][0], "approval": {"from": ["dpo"], "break_glass": ["oncall"]}}
    changes = {"rules": [glass, EXPORTS], "users": {"postgres": {"groups": ["oncall"]}}}
    async with running_gateway(tmp_path, merged(config, changes)) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(database) as one, await gateway.raw(database) as two:
            export = await ask(one, carol, EXPORT)
            await two.query("SET holdgate.break_glass = 'it burns'")
            await two.send(Q(DELETE))
            assert tags(await answer(two)) == "CZ"
            assert [one["conflicts"][0]["action"] for one in await carol.holds() if one["break_glass"]] == [
                "warn"
            ]
            assert conflicts(await carol.hold(export))[0][:2] == ("export_then_delete", "warn")


async def test_tickets_wait_by_being_run_again(
    tmp_path: Path, config: dict[str, Any], postgres: Postgres, database: str
) -> None:
    by_ticket = [{**one, "hold": "ticket"} for one in (SHOP_POLICY["rules"][0], EXPORTS)]
    before = postgres.scalar(COUNT, database)
    async with running_gateway(tmp_path, merged(config, {"rules": by_ticket})) as gateway:
        carol = await gateway.client()
        async with await gateway.raw(database) as client:
            for sql in (EXPORT, DELETE):
                error, _ = await client.query(sql)
                assert "needs approval: ticket" in error.fields["M"]
            export, deletion = sorted(one["id"] for one in await carol.holds())
            await approve(carol, deletion)
            error, _ = await client.query(DELETE)
            assert error.fields["C"] == "55006"
            assert f"is approved, and waits until hold {export} of postgres (pending)" in error.fields["M"]
            await approve(carol, export)
            assert tags(await client.query(EXPORT))[-2:] == "CZ"
            await carol.wait_for_outcome(export)
            assert tags(await client.query(DELETE)) == "CZ"
    assert postgres.scalar(COUNT, database) == before - 1


LISTED = {"relation": "public.customer", "subjects": ["7"], "reason": "Smith v. Acme"}
REGISTER = {
    "relation": "public.customer",
    "sql": {"query": "SELECT true FROM litigation WHERE customer_id = $1", "parameters": ["subject"]},
    "reason": "the register of litigation",
}


class TestLegalHold:
    async def test_nobody_under_legal_hold_is_deleted_by_whatever_way(
        self, tmp_path: Path, config: dict[str, Any], postgres: Postgres, database: str
    ) -> None:
        postgres.execute(
            "CREATE TABLE litigation (customer_id integer PRIMARY KEY); INSERT INTO litigation VALUES (8)",
            database,
        )
        by_rule = {
            **SHOP_POLICY["rules"][0],
            "criteria": [{"users": "postgres"}],
            "approval": {"from": ["dpo"], "break_glass": ["oncall"]},
        }
        changes = {
            "rules": [by_rule],
            "conflicts": {"legal_holds": [LISTED, REGISTER]},
            "users": {"postgres": {"groups": ["oncall"]}},
        }
        before = postgres.scalar(COUNT, database)
        async with (
            running_gateway(tmp_path, merged(config, changes)) as gateway,
            await gateway.raw(database) as client,
        ):
            for sql, said in (
                (DELETE, "customer_id 7 is under legal hold (Smith v. Acme)"),
                ("DELETE FROM customer WHERE customer_id IN (6, 7)", "customer_id 7 is under legal hold"),
                ("DELETE FROM invoice WHERE customer_id = 7", "customer_id 7 is under legal hold"),
                (
                    "DELETE FROM customer WHERE customer_id IN (8, 9)",
                    "customer_id 8 is under legal hold (the reg",
                ),
                (
                    "DELETE FROM customer WHERE email = 'x'",
                    "it may delete data of people under legal hold from",
                ),
                (
                    "TRUNCATE customer CASCADE",
                    "it may delete data of people under legal hold from public.cust",
                ),
            ):
                error, _ = await client.query(sql)
                assert error.fields["C"] == "42501"
                assert error.fields["M"].startswith(f"statement denied: {said}"), (sql, error.fields)
            await client.query("SET holdgate.break_glass = 'it burns'")
            error, _ = await client.query(DELETE)
            assert "customer_id 7 is under legal hold" in error.fields["M"]
            await client.query("RESET holdgate.break_glass")
            assert postgres.scalar(COUNT, database) == before
            await client.send(Q("DELETE FROM customer WHERE customer_id = 9"))
            assert tags(await answer(client)) == "CZ"
            # Who cannot be looked up may be under legal hold.
            postgres.execute("ALTER TABLE litigation RENAME TO lawsuits", database)
            error, _ = await client.query("DELETE FROM customer WHERE customer_id = 10")
            assert 'relation "litigation" does not exist' in error.fields["M"]
            (denied, *_) = await gateway.recorded(kind="statement", sqlstate="42501")
            assert denied["reason"].endswith("under legal hold (Smith v. Acme)")
        assert postgres.scalar(COUNT, database) == before - 1

    @pytest.mark.parametrize("how", ["listed", "register", "ticket"])
    async def test_a_legal_hold_that_comes_after_the_approval_counts(
        self, tmp_path: Path, config: dict[str, Any], postgres: Postgres, database: str, how: str
    ) -> None:
        postgres.execute("CREATE TABLE litigation (customer_id integer PRIMARY KEY)", database)
        holds: list[dict[str, Any]] = [REGISTER] if how == "register" else []
        rules = [{**SHOP_POLICY["rules"][0], "hold": "ticket" if how == "ticket" else "wait"}, EXPORTS]
        config = merged(config, {"conflicts": {"legal_holds": holds}, "rules": rules})
        listed = merged(config, {"conflicts": {"legal_holds": [LISTED]}})
        before = postgres.scalar(COUNT, database)
        async with running_gateway(tmp_path, config) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as client, await gateway.raw(database) as other:
                if how == "ticket":
                    await client.query(DELETE)
                    (hold,) = await carol.holds()
                    await approve(carol, hold["id"])
                    gateway.gateway.reload(load_config(write_config(tmp_path, listed)))
                    error, _ = await client.query(DELETE)
                    deletion = hold["id"]
                else:
                    # What it waits for gives the time to set one.
                    export = await ask(other, carol, EXPORT)
                    deletion = await ask(client, carol, DELETE)
                    await approve(carol, deletion)
                    await notice(client, "is approved, and waits")
                    if how == "register":
                        postgres.execute("INSERT INTO litigation VALUES (7)", database)
                    else:
                        gateway.gateway.reload(load_config(write_config(tmp_path, listed)))
                    await carol.reject(export, "no")
                    error, _ = await answer(client)
                assert error.fields["C"] == "42501"
                assert error.fields["M"].startswith("statement denied: customer_id 7 is under legal hold (")
                ended = await carol.hold(deletion)
                if how == "ticket":
                    # It is good again once the legal hold is lifted.
                    assert (ended["state"], ended["released_at"]) == ("approved", None)
                else:
                    assert ended["state"] == "interrupted"
                    assert ended["end_reason"].startswith("customer_id 7 is under legal hold (")
        assert postgres.scalar(COUNT, database) == before
