"""Two workers on one port are one gateway, whichever of them a client meets: holds, cancels, sessions, the audit."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from gateway.app import Gateway, StartError
from gateway.audit import verify
from gateway.config import load_config
from gateway.tasks import cancel_all
from gateway.tls import TlsError
from gateway.workers import crew as module
from gateway.workers.crew import Crew
from gateway.workers.member import Member
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
from tests.support.wire import Q, RawClient, send_cancel, tags

pytestmark = pytest.mark.timeout(300)

HELD = "DELETE FROM customer WHERE customer_id = 7"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    config = make_config(postgres, SHOP_POLICY, {"listen": {"workers": 2}})
    async with running_gateway(tmp_path, config) as running:
        yield running


def crew(gateway: RunningGateway) -> Crew:
    assert gateway.gateway.crew is not None
    return gateway.gateway.crew


async def worker_of(gateway: RunningGateway, client: RawClient) -> Member:
    """The worker that a client has met."""
    for member in crew(gateway).members:
        if any(session.backend_pid == client.pid for session in await member.port.sessions()):
            return member
    raise AssertionError("no worker has this session")


async def one_of_each(gateway: RunningGateway, database: str) -> tuple[RawClient, RawClient]:
    """Clients of the first and of the second worker."""
    found: dict[str, RawClient] = {}
    spare: list[RawClient] = []
    while len(found) < 2:
        client = await gateway.raw(database)
        name = (await worker_of(gateway, client)).name
        if name in found:
            spare.append(client)
        found.setdefault(name, client)
    for client in spare:
        await client.close()
    return found["1"], found["2"]


async def replaced(gateway: RunningGateway, dead: Member) -> None:
    """Until another worker has taken the place of one that died."""
    async with asyncio.timeout(90):
        while len(crew(gateway).members) < 2 or dead in crew(gateway).members:
            await asyncio.sleep(0.02)


async def ended(gateway: RunningGateway, sessions: int) -> list[dict[str, object]]:
    """All records once those of so many sessions' ends are among them."""
    async with asyncio.timeout(20):
        while len(await gateway.recorded(kind="session", tag="end")) < sessions:
            await asyncio.sleep(0.02)
    return gateway.audit()


async def metric(client: ApproverClient, line: str) -> float:
    """The value of one line of the metrics."""
    text = (await client.http.get("/metrics")).text
    (found,) = (one for one in text.splitlines() if one.startswith(f"{line} "))
    return float(found.split()[-1])


async def test_statements_pass_and_are_recorded_by_both(gateway: RunningGateway, database: str) -> None:
    clients = await one_of_each(gateway, database)
    for number, client in enumerate(clients):
        assert tags(await client.query(f"SELECT {number} AS mine FROM genre LIMIT 1")) == "TDCZ"
    root, carol = await gateway.client("root"), await gateway.client()
    listed = (await root.http.get("/api/v1/sessions")).json()["sessions"]
    assert {client.pid for client in clients} <= {session["backend_pid"] for session in listed}
    assert {session["user"] for session in listed} == {"postgres"}
    assert await metric(carol, 'holdgate_statements_total{action="read",verdict="allow"}') == 2
    assert await metric(carol, "holdgate_statement_seconds_count") == 2
    assert await metric(carol, "holdgate_sessions") == len(listed)
    assert b"holdgate_build_info{" in (await carol.http.get("/metrics")).content
    for client in clients:
        await client.close()
    recorded = await ended(gateway, len(listed))
    texts = {record["sql"] for record in recorded}
    assert texts >= {f"SELECT {number} AS mine FROM genre LIMIT 1" for number in range(2)}
    assert verify(gateway.directory / "audit.jsonl").ok


