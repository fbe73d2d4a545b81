"""What comes of statements: the outcome kept with a hold, and the names that a session goes on with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.holds import Holds
from gateway.store import StoreUnavailable
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    held,
    make_config,
    merged,
    running_gateway,
)
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import B, E, P, Q, RawClient, S, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = {}"
DENY = merged(SHOP_POLICY, {"defaults": {"unreadable": "deny"}})


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, DENY)) as running:
        yield running


async def approved(client: RawClient, carol: ApproverClient, *messages: bytes) -> dict[str, Any]:
    """Send what is held and let it run; the hold as it is kept, once its outcome is known."""
    hold = await held(client, carol, *messages)
    assert (await carol.approve(hold["id"])).status_code == 200
    await client.read_until("Z")
    return await outcome(carol, hold["id"])


async def outcome(carol: ApproverClient, hold_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (hold := await carol.hold(hold_id))["outcome"] is None:
            await asyncio.sleep(0.01)
    return hold


class TestOutcomes:
    async def test_a_statement_that_succeeds(self, client: RawClient, carol: ApproverClient) -> None:
        found = (await approved(client, carol, Q(DELETE.format(7))))["outcome"]
        assert (found["tag"], found["rows"], found["sqlstate"]) == ("DELETE 1", 1, None)
        assert found["duration_ms"] > 0

    async def test_all_of_a_series_counts_together(self, client: RawClient, carol: ApproverClient) -> None:
        series = [part for number in (3, 4) for part in (P(DELETE.format(number)), B(), E())]
        found = (await approved(client, carol, *series, S()))["outcome"]
        assert (found["tag"], found["rows"], found["sqlstate"]) == ("DELETE 1; DELETE 1", 2, None)

    async def test_all_of_a_message_counts_together(self, client: RawClient, carol: ApproverClient) -> None:
        found = (await approved(client, carol, Q(f"{DELETE.format(3)}; SELECT 1; {DELETE.format(4)}")))[
            "outcome"
        ]
        assert (found["tag"], found["rows"]) == ("DELETE 1; SELECT 1; DELETE 1", 3)

    async def test_the_first_error_is_the_outcome_and_what_is_behind_it_did_not_run(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = postgres.scalar("SELECT count(*) FROM invoice_line", database)
        series = P(DELETE.format(3)), B(), E(), P("SELECT 1/0"), B(), E(), P(DELETE.format(4)), B(), E(), S()
        found = (await approved(client, carol, *series))["outcome"]
        assert found["sqlstate"] == "22012"
        assert postgres.scalar("SELECT count(*) FROM invoice_line", database) == before

    async def test_a_portal_in_parts_is_one_outcome(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        await client.query("BEGIN")
        hold = await held(client, carol, P("SELECT email FROM customer"), B(portal="p"), E("p", 2), S())
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "12DDsZ"
        assert tags(await client.exchange(E("p", 3), S())) == "DDDsZ"
        await client.query("COMMIT")
        records = await gateway.recorded(kind="statement", hold_id=hold["id"])
        assert [(each["tag"], each["rows"]) for each in records] == [
            ("(suspended at its row limit)", None)
        ] * 2

    async def test_the_server_goes_away_before_it_answers(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            place = {"databases": {"*": {"host": relay.host, "port": relay.port}}}
            async with running_gateway(tmp_path, make_config(postgres, DENY, place)) as gateway:
                carol = await gateway.client("carol")
                async with await gateway.raw(database) as client:
                    sql = f"{DELETE.format(7)} RETURNING pg_sleep(60)"
                    hold = await held(client, carol, Q(sql))
                    await carol.approve(hold["id"])
                    await asyncio.to_thread(
                        postgres.wait_until,
                        "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')",
                    )
                    relay.cut()
                    await client.read_to_end()
                found = (await outcome(carol, hold["id"]))["outcome"]
                assert found["sqlstate"] == "08006"
                assert "no answer" in found["tag"]

    async def test_a_store_that_fails_loses_no_record(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failed = asyncio.Event()

        async def fails(*_: object, **__: object) -> None:
            failed.set()
            raise StoreUnavailable("the disk is on fire")

        monkeypatch.setattr(Holds, "record_outcome", fails)
        hold = await held(client, carol, Q(DELETE.format(7)))
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "CZ"
        await asyncio.wait_for(failed.wait(), 10)
        (record,) = await gateway.recorded(kind="statement", hold_id=hold["id"])
        assert record["tag"] == "DELETE 1"
        assert f"hold {hold['id']}: its outcome is in the audit but not in the store" in caplog.text
        assert tags(await client.query("SELECT 1")) == "TDCZ"


class TestNames:
    """``EXECUTE`` is judged by what its name stands for, so the names must be those the server has."""

    PREPARE = f"PREPARE d AS {DELETE.format(7)}"

    async def said(self, client: RawClient, sql: str) -> str:
        errors = [each for each in await client.query(sql) if each.tag == "E"]
        return errors[0].sqlstate if errors else "ok"

    async def stands_for_a_deletion(self, client: RawClient, carol: ApproverClient) -> bool:
        await client.send(Q("EXECUTE d"))
        first = await client.read()
        if first.tag == "N":
            hold = await carol.wait_for_hold()
            await carol.reject(hold["id"], "no")
        await client.read_until("Z")
        return first.tag == "N"

    async def test_prepared(self, client: RawClient, carol: ApproverClient) -> None:
        assert await self.said(client, "EXECUTE d") == "42501"
        assert await self.said(client, self.PREPARE) == "ok"
        assert await self.stands_for_a_deletion(client, carol)

    async def test_prepared_in_the_middle_of_a_message(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        assert await self.said(client, f"SELECT 1; PREPARE e AS SELECT 2; {self.PREPARE}; SELECT 3") == "ok"
        assert await self.stands_for_a_deletion(client, carol)
        assert await self.said(client, "EXECUTE e") == "ok"

    async def test_not_prepared_where_that_failed(self, client: RawClient) -> None:
        assert await self.said(client, f"SELECT 1/0; {self.PREPARE}") == "22012"
        assert await self.said(client, "EXECUTE d") == "42501"
        assert await self.said(client, "PREPARE d AS SELECT 1") == "ok"
        assert await self.said(client, "EXECUTE d") == "ok"

    async def test_a_name_that_was_taken_stands_for_the_first(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        assert await self.said(client, self.PREPARE) == "ok"
        assert await self.said(client, "PREPARE d AS SELECT 1") == "42P05"
        assert await self.stands_for_a_deletion(client, carol)

    @pytest.mark.parametrize(
        "forget", ["DEALLOCATE d", "DEALLOCATE ALL", "DISCARD ALL", "SELECT 1; DEALLOCATE d"]
    )
    async def test_forgotten(self, client: RawClient, forget: str) -> None:
        assert await self.said(client, self.PREPARE) == "ok"
        assert await self.said(client, forget) == "ok"
        assert await self.said(client, "EXECUTE d") == "42501"
        assert await self.said(client, "PREPARE d AS SELECT 1") == "ok"
        assert await self.said(client, "EXECUTE d") == "ok"

    async def test_still_there_where_forgetting_failed(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        assert await self.said(client, self.PREPARE) == "ok"
        assert await self.said(client, "BEGIN") == "ok"
        assert await self.said(client, "SELECT 1/0; DEALLOCATE d") == "22012"
        assert await self.said(client, "ROLLBACK") == "ok"
        assert await self.stands_for_a_deletion(client, carol)

    async def test_one_of_several(self, client: RawClient, carol: ApproverClient) -> None:
        assert await self.said(client, f"{self.PREPARE}; PREPARE e AS SELECT 1; DEALLOCATE e") == "ok"
        assert await self.said(client, "EXECUTE e") == "42501"
        assert await self.stands_for_a_deletion(client, carol)
