"""Sessions whose texts would be read otherwise than the readers read them: refused, or at least seen."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import ALLOW_ALL, RunningGateway, make_config, merged, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, C, D, E, P, Q, RawClient, S, tags

GUARDED = {"defaults": {"unreadable": "deny", "unknown_relation": "allow", "opaque_function": "allow"}}
EVERYTHING = merged(
    ALLOW_ALL, {"defaults": {"server_files": "allow", "guarded_settings": "allow", "replication": "allow"}}
)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, GUARDED)) as running:
        yield running


def denied(answer: list[str], rule: str) -> bool:
    return answer == ["42501", f"statement denied by rule default:{rule}"]


async def outcome(client: RawClient, sql: str | bytes) -> list[str]:
    """SQLSTATE and message of the error; empty if there is none."""
    answer = await client.query(sql)
    return next(([each.sqlstate, each.fields["M"]] for each in answer if each.tag == "E"), [])


class TestChanges:
    @pytest.mark.parametrize(
        "sql",
        [
            "SET client_encoding = 'LATIN1'",
            "SET client_encoding TO sjis",
            "SET SESSION client_encoding = 'SQL_ASCII'",
            "SET NAMES 'LATIN1'",
            "SET standard_conforming_strings = off",
            "SET standard_conforming_strings TO 0",
            "SELECT set_config('client_encoding', 'LATIN1', false)",
            "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false)",
            "ALTER ROLE postgres SET client_encoding = 'LATIN1'",
            "ALTER ROLE postgres IN DATABASE postgres SET standard_conforming_strings = off",
            "ALTER DATABASE postgres SET standard_conforming_strings = off",
            "ALTER SYSTEM SET standard_conforming_strings = off",
            "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
        ],
    )
    async def test_one_is_denied_and_told_what_to_do(self, client: RawClient, sql: str) -> None:
        for messages in ((Q(sql),), (P(sql), B(), E(), S())):
            answer = await client.exchange(*messages)
            (error,) = [each for each in answer if each.tag == "E"]
            assert error.sqlstate == "42501"
            assert error.fields["M"] == "statement denied by rule default:guarded_settings"
            assert "defaults.guarded_settings" in error.fields["H"]
        assert client.status == "I"
        assert await outcome(client, "SHOW client_encoding") == []

    async def test_local_to_a_transaction(self, client: RawClient) -> None:
        await client.query("BEGIN")
        assert denied(await outcome(client, "SET LOCAL client_encoding = 'LATIN1'"), "guarded_settings")
        assert client.status == "E"
        await client.query("ROLLBACK")

    async def test_what_is_as_it_has_to_be_passes(self, client: RawClient) -> None:
        for sql in (
            "SET client_encoding = 'UTF8'",
            "SET client_encoding = 'utf-8'",
            "SET NAMES 'unicode'",
            "SET standard_conforming_strings = on",
            "RESET client_encoding",
            "RESET ALL",
            "DISCARD ALL",
            "SET client_encoding TO DEFAULT",
            "SELECT set_config('client_encoding', 'UTF8', false)",
        ):
            assert await outcome(client, sql) == [], sql


class TestLogins:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"client_encoding": "LATIN1"},
            {"CLIENT_ENCODING": "LATIN1"},
            {"standard_conforming_strings": "off"},
            {"options": "-c client_encoding=LATIN1"},
            {"options": "--standard-conforming-strings=off"},
            {"options": "-c work_mem=1MB -cstandard_conforming_strings=off"},
            {"session_replication_role": "replica"},
        ],
    )
    async def test_one_is_refused(
        self, gateway: RunningGateway, database: str, parameters: dict[str, Any]
    ) -> None:
        async with await gateway.raw(database, login=False) as client:
            with pytest.raises(AssertionError, match="login refused"):
                await client.login("postgres", database, **parameters)
            (error,) = [each for each in client.greeting if each.tag == "E"]
            assert error.sqlstate == "42501"
            assert error.fields["S"] == "FATAL"
            assert error.fields["M"] == "session denied by rule default:guarded_settings"
            assert "Connect without this setting" in error.fields["H"]
            assert await client.read_to_end() == []

    async def test_a_driver_is_told(self, gateway: RunningGateway, database: str) -> None:
        with pytest.raises(psycopg.OperationalError, match="client_encoding decides which bytes are quotes"):
            await gateway.psycopg(database, client_encoding="LATIN1")
        async with await gateway.psycopg(database, client_encoding="utf-8") as connection:
            await connection.execute("SELECT 'ä'")

    @pytest.mark.parametrize(
        "parameters", [{"client_encoding": "utf-8"}, {"options": "-c client_encoding=UTF8"}]
    )
    async def test_what_is_as_it_has_to_be_passes(
        self, gateway: RunningGateway, database: str, parameters: dict[str, str]
    ) -> None:
        async with await gateway.raw(database, **parameters) as client:
            assert await outcome(client, "SELECT 'ä'") == []


class TestDefaults:
    """What the server begins a session with, without anybody having asked."""

    @pytest.fixture
    def role(self, postgres: Postgres) -> Iterator[str]:
        name = postgres.create_role()
        yield name
        postgres.drop_role(name)

    async def test_another_encoding(
        self, gateway: RunningGateway, database: str, postgres: Postgres, role: str
    ) -> None:
        postgres.execute(f"ALTER ROLE {role} SET client_encoding = 'LATIN1'")
        async with await gateway.raw(database, user=role) as client:
            assert client.parameters["client_encoding"] == "LATIN1"
            assert await outcome(client, "SELECT 'a'") == []
            answer = await client.query("SELECT 'ä'".encode("latin-1"))
            assert answer[0].fields["M"] == "statement denied by rule default:unreadable"
            assert "client_encoding is LATIN1" in answer[0].fields["D"]
            assert "set it to UTF8" in answer[0].fields["D"]
            assert await outcome(client, "SET client_encoding = 'UTF8'") == []
            assert await outcome(client, "SELECT 'ä'") == []
            for sql in (
                "RESET client_encoding",
                "SET client_encoding TO DEFAULT",
                "RESET ALL",
                "DISCARD ALL",
            ):
                assert denied(await outcome(client, sql), "guarded_settings"), sql
            assert await outcome(client, "RESET work_mem") == []

    async def test_other_strings(
        self, gateway: RunningGateway, database: str, postgres: Postgres, role: str
    ) -> None:
        postgres.execute(f"ALTER ROLE {role} SET standard_conforming_strings = off")
        async with await gateway.raw(database, user=role) as client:
            assert await outcome(client, "SELECT 'ä'") == []
            assert denied(
                await outcome(client, r"SELECT 'a\', '; DELETE FROM invoice_line; --'"), "unreadable"
            )
            assert await outcome(client, "SET standard_conforming_strings = on") == []
            assert await outcome(client, r"SELECT 'a\'") == []

    async def test_what_was_prepared_meanwhile_stays_in_doubt(
        self, gateway: RunningGateway, database: str, postgres: Postgres, role: str
    ) -> None:
        """The server read it with the strings of that moment, and goes on to do so."""
        postgres.execute(f"ALTER ROLE {role} SET standard_conforming_strings = off")
        text = r"SELECT 'a\', count(*) FROM invoice_line; --'"
        async with await gateway.raw(database, user=role) as client:
            await client.exchange(P(text, "s"), P("SELECT 1", "plain"), S())
            assert await outcome(client, "SET standard_conforming_strings = on") == []
            answer = await client.exchange(B(statement="s"), E(), S())
            assert answer[0].fields["M"] == "statement denied by rule default:unreadable"
            assert tags(await client.exchange(B(statement="plain"), E(), S())) == "2DCZ"
            assert (
                tags(await client.exchange(P(r"SELECT 'a\'", "s2"), B(statement="s2"), E(), S())) == "12DCZ"
            )
            await client.exchange(C("S", "s"), S())
            assert tags(await client.exchange(P(r"SELECT 'a\'", "s"), B(statement="s"), E(), S())) == "12DCZ"

    async def test_code_that_changes_it_is_seen(
        self, gateway: RunningGateway, client: RawClient, database: str, postgres: Postgres
    ) -> None:
        postgres.execute(
            "CREATE FUNCTION blinds() RETURNS void LANGUAGE plpgsql AS "
            "$$ BEGIN EXECUTE concat('SET client_', 'encoding = LATIN1'); END $$",
            database,
        )
        assert await outcome(client, "SELECT blinds()") == []
        assert denied(await outcome(client, "SELECT 'ä'".encode("latin-1")), "unreadable")
        await client.send(
            P("SELECT set_config('client_encoding', 'UTF8', false)"), B(), E(), P("SELECT 'ä'"), B(), E(), S()
        )
        answer = await client.read_until("Z")
        assert tags(each for each in answer if each.tag not in "NS") == "12DC12DCZ"


class TestEverythingAllowed:
    """Where the policy lets everything through, a client may speak as it likes."""

    @pytest.mark.parametrize("encoding", ["LATIN1", "SJIS", "WIN1252", "GBK"])
    async def test_every_byte_is_the_same(
        self, postgres: Postgres, tmp_path: Path, database: str, encoding: str
    ) -> None:
        texts = {"LATIN1": "ä", "SJIS": "表", "WIN1252": "€", "GBK": "誠"}
        word = texts[encoding].encode({"WIN1252": "cp1252"}.get(encoding, encoding))
        script = (
            (Q(b"SELECT '" + word + b"' AS \"" + word + b'"'),),
            (Q(b"SELECT length('" + word + b"')"),),
            (P(b"SELECT '" + word + b"' || $1", types=[25]), D("S"), B([word]), E(), S()),
            (Q(b"SELECT '" + word),),
            (Q(b"SELECT nothing_" + word),),
            (Q("SET standard_conforming_strings = off"),),
            (Q(rb"SELECT 'it\'s " + word + b"'"),),
            (Q("SET client_encoding = 'UTF8'"),),
            (Q("SELECT 'ä'"),),
            (Q("RESET client_encoding"),),
            (Q(b"SELECT '" + word + b"'"),),
        )
        async with running_gateway(tmp_path, make_config(postgres, EVERYTHING)) as gateway:
            seen = []
            for host, port in ((postgres.host, postgres.port), (gateway.host, gateway.port)):
                client = await RawClient.connect(host, port, database=database, client_encoding=encoding)
                async with client:
                    seen.append([await client.exchange(*messages) for messages in script])
                    assert client.parameters["client_encoding"] == encoding
        assert seen[1] == seen[0]

    async def test_psql(self, postgres: Postgres, tmp_path: Path, database: str) -> None:
        async with running_gateway(tmp_path, make_config(postgres, EVERYTHING)) as gateway:
            said = []
            for host, port in ((postgres.host, postgres.port), (gateway.host, gateway.port)):
                process = await asyncio.create_subprocess_exec(
                    postgres.tool("psql"),
                    *("-X", "-At", "-h", host, "-p", str(port), "-U", "postgres", database),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env={**os.environ, "PGCLIENTENCODING": "LATIN1"},
                )
                out, _ = await process.communicate(
                    "SHOW client_encoding; SELECT 'ä', length('ä');\n".encode("latin-1")
                )
                said.append(out)
            assert said[0] == "LATIN1\nä|1\n".encode("latin-1")
            assert said[1] == said[0]