async def test_a_hold_is_decided_whichever_worker_it_waits_in(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    carol = await gateway.client()
    for client in await one_of_each(gateway, database):
        hold = await held(client, carol, Q(HELD))
        assert (await carol.approve(hold["id"])).status_code == 200
        assert (await client.read_until("Z"))[0].tag == "C"
        hold = await held(client, carol, Q(HELD))
        await carol.reject(hold["id"], "not this one")
        assert "rejected by carol: not this one" in (await client.read_until("Z"))[0].fields["M"]
        hold = await held(client, carol, Q(HELD))
        client.abort()
        assert (await carol.wait_for_end(hold["id"]))["state"] == "abandoned"
    outcomes = [one["outcome"] for one in await carol.holds(state="approved")]
    assert [one and one["tag"] for one in outcomes] == ["DELETE 0", "DELETE 1"]
    assert await metric(carol, 'holdgate_holds_resolved_total{state="approved"}') == 2
    assert await metric(carol, 'holdgate_holds{state="pending"}') == 0
    assert postgres.scalar("SELECT count(*) FROM customer WHERE customer_id = 7", database) == 0


async def test_a_limit_counts_for_all_workers_together(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    limits = {"limits": {"pending_holds": 1, "sessions": 5}}
    config = make_config(postgres, SHOP_POLICY, limits, {"listen": {"workers": 2}})
    async with running_gateway(tmp_path, config) as gateway:
        carol = await gateway.client()
        clients: list[RawClient] = []
        while len({(await worker_of(gateway, client)).name for client in clients}) < 2 and len(clients) < 5:
            clients.append(await gateway.raw(database))
        by_worker = {(await worker_of(gateway, client)).name: client for client in clients}
        if len(by_worker) == 2:
            await held(by_worker["1"], carol, Q(HELD))
            assert (await by_worker["2"].query(HELD))[0].sqlstate == "53400"
        while len(clients) < 5:
            clients.append(await gateway.raw(database))
        with pytest.raises(AssertionError, match="53300"):
            await gateway.raw(database)
        await clients[-1].close()
        async with asyncio.timeout(20):
            while gateway.gateway.seats.taken == 5:
                await asyncio.sleep(0.01)
        clients[-1] = await gateway.raw(database)
        for client in clients:
            client.abort()


async def test_a_cancel_reaches_the_session_whichever_worker_it_lands_on(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    carol = await gateway.client()
    first, second = await one_of_each(gateway, database)
    for client in (first, second):
        # The kernel chooses who gets each of these: among eight, the other one is certain enough.
        for _ in range(8):
            await client.send(Q("SELECT pg_sleep(60)"))
            await asyncio.to_thread(postgres.wait_for_backend, client.pid, "pg_sleep")
            await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
            assert (await client.read_until("Z"))[-2].sqlstate == "57014"
        for _ in range(4):
            hold = await held(client, carol, Q(HELD))
            await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
            assert (await client.read_until("Z"))[0].sqlstate == "57014"
            assert (await carol.hold(hold["id"]))["state"] == "withdrawn"
        wrong = bytes(byte ^ 1 for byte in client.secret)
        hold = await held(client, carol, Q(HELD))
        for _ in range(4):
            await send_cancel(gateway.host, gateway.port, client.pid, wrong)
        assert (await carol.hold(hold["id"]))["state"] == "pending"
        await client.close()


async def test_a_worker_that_is_killed_takes_only_its_own_with_it(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    carol, root = await gateway.client(), await gateway.client("root")
    doomed, other = await one_of_each(gateway, database)
    waiting, running = await gateway.raw(database), await gateway.raw(database)
    survivor = await worker_of(gateway, other)
    victim = await worker_of(gateway, doomed)
    for client in (waiting, running):
        # Both of them with the survivor.
        while (await worker_of(gateway, client)) is not survivor:
            await client.close()
            replacement = await gateway.raw(database)
            client.reader, client.writer = replacement.reader, replacement.writer
            client.pid, client.secret = replacement.pid, replacement.secret
    lost = await held(doomed, carol, Q(HELD))
    kept = await held(waiting, carol, Q(HELD))
    await running.send(Q("SELECT 'through' FROM genre, pg_sleep(3) LIMIT 1"))
    statements = await metric(carol, 'holdgate_statements_total{action="read",verdict="allow"}')

    os.kill(victim.pid, signal.SIGKILL)

    assert await doomed.read_to_end() == []
    assert tags(await other.query("SELECT name FROM genre")).startswith("TD")
    gone = await carol.wait_for_end(lost["id"])
    assert (gone["state"], gone["end_reason"]) == (
        "interrupted",
        "the process of its session ended unexpectedly",
    )
    assert (await carol.approve(lost["id"])).status_code == 409
    assert (await carol.hold(kept["id"]))["state"] == "pending"
    assert (await carol.approve(kept["id"])).status_code == 200
    assert (await waiting.read_until("Z"))[0].text == "DELETE 1"
    assert (await running.read_until("Z"))[1].values == [b"through"]
    await replaced(gateway, victim)
    again = await one_of_each(gateway, database)
    for client in again:
        assert tags(await client.query("SELECT 1")) == "TDCZ"
    assert await metric(carol, "holdgate_workers_lost_total") == 1
    # What the dead one had counted is not forgotten.
    assert await metric(carol, 'holdgate_statements_total{action="read",verdict="allow"}') >= statements
    assert (await root.http.get("/readyz")).status_code == 200
    (record,) = await gateway.recorded(tag="worker lost")
    assert f"process {victim.pid}) ended by signal 9, and 1 sessions with it" in record["reason"]
    assert verify(gateway.directory / "audit.jsonl").ok
    listed = (await root.http.get("/api/v1/sessions")).json()["sessions"]
    assert gateway.gateway.seats.taken == len(listed)
    for client in (doomed, other, waiting, running, *again):
        client.abort()


async def test_sessions_are_ended_by_an_administrator_in_every_worker(
    gateway: RunningGateway, database: str
) -> None:
    root = await gateway.client("root")
    clients = await one_of_each(gateway, database)
    listed = (await root.http.get("/api/v1/sessions")).json()["sessions"]
    for client in clients:
        (session,) = (one for one in listed if one["backend_pid"] == client.pid)
        assert (await root.http.delete(f"/api/v1/sessions/{session['id']}")).status_code == 204
        assert (await client.read_to_end())[-1].sqlstate == "57P01"
        assert (await root.http.delete(f"/api/v1/sessions/{session['id']}")).status_code == 404
        await client.close()


async def test_a_reload_reaches_every_worker(gateway: RunningGateway, database: str, tmp_path: Path) -> None:
    clients = await one_of_each(gateway, database)
    config = merged(
        make_config_like(gateway),
        {"rules": [{"name": "nothing", "when": {"action": "delete"}, "then": "deny"}]},
    )
    gateway.gateway.reload(load_config(write_config(tmp_path, config)))
    await gateway.gateway.reloaded()
    for client in (*clients, *await one_of_each(gateway, database)):
        assert (await client.query(HELD))[0].fields["M"] == "statement denied by rule nothing"
        await client.close()


def make_config_like(gateway: RunningGateway) -> dict[str, Any]:
    """The configuration that a gateway runs with."""
    return cast(dict[str, Any], yaml.safe_load(gateway.gateway.config.text))


async def test_a_worker_that_cannot_take_a_configuration_is_replaced(
    gateway: RunningGateway, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, other = crew(gateway).members

    async def refuse(text: str) -> None:
        raise TlsError("no certificate")

    monkeypatch.setattr(victim.port, "reload", refuse)
    await gateway.gateway.reloaded()
    await replaced(gateway, victim)
    assert other in crew(gateway).members
    for client in await one_of_each(gateway, database):
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        await client.close()


async def test_definitions_that_change_through_one_are_known_to_the_other(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    carol = await gateway.client()
    postgres.execute(
        "CREATE VIEW shown AS SELECT name FROM genre; CREATE VIEW kept AS SELECT email FROM customer",
        database,
    )
    maker, reader = await one_of_each(gateway, database)
    for client in (maker, reader):
        assert tags(await client.query("SELECT * FROM shown")).startswith("TD")
    # Far within the polling period, the same name comes to mean personal data.
    assert tags(await maker.query("DROP VIEW shown")) == "CZ"
    assert tags(await maker.query("ALTER VIEW kept RENAME TO shown")) == "CZ"
    hold = await held(reader, carol, Q("SELECT * FROM shown"))
    await carol.reject(hold["id"], "no")
    await reader.read_until("Z")
    for client in (maker, reader):
        await client.close()


async def test_while_nothing_can_be_recorded_no_worker_forwards(
    gateway: RunningGateway, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = await one_of_each(gateway, database)
    real, full = gateway.gateway.audit._chain.write, True

    def write(records: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        real(records)

    monkeypatch.setattr(gateway.gateway.audit._chain, "write", write)
    for client in clients:
        # What ran before anybody knew is recorded later; then nothing runs any more.
        async with asyncio.timeout(20):
            while (answer := await client.query("SELECT 'x'"))[0].tag != "E":
                pass
        assert (answer[0].sqlstate, "cannot record" in answer[0].fields["M"]) == ("58000", True)
        assert (await client.query(HELD))[0].sqlstate == "58000"
    full = False
    for client in clients:
        async with asyncio.timeout(20):
            while (await client.query("SELECT 'y'"))[0].tag == "E":
                await asyncio.sleep(0.05)
        await client.close()
    await gateway.written()
    assert verify(gateway.directory / "audit.jsonl").ok
    assert gateway.gateway.audit.lost == 0


async def test_a_place_that_cannot_be_filled_leaves_its_clients_to_the_others(
    gateway: RunningGateway, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    victim, other = crew(gateway).members
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    os.kill(victim.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while "could not be started again" not in caplog.text:
            await asyncio.sleep(0.02)
    for _ in range(8):
        client = await gateway.raw(database)
        assert await worker_of(gateway, client) is other
        await client.close()
    monkeypatch.undo()
    await replaced(gateway, victim)
    for client in await one_of_each(gateway, database):
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        await client.close()


async def test_a_start_without_workers_is_none(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = make_config(postgres, {"listen": {"workers": 2}})
    starting = Gateway(load_config(write_config(tmp_path, config)))
    with pytest.raises(StartError, match="a worker could not be started: the other process is gone"):
        await starting.start()
    assert not await cancel_all(5.0)
    # One line says so; it is no bug.
    assert not [record for record in caplog.records if record.exc_info]
    # Nothing was kept: the port, the audit and the store can be had again.
    monkeypatch.undo()
    async with (
        running_gateway(tmp_path, merged(config, {"listen": {"workers": 1}})) as running,
        await running.raw("postgres") as client,
    ):
        assert tags(await client.query("SELECT 1")) == "TDCZ"


async def test_copies_are_known_to_workers_that_come_later(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    carol = await gateway.client()
    maker, other = await one_of_each(gateway, database)
    await maker.query("CREATE TABLE copied AS SELECT email AS e FROM customer WHERE customer_id = 1")
    victim = await worker_of(gateway, maker)
    os.kill(victim.pid, signal.SIGKILL)
    await other.close()
    await replaced(gateway, victim)
    # One of these has a worker that was not there when the copy was made.
    for client in await one_of_each(gateway, database):
        hold = await held(client, carol, Q("SELECT e FROM copied"))
        await carol.reject(hold["id"], "no")
        await client.read_until("Z")
        client.abort()
    maker.abort()
