"""Ruling on requests: what goes on at once, what waits for what, and what a refusal says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.arbiter import Arbiter
from gateway.tasks import running
from tests.support.disk import full_disk
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
from tests.support.wire import B, E, H, Message, P, Q, RawClient, S, send_cancel, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
INDEX = "CREATE INDEX ON genre (name)"
POLICY = merged(
    SHOP_POLICY,
    {
        "rules": [{"name": "no-index", "when": {"action": "ddl"}, "then": "deny"}, *SHOP_POLICY["rules"]],
        "defaults": {"opaque_function": "allow"},
    },
)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running_:
        yield running_


@pytest.fixture
async def client(gateway: RunningGateway, database: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(database) as raw:
        # The session is asked how it stands before its first statement that names something.
        await raw.query("SELECT count(*) FROM genre")
        yield raw


@pytest.fixture
def rulings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks that rule while something is judged."""
    seen: list[str] = []
    rule = Arbiter.rule

    def watched(self: Arbiter, *arguments: Any) -> Any:
        seen.extend(task.get_name() for task in running() if task.get_name().startswith("ruling"))
        return rule(self, *arguments)

    monkeypatch.setattr(Arbiter, "rule", watched)
    return seen


def error_in(answer: list[Message]) -> Message:
    (error,) = [each for each in answer if each.tag == "E"]
    return error


class TestAllowed:
    async def test_it_never_leaves_the_callback(self, client: RawClient, rulings: list[str]) -> None:
        assert tags(await client.query("SELECT name FROM genre LIMIT 1")) == "TDCZ"
        assert tags(await client.exchange(P("SELECT 1"), B(), E(), S())) == "12DCZ"
        assert rulings == []

    async def test_it_waits_for_what_changed_the_context(self, client: RawClient, rulings: list[str]) -> None:
        await client.send(Q("SET search_path = pg_catalog"), Q("SELECT count(*) FROM genre"))
        assert tags(await client.read_until("Z")) == "CSZ"
        assert error_in(await client.read_until("Z")).sqlstate in ("42P01", "57014", "42501")
        assert rulings

    async def test_one_of_a_pipeline_that_failed_is_skipped_and_on_record(
        self, gateway: RunningGateway, client: RawClient
    ) -> None:
        # What stands behind the change of the path is ruled on when the server has answered, and skipped by then.
        series = P("SELECT 1/0"), B(), E(), P("SELECT set_config('search_path', 'x', false)"), B(), E()
        behind = P("SELECT count(*) FROM genre"), B(), E()
        await client.send(*series, H(), *behind, S())
        answer = await client.read_until("Z")
        assert error_in(answer).sqlstate == "22012"
        records = await gateway.recorded(kind="statement")
        assert [(each["sql"], each["tag"]) for each in records][-1] == (
            "SELECT count(*) FROM genre",
            "(not run: an earlier statement failed)",
        )
        assert tags(await client.query("SELECT 1")) == "TDCZ"


