"""Holding on the wire: each way a hold can end, as the client sees it and as the database says afterwards."""

import asyncio
from pathlib import Path

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
from tests.support.relay import Relay
from tests.support.wire import B, C, D, E, H, Message, P, Q, RawClient, S, X, d, message, send_cancel, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
BULK = "SELECT email FROM customer"


def count(postgres: Postgres, database: str, sql: str = "SELECT count(*) FROM invoice_line") -> int:
    return int(postgres.scalar(sql, database))


class TestDecisions:
    async def test_an_approved_delete_runs_once(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(DELETE))
        assert hold["sql"] == DELETE
        assert hold["actions"] == ["delete"]
        assert hold["rule"] == "erasure"
        assert hold["user"] == "postgres"
        assert count(postgres, database) == before
        assert (await carol.approve(hold["id"], "asked for by the customer")).status_code == 200
        answer = await client.read_until("Z")
        assert tags(answer) == "CZ"
        assert answer[0].payload == b"DELETE 1\0"
        assert count(postgres, database) == before - 1
        done = await carol.hold(hold["id"])
        assert done["state"] == "approved"
        assert [each["who"] for each in done["decisions"]] == ["carol"]
        records = gateway.audit(kind="statement", hold_id=hold["id"])
        assert [(each["tag"], each["approved_by"], each["verdict"]) for each in records] == [
            ("DELETE 1", ["carol"], "hold")
        ]
        assert records[0]["held_ms"] > 0

    async def test_the_outcome_is_kept_with_the_hold(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        with gateway.gateway.bus.subscribe() as events:
            hold = await held(client, carol, Q(DELETE))
            await carol.approve(hold["id"])
            await client.read_until("Z")
            async with asyncio.timeout(10):
                async for event in events:
                    if event.kind == "hold.outcome":
                        break
        outcome = (await carol.hold(hold["id"]))["outcome"]
        assert outcome["tag"] == "DELETE 1"
        assert outcome["rows"] == 1
        assert outcome["sqlstate"] is None

    async def test_a_rejection_names_who_and_why_and_the_session_goes_on(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(BULK))
        assert (await carol.reject(hold["id"], "no ticket")).status_code == 200
        answer = await client.read_until("Z")
        assert tags(answer) == "EZ"
        assert answer[0].sqlstate == "42501"
        assert answer[0].fields["M"] == "statement rejected by carol: no ticket"
        assert hold["id"] in answer[0].fields["D"]
        assert "carol" in answer[0].fields["H"]
        assert client.status == "I"
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert count(postgres, database) == before

    async def test_of_two_approvers_exactly_one_wins(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        dave = await gateway.client("dave")
        hold = await held(client, carol, Q(DELETE))
        answers = await asyncio.gather(carol.approve(hold["id"]), dave.reject(hold["id"], "wait"))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        final = await carol.hold(hold["id"])
        assert len(final["decisions"]) == 1
        assert tags(await client.read_until("Z")) == ("CZ" if final["state"] == "approved" else "EZ")

    async def test_a_bulk_read_and_a_copy_wait_and_a_lookup_passes(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        assert tags(await client.query("SELECT email FROM customer WHERE customer_id = 5")) == "TDCZ"
        for sql in (BULK, "COPY customer TO STDOUT"):
            hold = await held(client, carol, Q(sql))
            await carol.reject(hold["id"], "no")
            assert tags(await client.read_until("Z")) == "EZ"

    async def test_one_session_waits_and_the_others_do_not(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, database: str
    ) -> None:
        hold = await held(client, carol, Q(DELETE))
        async with await gateway.raw(database) as other:
            assert tags(await other.query("SELECT 1")) == "TDCZ"
        await carol.reject(hold["id"], "no")
        await client.read_until("Z")


class TestEnds:
    async def test_expiry(self, postgres: Postgres, tmp_path: Path, database: str) -> None:
        rule = {"name": "erasure", "when": {"action": "delete"}, "then": "hold"}
        policy = {**SHOP_POLICY, "rules": [{**rule, "approval": {"from": ["dpo"], "expires": "1s"}}]}
        before = count(postgres, database)
        async with running_gateway(tmp_path, make_config(postgres, policy)) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as client:
                hold = await held(client, carol, Q(DELETE))
                answer = await client.read_until("Z")
                assert answer[-2].sqlstate == "57014"
                assert "expired" in answer[-2].fields["M"]
                assert (await carol.hold(hold["id"]))["state"] == "expired"
                assert (await carol.approve(hold["id"])).status_code == 409
                assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert count(postgres, database) == before

    async def test_a_cancel_request_withdraws(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(DELETE))
        await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
        answer = await client.read_until("Z")
        assert answer[-2].sqlstate == "57014"
        assert answer[-2].fields["M"] == "canceling statement due to user request"
        assert (await carol.hold(hold["id"]))["state"] == "withdrawn"
        late = await carol.approve(hold["id"])
        assert late.status_code == 409
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert count(postgres, database) == before

    @pytest.mark.parametrize("how", ["abort", "close", "half-close"])
    async def test_a_client_that_goes_abandons(
        self,
        gateway: RunningGateway,
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
        how: str,
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(DELETE))
        if how == "abort":
            client.abort()
        elif how == "close":
            await client.close()
        else:
            client.end_of_input()
        final = await carol.wait_for_end(hold["id"])
        assert final["state"] == "abandoned"
        client.abort()
        assert (await carol.approve(hold["id"])).status_code == 409
        assert count(postgres, database) == before

    async def test_a_dead_upstream_interrupts(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        before = count(postgres, database)
        async with Relay(postgres.host, postgres.port) as relay:
            upstream = {"databases": {"*": {"host": "127.0.0.1", "port": relay.port}}}
            async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, upstream)) as gateway:
                carol = await gateway.client()
                client = await gateway.raw(database)
                hold = await held(client, carol, Q(DELETE))
                relay.cut()
                last = (await client.read_to_end())[-1]
                assert last.sqlstate == "08006"
                assert (await carol.wait_for_end(hold["id"]))["state"] == "interrupted"
                assert (await carol.approve(hold["id"])).status_code == 409
                client.abort()
        assert count(postgres, database) == before

    async def test_a_backend_that_is_terminated_interrupts(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres
    ) -> None:
        hold = await held(client, carol, Q(DELETE))
        postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
        assert "57P01" in {message.sqlstate for message in await client.read_to_end() if message.tag == "E"}
        assert (await carol.wait_for_end(hold["id"]))["state"] == "interrupted"

    async def test_a_stopped_gateway_interrupts(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        before = count(postgres, database)
        async with GatewayProcess(tmp_path, make_config(postgres, SHOP_POLICY)) as gateway:
            async with await gateway.client() as carol:
                client = await RawClient.connect(gateway.host, gateway.port, database=database)
                hold = await held(client, carol, Q(DELETE))
            assert await gateway.stop() == 0
            assert "57P01" in {each.sqlstate for each in await client.read_to_end() if each.tag == "E"}
            client.abort()
            await gateway.start()
            async with await gateway.client() as carol:
                assert (await carol.hold(hold["id"]))["state"] == "interrupted"
                assert (await carol.approve(hold["id"])).status_code == 409
        assert count(postgres, database) == before

    async def test_a_killed_gateway_leaves_interrupted_holds_and_runs_nothing(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        before = count(postgres, database)
        async with GatewayProcess(tmp_path, make_config(postgres, SHOP_POLICY)) as gateway:
            async with await gateway.client() as carol:
                client = await RawClient.connect(gateway.host, gateway.port, database=database)
                hold = await held(client, carol, Q(DELETE))
            await gateway.kill()
            client.abort()
            await gateway.start()
            async with await gateway.client() as carol:
                assert (await carol.hold(hold["id"]))["state"] == "interrupted"
                assert (await carol.approve(hold["id"])).status_code == 409
        assert count(postgres, database) == before

    async def test_a_killed_session_interrupts(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        hold = await held(client, carol, Q(DELETE))
        assert gateway.gateway.sessions.kill(hold["session_id"], "root")
        assert (await client.read_to_end())[-1].sqlstate == "57P01"
        assert (await carol.wait_for_end(hold["id"]))["state"] == "interrupted"


class TestTransactions:
    async def test_a_rejection_fails_the_transaction(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        await client.query("BEGIN")
        await client.query("UPDATE track SET name = 'changed' WHERE track_id = 1")
        hold = await held(client, carol, Q(DELETE))
        assert hold["transaction_open_since"] is not None
        await carol.reject(hold["id"], "no")
        answer = await client.read_until("Z")
        assert answer[0].fields["M"].startswith("statement rejected by carol")
        assert client.status == "E"
        commit = await client.query("COMMIT")
        assert commit[0].payload == b"ROLLBACK\0"
        assert count(postgres, database) == before
        assert postgres.scalar("SELECT name FROM track WHERE track_id = 1", database) != "changed"

    async def test_a_denial_fails_the_transaction(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        deny = {"rules": [{"name": "never", "when": {"action": "delete"}, "then": "deny"}]}
        async with (
            running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, deny)) as gateway,
            await gateway.raw(database) as client,
        ):
            await client.query("BEGIN")
            answer = await client.query(DELETE)
            assert tags(answer) == "EZ"
            assert answer[0].sqlstate == "42501"
            assert client.status == "E"
            assert (await client.query("COMMIT"))[0].payload == b"ROLLBACK\0"
            assert [each["verdict"] for each in gateway.audit(sqlstate="42501")] == ["deny"]

    async def test_an_approval_inside_a_transaction_commits_with_it(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        await client.query("BEGIN")
        hold = await held(client, carol, Q(DELETE))
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "CZ"
        assert count(postgres, database) == before
        await client.query("COMMIT")
        assert count(postgres, database) == before - 1

    async def test_several_statements_are_ruled_as_one(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(f"UPDATE track SET name = 'changed' WHERE track_id = 1; {DELETE}"))
        await carol.reject(hold["id"], "no")
        assert tags(await client.read_until("Z")) == "EZ"
        assert client.status == "I"
        assert count(postgres, database) == before
        assert postgres.scalar("SELECT name FROM track WHERE track_id = 1", database) != "changed"


PREPARED = "DELETE FROM invoice_line WHERE invoice_line_id = $1"


class TestExtended:
    async def test_a_prepared_delete_is_held_at_execute_with_its_parameters(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        assert tags(await client.exchange(P(PREPARED, "s1"), D("S", "s1"), S())) == "1tnZ"
        await client.send(B(["7"], statement="s1"), H())
        assert (await client.read()).tag == "2"
        hold = await held(client, carol, E(), S())
        assert hold["sql"] == PREPARED
        assert hold["parameters"] == ["7"]
        await carol.approve(hold["id"])
        answer = await client.read_until("Z")
        assert tags(answer) == "CZ"
        assert answer[0].payload == b"DELETE 1\0"
        assert count(postgres, database) == before - 1

    @pytest.mark.parametrize("end", ["sync", "flush"])
    async def test_a_refused_batch_answers_once_and_the_session_goes_on(
        self, client: RawClient, carol: ApproverClient, end: str
    ) -> None:
        batch = (P(PREPARED), B(["7"]), D("P"), E())
        hold = await held(client, carol, *batch, S() if end == "sync" else H())
        await carol.reject(hold["id"], "no")
        if end == "flush":
            assert (await client.read()).tag == "E"
            await client.send(P("SELECT 'skipped'"), B(), E(), S())
            assert tags(await client.read_until("Z")) == "Z"
        else:
            assert tags(await client.read_until("Z")) == "EZ"
        assert client.status == "I"
        assert tags(await client.exchange(P("SELECT 1"), B(), E(), S())) == "12DCZ"

    async def test_a_refusal_in_a_pipeline_undoes_what_went_before(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        update = "UPDATE track SET name = 'changed' WHERE track_id = 1"
        await client.send(P(update), B(), E(), P(PREPARED), B(["7"]), E(), S())
        hold = await carol.wait_for_hold()
        await carol.reject(hold["id"], "no")
        answer = [each for each in await client.read_until("Z") if each.tag != "N"]
        assert tags(answer) == "12C1EZ"
        assert client.status == "I"
        assert postgres.scalar("SELECT name FROM track WHERE track_id = 1", database) != "changed"

    async def test_a_refusal_after_a_flush_undoes_what_was_flushed(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        await client.send(P("UPDATE track SET name = 'changed' WHERE track_id = 1"), B(), E(), H())
        assert tags(await client.read_until("C")) == "12C"
        hold = await held(client, carol, P(PREPARED), B(["7"]), E(), S())
        await carol.reject(hold["id"], "no")
        assert tags(await client.read_until("Z")) == "1EZ"
        assert postgres.scalar("SELECT name FROM track WHERE track_id = 1", database) != "changed"

    @pytest.mark.parametrize(
        "last", [(P(PREPARED), B(["7"]), E()), (message("B", b"malformed"),)], ids=["denied", "malformed"]
    )
    async def test_nothing_that_would_be_held_runs_in_front_of_a_refusal(
        self, postgres: Postgres, tmp_path: Path, database: str, last: tuple[bytes, ...]
    ) -> None:
        never = {"rules": [{"name": "never", "when": {"action": "delete"}, "then": "deny"}]}
        policy = merged(SHOP_POLICY, {"rules": [*never["rules"], *SHOP_POLICY["rules"]]})
        async with (
            running_gateway(tmp_path, make_config(postgres, policy)) as gateway,
            await gateway.raw(database) as client,
        ):
            for opened in (False, True):
                if opened:
                    await client.query("BEGIN")
                answer = await client.exchange(P("SELECT 1"), B(), E(), P(BULK), B(), E(), *last, S())
                assert "D" not in tags(answer[4:])
                assert [each.sqlstate for each in answer if each.tag == "E"] in (["42501"], ["08P01"])
                assert client.status == ("E" if opened else "I")

    async def test_a_hold_after_parse_and_flush_keeps_no_transaction_open(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres
    ) -> None:
        await client.send(P(PREPARED), D("S"), H())
        assert tags(await client.read_until("n")) == "1tn"
        hold = await held(client, carol, B(["7"]), E(), S())
        state = postgres.scalar(f"SELECT state FROM pg_stat_activity WHERE pid = {client.pid}")
        assert state == "idle"
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "2CZ"

    async def test_what_runs_in_front_of_a_refusal_is_recorded(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        await client.send(P("SELECT 'in front'"), B(), E(), P(PREPARED), B(["7"]), E(), S())
        hold = await carol.wait_for_hold()
        await carol.reject(hold["id"], "no")
        assert [each.tag for each in await client.read_until("Z") if each.tag != "N"] == list("12DC1EZ")
        await gateway.gateway.stop()
        records = [
            (each["sql"], each["verdict"], each["tag"], each["rows"])
            for each in gateway.audit(kind="statement")
        ]
        assert records == [
            (f"SELECT 'in front';\n{PREPARED}", "hold", "(rejected)", None),
            ("SELECT 'in front'", "allow", "SELECT 1", 1),
        ]

    async def test_a_statement_prepared_by_protocol_is_judged_when_sql_executes_it(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        await client.exchange(P(PREPARED, "s1"), S())
        hold = await held(client, carol, Q("EXECUTE s1(7)"))
        assert hold["actions"] == ["delete"]
        await carol.reject(hold["id"], "no")
        assert tags(await client.read_until("Z")) == "EZ"

    async def test_a_statement_prepared_by_sql_is_judged_when_it_is_bound(
        self, client: RawClient, carol: ApproverClient
    ) -> None:
        await client.query(f"PREPARE s2(int) AS {PREPARED}")
        hold = await held(client, carol, B(["7"], statement="s2"), E(), S())
        assert hold["actions"] == ["delete"]
        await carol.reject(hold["id"], "no")
        assert tags(await client.read_until("Z")) == "EZ"

    async def test_a_name_that_was_reused_is_judged_by_what_it_stands_for(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        # The second Parse of the name fails, so the name still stands for the DELETE.
        await client.exchange(P(DELETE, "s"), S())
        await client.send(P("SELECT 1", "s"), S(), B(statement="s"), E(), S())
        hold = await carol.wait_for_hold()
        assert hold["sql"] == DELETE
        await carol.reject(hold["id"], "no")
        answer = await client.read_until("Z")
        assert answer[0].sqlstate == "42P05"
        await client.read_until("Z")
        await client.exchange(C("S", "s"), S())
        assert tags(await client.exchange(P("SELECT 1", "s"), B(statement="s"), E(), S())) == "12DCZ"
        assert count(postgres, database) == before

    async def test_an_unnamed_statement_skipped_after_an_error_is_not_mistaken(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        await client.exchange(P(DELETE), S())
        # The server skips the second Parse, so the unnamed statement is still the DELETE.
        await client.send(B(statement="nosuch"), P("SELECT 1"), S(), B(), E(), S())
        seen: list[Message] = []
        while len([each for each in seen if each.tag == "Z"]) < 2:
            message = await client.read()
            seen.append(message)
            if message.tag == "N":
                hold = await carol.wait_for_hold()
                assert hold["sql"] == DELETE
                await carol.reject(hold["id"], "no")
        assert count(postgres, database) == before


class TestOther:
    async def test_the_client_is_reminded(self, postgres: Postgres, tmp_path: Path, database: str) -> None:
        often = {"limits": {"notice_seconds": "200ms"}}
        async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, often)) as gateway:
            carol = await gateway.client()
            async with await gateway.raw(database) as client:
                hold = await held(client, carol, Q(DELETE))
                reminder = await client.read()
                assert reminder.tag == "N"
                assert f"still waits for approval: hold {hold['id']}" in reminder.fields["M"]
                await carol.reject(hold["id"], "no")
                await client.read_until("Z")

    async def test_what_a_client_sends_while_held_is_kept_and_bounded(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        hold = await held(client, carol, Q(DELETE))
        await client.send(*[Q(f"SELECT {i}") for i in range(100)])
        await carol.reject(hold["id"], "no")
        assert tags(await client.read_until("Z")) == "EZ"
        for _ in range(100):
            assert tags(await client.read_until("Z")) == "TDCZ"

    async def test_what_was_under_way_when_the_server_went_is_recorded_to_its_end(
        self, gateway: RunningGateway, postgres: Postgres, database: str
    ) -> None:
        client = await gateway.raw(database)
        await client.send(Q("SELECT 1; SELECT pg_sleep(30); SELECT 2"))
        sleeps = f"pid = {client.pid} AND wait_event = 'PgSleep'"
        await asyncio.to_thread(postgres.wait_until, f"EXISTS (SELECT FROM pg_stat_activity WHERE {sleeps})")
        postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
        await client.read_to_end()
        client.abort()
        await gateway.gateway.stop()
        texts = [(each["sql"], each["sqlstate"]) for each in gateway.audit(kind="statement")]
        assert texts == [("SELECT 1", None), ("SELECT pg_sleep(30);\nSELECT 2", "08006")]

    async def test_terminate_after_a_held_statement_does_not_run_it(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        before = count(postgres, database)
        hold = await held(client, carol, Q(DELETE), X())
        client.abort()
        assert (await carol.wait_for_end(hold["id"]))["state"] == "abandoned"
        assert count(postgres, database) == before

    async def test_a_statement_inside_copy_data_ends_the_session_as_the_server_would(
        self, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        await client.send(Q("COPY artist FROM STDIN"))
        assert (await client.read()).tag == "G"
        await client.send(d(b"9999\tSomebody\n"), Q(DELETE))
        assert [each.sqlstate for each in await client.read_to_end() if each.tag == "E"] == ["08P01"]
        assert count(postgres, database, "SELECT count(*) FROM artist WHERE artist_id = 9999") == 0

    async def test_nobody_decides_about_their_own_statement(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        people = {"users": {"postgres": {"groups": ["dpo"], "roles": ["approver", "viewer"]}}}
        async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, people)) as gateway:
            carol, self_ = await gateway.client(), await gateway.client("postgres")
            async with await gateway.raw(database) as client:
                hold = await held(client, carol, Q(DELETE))
                assert (await self_.approve(hold["id"])).status_code == 403
                await carol.reject(hold["id"], "no")
                await client.read_until("Z")

    async def test_a_driver_sees_the_words(
        self, gateway: RunningGateway, carol: ApproverClient, database: str
    ) -> None:
        notices: list[str] = []
        async with await gateway.psycopg(database) as connection:
            connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
            running = asyncio.ensure_future(connection.execute(DELETE))
            hold = await carol.wait_for_hold()
            await carol.reject(hold["id"], "not today")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rejected by carol: not today"):
                await running
            assert hold["id"] in notices[0]
