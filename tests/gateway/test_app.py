"""The gateway as one process: started, reloaded, drained, and refusing to start in one line."""

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from gateway.app import Gateway, StartError
from gateway.config import load_config
from protocol.scram import build_verifier
from tests.support.certificates import Authority
from tests.support.disk import full_disk
from tests.support.gateway import (
    SHOP_POLICY,
    GatewayProcess,
    RunningGateway,
    make_config,
    merged,
    running_gateway,
    write_config,
)
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.wire import Q, RawClient, tags

HELD = "DELETE FROM customer WHERE customer_id = 7"


async def refusal(folder: Path, config: Mapping[str, Any]) -> str:
    """Why a gateway does not start. What it had opened is closed again: the same files can be used at once."""
    gateway = Gateway(load_config(write_config(folder, config)))
    with pytest.raises(StartError) as refused:
        await gateway.start()
    assert "\n" not in str(refused.value)
    return str(refused.value)


class TestStarting:
    @pytest.mark.parametrize("which", ["listen", "admin"])
    async def test_a_taken_port(self, tmp_path: Path, postgres: Postgres, which: str) -> None:
        config = make_config(postgres)
        with closing(socket.create_server(("127.0.0.1", config[which]["port"]))):
            said = await refusal(tmp_path, config)
        assert str(config[which]["port"]) in said
        assert f"{which}.port" in said
        async with running_gateway(tmp_path, config) as gateway:
            assert gateway.port == config["listen"]["port"]

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"listen": {"address": "192.0.2.1"}}, r"cannot listen on 192\.0\.2\.1:\d+: "),
            (
                {"listen": {"address": "no.such.host.invalid"}},
                r"cannot listen on no\.such\.host\.invalid:\d+: ",
            ),
            ({"audit": {"file": "."}}, "the audit file .* cannot be written: Is a directory"),
            ({"audit": {"file": "nowhere/audit.jsonl"}}, "cannot be written: No such file or directory"),
            ({"audit": {"file": "/dev/full"}}, "/dev/full is not a regular file"),
            ({"store": {"url": "sqlite:///nowhere/x.db"}}, "cannot open .*nowhere/x.db: No such file"),
            (
                {"store": {"url": "postgresql://a@127.0.0.1:1/b"}},
                "the store cannot be used: .*Connection refused",
            ),
        ],
    )
    async def test_a_place_that_cannot_be_used(
        self, tmp_path: Path, postgres: Postgres, changes: Mapping[str, Any], says: str
    ) -> None:
        assert re.search(says, await refusal(tmp_path, make_config(postgres, changes)))
        async with running_gateway(tmp_path, make_config(postgres)):
            pass

    async def test_files_that_are_something_else(self, tmp_path: Path, postgres: Postgres) -> None:
        config = make_config(postgres)
        (tmp_path / "holdgate.db").write_text("a letter" * 500)
        assert "file is not a database" in await refusal(tmp_path, config)
        (tmp_path / "holdgate.db").unlink()
        (tmp_path / "audit.jsonl").write_text("a letter\n")
        assert "run holdgate audit verify, then move the file away" in await refusal(tmp_path, config)
        assert (tmp_path / "audit.jsonl").read_text() == "a letter\n"

    async def test_files_that_another_gateway_uses(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres, SHOP_POLICY)
        other = tmp_path / "other"
        other.mkdir()
        async with running_gateway(tmp_path, config) as first, await first.raw(database) as client:
            carol = await first.client()
            await client.send(Q(HELD))
            hold = await carol.wait_for_hold()
            same_audit = make_config(postgres, {"audit": {"file": str(tmp_path / "audit.jsonl")}})
            assert f"another gateway writes {tmp_path / 'audit.jsonl'}" in await refusal(other, same_audit)
            same_store = make_config(postgres, {"store": {"url": f"sqlite:///{tmp_path / 'holdgate.db'}"}})
            said = await refusal(other, same_store)
            assert said == (
                f"another gateway runs on {tmp_path / 'holdgate.db'}; stop it, or set store.url to a store of "
                "this gateway's own"
            )
            # What the first one holds is none of the second one's business.
            assert (await carol.hold(hold["id"]))["state"] == "pending"
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")

    async def test_a_certificate_that_is_none(self, tmp_path: Path, postgres: Postgres) -> None:
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).write_text("no certificate")
        files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        for which in ("listen", "admin"):
            said = await refusal(tmp_path, make_config(postgres, {which: {"tls": files}}))
            assert "cert.pem" in said

    async def test_the_whole_thing_on_a_postgresql_store(
        self, tmp_path: Path, postgres: Postgres, database: str, empty_database: str
    ) -> None:
        url = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{empty_database}"
        config = make_config(postgres, SHOP_POLICY, {"store": {"url": url}})
        async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
            carol = await gateway.client()
            await client.send(Q(HELD))
            hold = await carol.wait_for_hold()
            await carol.approve(hold["id"])
            assert tags(await client.read_until("Z")) == "NCZ"