class TestDenied:
    async def test_the_client_is_told_which_rule_and_what_to_do(
        self, gateway: RunningGateway, client: RawClient
    ) -> None:
        error = error_in(await client.query(INDEX))
        assert (error.sqlstate, error.fields["M"]) == ("42501", "statement denied by rule no-index")
        assert error.fields["D"].endswith("Nothing was run.")
        assert (
            error.fields["H"] == "Change the statement, or ask the operator of the gateway about this rule."
        )
        (record,) = await gateway.recorded(kind="statement", verdict="deny")
        assert (record["sql"], record["rule"], record["sqlstate"]) == (INDEX, "no-index", "42501")

    async def test_what_is_guarded_has_a_hint_of_its_own(self, client: RawClient) -> None:
        error = error_in(await client.query("SET standard_conforming_strings = off"))
        assert error.fields["M"] == "statement denied by rule default:guarded_settings"
        assert "defaults.guarded_settings" in error.fields["H"]

    async def test_what_stands_in_front_runs_and_is_on_record_and_does_not_commit(
        self, gateway: RunningGateway, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        insert = "INSERT INTO genre VALUES (900, 'x')"
        series = P(insert), B(), E(), P(INDEX), B(), E(), P("SELECT 2"), B(), E(), S()
        answer = await client.exchange(*series)
        assert tags(answer) == "12C1EZ"
        assert postgres.scalar("SELECT count(*) FROM genre WHERE genre_id = 900", database) == 0
        records = await gateway.recorded(kind="statement", sql=insert)
        assert [each["tag"] for each in records] == ["INSERT 0 1"]

    async def test_in_a_transaction_nothing_of_it_commits(
        self, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        await client.query("BEGIN")
        await client.query("INSERT INTO genre VALUES (901, 'x')")
        assert error_in(await client.query(INDEX)).sqlstate == "42501"
        assert client.status == "E"
        assert (await client.query("COMMIT"))[0].text == "ROLLBACK"
        assert postgres.scalar("SELECT count(*) FROM genre WHERE genre_id = 901", database) == 0


class TestAudit:
    async def test_nothing_runs_that_cannot_be_recorded(
        self, gateway: RunningGateway, client: RawClient, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        with full_disk(tmp_path / "audit.jsonl"):
            # The first finds out; what was on its way by then is in memory.
            await client.query(INDEX)
            error = error_in(await client.query("INSERT INTO genre VALUES (902, 'x')"))
            assert error.sqlstate == "58000"
            assert "audit" in error.fields["M"] + error.fields.get("D", "")
        await gateway.written()
        assert postgres.scalar("SELECT count(*) FROM genre WHERE genre_id = 902", database) == 0
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert gateway.gateway.audit.lost == 0

    async def test_a_denial_that_cannot_be_recorded_says_so(
        self, gateway: RunningGateway, client: RawClient, tmp_path: Path
    ) -> None:
        await gateway.written()
        with full_disk(tmp_path / "audit.jsonl"):
            assert error_in(await client.query(INDEX)).sqlstate == "58000"
        await gateway.written()
        assert error_in(await client.query(INDEX)).sqlstate == "42501"


class TestHeld:
    async def test_only_this_session_waits(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient, database: str
    ) -> None:
        hold = await held(client, carol, Q(DELETE), Q("SELECT 1"))
        assert [task.get_name() for task in running() if task.get_name().startswith("ruling")]
        async with await gateway.raw(database) as other:
            assert tags(await other.query("SELECT 1")) == "TDCZ"
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "CZ"
        assert tags(await client.read_until("Z")) == "TDCZ"
        assert not [task for task in running() if task.get_name().startswith("ruling")]

    async def test_it_is_ruled_on_by_the_policy_of_that_moment(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        hold = await held(client, carol, Q(DELETE))
        assert hold["rule"] == "erasure"
        await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
        assert error_in(await client.read_until("Z")).sqlstate == "57014"
        assert (await carol.hold(hold["id"]))["state"] == "withdrawn"
        assert tags(await client.query("SELECT 1")) == "TDCZ"


class TestEnds:
    async def test_a_session_asked_to_end_is_ended_instead_of_the_next_ruling(
        self, gateway: RunningGateway, client: RawClient, carol: ApproverClient
    ) -> None:
        await held(client, carol, Q(DELETE), Q("SELECT 'never'"))
        (info,) = gateway.gateway.sessions.list()
        session = gateway.gateway.sessions.find(info.id)
        assert session is not None
        session.drain()
        answer = await client.read_to_end()
        errors = [each.sqlstate for each in answer if each.tag == "E"]
        assert errors[-1] == "57P01"
        assert "T" not in tags(answer)

    async def test_a_bug_ends_the_session_and_lets_nothing_through(
        self,
        gateway: RunningGateway,
        client: RawClient,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        postgres: Postgres,
        database: str,
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        # Behind a change of the context, it is ruled on in a task of its own.
        await client.query("SET search_path = public")
        monkeypatch.setattr(Arbiter, "rule", broken)
        await client.send(Q("INSERT INTO genre VALUES (903, 'x')"))
        error = error_in(await client.read_to_end())
        assert (error.sqlstate, error.fields["S"]) == ("XX000", "FATAL")
        assert "a bug" in caplog.text
        caplog.clear()
        assert postgres.scalar("SELECT count(*) FROM genre WHERE genre_id = 903", database) == 0
        await gateway.until_sessions(0)