class TestReadiness:
    async def test_it_is_ready(self, tmp_path: Path, postgres: Postgres) -> None:
        async with running_gateway(tmp_path, make_config(postgres)) as gateway:
            assert await gateway.gateway.readiness() == []

    async def test_a_listener_that_stopped_and_a_store_that_does_not_answer(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        async with running_gateway(tmp_path, make_config(postgres)) as gateway, httpx.AsyncClient() as http:
            await gateway.gateway.front.stop_listening()
            for file in tmp_path.glob("holdgate.db*"):
                file.unlink()
            (tmp_path / "holdgate.db").mkdir()
            await gateway.gateway.store.close()
            answer = await http.get(f"{gateway.url}/readyz")
            assert answer.status_code == 503
            assert [reason.partition(":")[0] for reason in answer.json()["reasons"]] == [
                "the listener does not accept connections",
                "the store does not answer",
            ]
            assert (await http.get(f"{gateway.url}/healthz")).status_code == 200

    async def test_a_full_disk_refuses_all_and_goes_by(
        self, tmp_path: Path, postgres: Postgres, database: str, empty_database: str
    ) -> None:
        # The store is a server, so that only the audit's disk is full.
        url = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{empty_database}"
        config = make_config(postgres, SHOP_POLICY, {"store": {"url": url}})
        before = postgres.scalar("SELECT count(*) FROM customer", database)
        async with (
            running_gateway(tmp_path, config) as gateway,
            await gateway.raw(database) as client,
            httpx.AsyncClient(base_url=gateway.url) as http,
        ):
            audit = gateway.gateway.audit
            await gateway.written()
            with full_disk(tmp_path / "audit.jsonl"):
                # The first one finds out; what it did is kept to be recorded.
                assert tags(await client.query("SELECT 1")) == "TDCZ"
                await client.query(HELD)
                for sql in ("SELECT 2", HELD, "ALTER TABLE customer ADD x int", "SELECT email FROM customer"):
                    answer = await client.query(sql)
                    assert tags(answer) == "EZ"
                    assert answer[0].sqlstate == "58000"
                    assert "Nothing was run" in answer[0].fields["D"]
                    assert "operator" in answer[0].fields["H"]
                with pytest.raises(AssertionError, match="58000"):
                    await gateway.raw(database)
                reasons = (await http.get("/readyz")).json()["reasons"]
                assert reasons == [
                    f"the audit cannot be written: the audit file {tmp_path / 'audit.jsonl'} cannot be written: "
                    "File too large"
                ]
            await gateway.written()
            assert audit.healthy
            assert (await http.get("/readyz")).status_code == 200
            assert tags(await client.query("SELECT 3")) == "TDCZ"
            await gateway.written()
            assert audit.lost == 0
            assert [one["sql"] for one in gateway.audit(kind="statement", tag="SELECT 1")] == [
                "SELECT 1",
                "SELECT 3",
            ]
            assert (await audit.verify()).ok
        assert postgres.scalar("SELECT count(*) FROM customer", database) == before


class TestReload:
    async def reload(self, gateway: RunningGateway, *changes: Mapping[str, Any]) -> list[str]:
        config = load_config(write_config(gateway.directory, merged(self.config, *changes)))
        return gateway.gateway.reload(config)

    @pytest.fixture
    async def gateway(self, tmp_path: Path, postgres: Postgres) -> AsyncIterator[RunningGateway]:
        self.config = make_config(postgres, SHOP_POLICY)
        async with running_gateway(tmp_path, self.config) as running:
            yield running

    async def test_a_session_is_judged_by_the_new_rules(self, gateway: RunningGateway, database: str) -> None:
        async with await gateway.raw(database) as client:
            assert tags(await client.query("DELETE FROM genre WHERE false")) == "CZ"
            deny = {"rules": [{"name": "nothing", "when": {"action": "delete"}, "then": "deny"}]}
            assert await self.reload(gateway, deny) == []
            answer = await client.query("DELETE FROM genre WHERE false")
            assert answer[0].fields["M"] == "statement denied by rule nothing"
            await self.reload(gateway)
            assert tags(await client.query("DELETE FROM genre WHERE false")) == "CZ"
        await gateway.written()
        assert len(gateway.audit(tag="reload")) == 2

    async def test_an_approval_under_other_rules_is_void(
        self, gateway: RunningGateway, database: str
    ) -> None:
        carol = await gateway.client()
        async with await gateway.raw(database) as client:
            await client.send(Q(HELD))
            hold = await carol.wait_for_hold()
            await self.reload(
                gateway, {"rules": [{"name": "other", "when": {"action": "ddl"}, "then": "deny"}]}
            )
            assert (await carol.approve(hold["id"])).status_code == 200
            answer = await client.read_until("Z")
            assert answer[-2].sqlstate == "42501"
            assert "the policy changed while the statement waited" in answer[-2].fields["M"]
            assert (await carol.hold(hold["id"]))["state"] == "interrupted"

    async def test_somebody_who_was_disabled_is_out_at_once(
        self, gateway: RunningGateway, database: str
    ) -> None:
        carol = await gateway.client()
        async with await gateway.raw(database) as client:
            await client.send(Q(HELD))
            hold = await carol.wait_for_hold()
            await self.reload(gateway, {"users": {"carol": {"enabled": False}}})
            assert (await carol.approve(hold["id"])).status_code == 401
            dave = await gateway.client("dave")
            await dave.reject(hold["id"], "no")
            await client.read_until("Z")
        await self.reload(gateway, {"users": {"alice": {"enabled": False}}})
        with pytest.raises(AssertionError, match=r"28000|28P01"):
            await gateway.raw(database, user="alice")

    async def test_limits_count_from_now_on(self, gateway: RunningGateway, database: str) -> None:
        await self.reload(gateway, {"limits": {"pending_holds": 1, "sessions": 2}})
        carol = await gateway.client()
        async with await gateway.raw(database) as one, await gateway.raw(database) as other:
            await one.send(Q(HELD))
            hold = await carol.wait_for_hold()
            answer = await other.query(HELD)
            assert answer[0].sqlstate == "53400"
            assert "1 holds are pending" in answer[0].fields["M"]
            with pytest.raises(AssertionError, match="53300"):
                await gateway.raw(database)
            await carol.reject(hold["id"], "no")
            await one.read_until("Z")

    async def test_what_is_recorded_changes_at_once(self, gateway: RunningGateway, database: str) -> None:
        async with await gateway.raw(database) as client:
            assert await self.reload(gateway, {"audit": {"redact": "literals"}}) == []
            await client.query("SELECT 'secret'")
            await self.reload(gateway, {"audit": {"statements": "held"}})
            await client.query("SELECT 'not recorded'")
            await self.reload(gateway)
            await client.query("SELECT 'plain'")
        await gateway.written()
        shown = [one["sql"] for one in gateway.audit(kind="statement")]
        assert shown == ["SELECT ?", "SELECT 'plain'"]

    async def test_a_certificate_is_taken_anew(
        self, gateway: RunningGateway, database: str, authority: Authority
    ) -> None:
        issued = authority.issue("localhost", addresses=["127.0.0.1"])
        files = {"cert": str(issued.cert), "key": str(issued.key)}
        assert await self.reload(gateway, {"listen": {"tls": {"mode": "require", **files}}}) == []
        with pytest.raises(AssertionError, match="28000"):
            await gateway.raw(database)
        context = ssl.create_default_context(cafile=str(authority.cert))
        async with await gateway.raw(database, context=context) as client:
            assert tags(await client.query("SELECT 1")) == "TDCZ"

    async def test_what_counts_only_at_a_start_is_named(
        self, gateway: RunningGateway, tmp_path: Path
    ) -> None:
        later = await self.reload(
            gateway,
            {
                "listen": {"port": free_port()},
                "admin": {
                    "port": free_port(),
                    "public_url": "https://holdgate.example.org",
                    "open_metrics": True,
                },
                "store": {"url": "sqlite:///other.db"},
                "audit": {"file": "other.jsonl", "retention": "2d"},
            },
        )
        assert later == ["listen.port", "admin.port", "store.url", "audit.file"]
        await gateway.written()
        assert gateway.audit(tag="reload")
        assert not (tmp_path / "other.jsonl").exists()
        async with httpx.AsyncClient() as http:
            assert (
                await http.get(f"http://127.0.0.1:{self.config['admin']['port']}/metrics")
            ).status_code == 200

    async def test_a_statement_can_be_checked_as_somebody(self, gateway: RunningGateway) -> None:
        check = gateway.gateway.front.check
        ddl = "ALTER TABLE customer ADD x int"
        assert (await check(ddl, "alice", "shop")).judgement.verdict.rule == "no-ddl"
        assert (await check(ddl, None, None)).judgement.verdict.decision.word == "allow"

    @pytest.mark.parametrize("looks", [True, False])
    async def test_a_statement_is_checked_by_the_catalog_the_gateway_has(
        self, tmp_path: Path, postgres: Postgres, database: str, looks: bool
    ) -> None:
        postgres.execute("CREATE VIEW people AS SELECT email AS e FROM customer", database)
        place = {"host": postgres.host, "port": postgres.port, "sslmode": "disable"}
        login = {"inspect": {"user": postgres.superuser}} if looks else {}
        config = make_config(postgres, SHOP_POLICY, {"databases": {database: {**place, **login}}})
        async with running_gateway(tmp_path, config) as running:
            check = running.gateway.front.check
            if not looks:
                # Names stand for themselves until a session has needed the catalog.
                assert (
                    await check("SELECT e FROM people", "alice", None)
                ).judgement.verdict.decision.word == "allow"
                async with await running.raw(database) as client:
                    await client.query("SELECT 1 FROM customer LIMIT 1")
            assert (await check("SELECT e FROM people", "alice", None)).judgement.verdict.rule == "bulk"
            assert (
                await check("SELECT e FROM persons", "alice", database)
            ).judgement.verdict.decision.word == "hold"
            assert (
                await check("SELECT e FROM people", "alice", "nowhere")
            ).judgement.verdict.decision.word == "allow"


class TestProcess:
    async def test_a_good_configuration_is_taken_and_a_bad_one_is_not(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres, SHOP_POLICY)
        async with GatewayProcess(tmp_path, config) as gateway:
            async with await RawClient.connect(gateway.host, gateway.port, database=database) as client:
                deny = {"rules": [{"name": "nothing", "when": {"action": "delete"}, "then": "deny"}]}
                sql = "DELETE FROM genre WHERE false"
                write_config(tmp_path, merged(config, deny, {"admin": {"port": free_port()}}))
                gateway.signal(signal.SIGHUP)
                await logged(gateway, "configuration reloaded, policy [0-9a-f]{12}")
                await logged(gateway, "count only after a restart: admin.port")
                assert (await client.query(sql))[0].fields["M"] == "statement denied by rule nothing"

                for bad, said in (
                    ("rules: [", "holdgate.yaml:1:9: not YAML"),
                    (
                        "databases: {shop: {host: a}}\nlisten: {prot: 1}\n",
                        "listen.prot: unknown key; did you mean",
                    ),
                    (
                        "databases: {shop: {host: a}}\nlisten: {tls: {cert: holdgate.yaml, key: holdgate.yaml}}\n",
                        "cannot use the certificate",
                    ),
                ):
                    gateway.config_path.write_text(bad)
                    gateway.signal(signal.SIGHUP)
                    await logged(gateway, re.escape(said))
                    # The old rules stay in force, for old sessions and new ones.
                    assert (await client.query(sql))[0].sqlstate == "42501"
                    async with await RawClient.connect(
                        gateway.host, gateway.port, database=database
                    ) as other:
                        assert (await other.query(sql))[0].sqlstate == "42501"
                gateway.config_path.unlink()
                gateway.signal(signal.SIGHUP)
                await logged(gateway, "holdgate.yaml: cannot read: No such file or directory")
                assert gateway.log_text().count("the old one stays in force") == 4
            assert await gateway.stop() == 0

    async def test_a_stop_lets_what_runs_finish_and_ends_the_rest(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres, SHOP_POLICY, {"shutdown": {"grace": "15s"}})
        async with GatewayProcess(tmp_path, config) as gateway:

            async def connect() -> RawClient:
                return await RawClient.connect(gateway.host, gateway.port, database=database)

            idle, busy, approved, held = [await connect() for _ in range(4)]
            async with await gateway.client() as carol:
                with postgres.connect(database) as blocker:
                    blocker.execute("SELECT pg_advisory_lock(4711)")
                    await busy.send(Q("SELECT 1 FROM pg_advisory_xact_lock(4711)"))
                    await approved.send(Q(f"{HELD} AND pg_advisory_xact_lock(4711) IS NOT NULL"))
                    await carol.approve((await carol.wait_for_hold())["id"])
                    waiting = "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    await asyncio.to_thread(postgres.wait_until, f"({waiting})")
                    await held.send(Q(HELD))
                    hold = await carol.wait_for_hold()
                    gateway.signal(signal.SIGTERM)
                    assert (await idle.read_to_end())[-1].sqlstate == "57P01"
                    assert [one.sqlstate for one in await held.read_to_end() if one.tag == "E"][-1] == "57P01"
                    with pytest.raises(ConnectionRefusedError):
                        await connect()
                # The lock is free now.
                assert tags(await busy.read_to_end()) == "TDCZE"
                assert tags([one for one in await approved.read_to_end() if one.tag != "N"]) == "CZE"
            assert await gateway.wait() == 0
            for client in (idle, busy, approved, held):
                client.abort()
            records = gateway.audit(kind="gateway")
            assert [one["tag"] for one in records] == ["start", "stop"]
            outcomes = [one["tag"] for one in gateway.audit(kind="statement")]
            assert sorted(outcomes) == ["(interrupted)", "DELETE 1", "SELECT 1"]
            await gateway.start()
            async with await gateway.client() as carol:
                assert (await carol.hold(hold["id"]))["state"] == "interrupted"
                (done,) = await carol.holds(state="approved")
                assert done["outcome"]["tag"] == "DELETE 1"

    async def test_what_takes_longer_than_the_grace_is_ended(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres, {"shutdown": {"grace": "0.3s"}})
        async with GatewayProcess(tmp_path, config) as gateway:
            client = await RawClient.connect(gateway.host, gateway.port, database=database)
            await client.send(Q("SELECT pg_sleep(60)"))
            running = f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND query ~ 'pg_sleep')"
            await asyncio.to_thread(postgres.wait_until, running)
            assert await gateway.stop() == 0
            assert (await client.read_to_end())[-1].sqlstate == "57P01"
            client.abort()
            gone = f"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid})"
            postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
            await asyncio.to_thread(postgres.wait_until, gone)
            (record,) = gateway.audit(kind="statement")
            assert (record["sqlstate"], record["sql"]) == ("08006", "SELECT pg_sleep(60)")

    async def test_a_second_signal_does_not_wait(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres, {"shutdown": {"grace": "1h"}})
        async with GatewayProcess(tmp_path, config) as gateway:
            client = await RawClient.connect(gateway.host, gateway.port, database=database)
            await client.send(Q("SELECT pg_sleep(60)"))
            running = f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND query ~ 'pg_sleep')"
            await asyncio.to_thread(postgres.wait_until, running)
            gateway.signal(signal.SIGINT)
            await logged(gateway, "INFO gateway.app: stopping")
            gateway.signal(signal.SIGTERM)
            assert await gateway.wait() == -signal.SIGTERM
            client.abort()
            postgres.execute(f"SELECT pg_terminate_backend({client.pid})")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (None, r"holdgate: \S+holdgate\.yaml: cannot read: No such file or directory"),
            ("", r"holdgate: \S+holdgate\.yaml:1:1: databases: name at least one; .*"),
            ("a: [", r"holdgate: \S+holdgate\.yaml:1:5: not YAML: .*"),
        ],
    )
    async def test_a_configuration_that_cannot_be_used_is_one_line_and_exit_code_1(
        self, tmp_path: Path, text: str | None, says: str
    ) -> None:
        path = tmp_path / "holdgate.yaml"
        if text is not None:
            path.write_text(text)
        code, said = await serve(path)
        assert code == 1
        assert re.fullmatch(says + "\n", said)

    async def test_a_place_that_cannot_be_used_is_one_line_and_exit_code_1(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        config = make_config(postgres, {"audit": {"file": "."}})
        code, said = await serve(write_config(tmp_path, config))
        assert (code, said) == (
            1,
            f"holdgate: the audit file {tmp_path} cannot be written: Is a directory\n",
        )

    async def test_passwords_are_not_in_the_log(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        role = postgres.create_role(password="right-7d1f")
        users = {
            "users": {"alice": {"verifier": str(build_verifier("mine-93aa", b"0123456789abcdef", 4096))}},
            "databases": {"*": {"auth": "gateway", "login": {"user": role, "password": "wrong-51c2"}}},
        }
        with postgres.hba("host all all 127.0.0.1/32 scram-sha-256"):
            async with GatewayProcess(tmp_path, make_config(postgres, users)) as gateway:
                with pytest.raises(psycopg.OperationalError, match="could not log in to the database server"):
                    await psycopg.AsyncConnection.connect(
                        host=gateway.host,
                        port=gateway.port,
                        dbname=database,
                        user="alice",
                        password="mine-93aa",
                    )
                with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                    await psycopg.AsyncConnection.connect(
                        host=gateway.host,
                        port=gateway.port,
                        dbname=database,
                        user="alice",
                        password="other-0b0b",
                    )
                assert "wrong-51c2" not in gateway.log_text()
                assert "mine-93aa" not in gateway.log_text()
                assert "other-0b0b" not in gateway.log_text()
                assert "could not log in" in gateway.log_text()
        postgres.drop_role(role)


async def logged(gateway: GatewayProcess, pattern: str) -> None:
    """Return once another process's log has a line that matches; it is only a file."""
    async with asyncio.timeout(10):
        while not re.search(pattern, gateway.log_text()):
            await asyncio.sleep(0.01)


async def serve(path: Path) -> tuple[int | None, str]:
    """``holdgate serve`` that ends by itself: its exit code, and all it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "serve", "-c", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    async with asyncio.timeout(20):
        said, _ = await process.communicate()
    return process.returncode, said.decode()
