"""Requests whose texts are read elsewhere: what the client, the server and the other sessions see of that.

To catch a text in the middle of being read, the readers are stopped (SIGSTOP) before it is sent.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    GatewayProcess,
    RunningGateway,
    make_config,
    running_gateway,
    write_config,
)
from tests.support.postgres import Postgres
from tests.support.processes import children, gone, stopped
from tests.support.wire import B, D, E, H, Message, P, Q, RawClient, S, X, send_cancel, tags

pytestmark = pytest.mark.timeout(90)

LIMITS = {"reader_workers": 1, "reader_seconds": 60}
KEYS = ", ".join(map(str, range(1, 2000)))
LOOKUP = f"SELECT count(*) FROM invoice WHERE invoice_id IN ({KEYS})"
DELETE = f"DELETE FROM invoice_line WHERE invoice_line_id IN ({KEYS})"


def lookup(number: int) -> str:
    """A text of its own that is too much for the event loop and gives ``number``."""
    return f"SELECT {number} WHERE 1 IN ({KEYS})"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    config = make_config(postgres, SHOP_POLICY, {"limits": LIMITS})
    async with running_gateway(tmp_path, config) as running:
        yield running


def value(gateway: RunningGateway, name: str) -> float:
    found = gateway.gateway.metrics.registry.get_sample_value(f"holdgate_reader_{name}")
    assert found is not None, name
    return found


async def frozen(gateway: RunningGateway, client: RawClient) -> int:
    """A reader, stopped: whatever it is given next stays in its hands."""
    await client.query(lookup(0))
    (pid,) = gateway.gateway.front.pool.pids
    await stopped(pid)
    return pid


async def in_hand(gateway: RunningGateway, client: RawClient, *messages: bytes) -> None:
    """Send what the stopped reader then has in its hands."""
    await client.send(*messages)
    while value(gateway, "busy") != 1:
        await asyncio.sleep(0.001)


def configure(gateway: RunningGateway, postgres: Postgres, *overrides: Mapping[str, Any]) -> None:
    """Reload the configuration with other values in it."""
    config = make_config(postgres, SHOP_POLICY, {"limits": LIMITS}, *overrides)
    gateway.gateway.reload(load_config(write_config(gateway.directory, config)))


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def count(postgres: Postgres, database: str) -> int:
    return int(postgres.scalar("SELECT count(*) FROM invoice_line", database))


SERIES = [
    (P(LOOKUP, "s"), B([], statement="s"), D("P"), E(), S()),
    (Q(f"{LOOKUP}; {LOOKUP}"),),
    (Q("SELECT 1"), Q(LOOKUP), Q("SELECT 2")),
    (P("SELECT 1"), B(), E(), P(LOOKUP), B(), E(), P("SELECT 2"), B(), E(), S()),
    (P(LOOKUP), B(), E(), H(), P("SELECT 2"), B(), E(), S()),
    (Q(f"SELECT 1/0 WHERE 1 IN ({KEYS})"), Q("SELECT 2")),
    (Q("BEGIN"), Q(LOOKUP), Q("ROLLBACK")),
]


@pytest.mark.parametrize("series", SERIES, ids=range(len(SERIES)))
async def test_what_is_allowed_is_answered_as_without_the_gateway(
    series: tuple[bytes, ...], gateway: RunningGateway, client: RawClient, postgres: Postgres, database: str
) -> None:
    syncs = sum(message[:1] in b"QS" for message in series)

    async def played(raw: RawClient) -> list[Message]:
        await raw.send(*series)
        answers = []
        for _ in range(syncs):
            answers += await raw.read_until("Z")
        return answers

    async with await RawClient.connect(postgres.host, postgres.port, database=database) as direct:
        assert await played(client) == await played(direct)
    assert value(gateway, "seconds_count") >= 1


async def test_what_was_read_elsewhere_is_judged_like_anything(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    await client.send(Q(DELETE))
    assert (await client.read()).tag == "N"
    hold = await carol.wait_for_hold()
    assert (hold["rule"], hold["sql"]) == ("erasure", DELETE)
    before = count(postgres, database)
    await carol.approve(hold["id"])
    assert tags(await client.read_until("Z")) == "CZ"
    assert count(postgres, database) < before


async def test_a_text_whose_reader_dies_is_held_and_others_do_not_notice(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, database: str
) -> None:
    pid = await frozen(gateway, client)
    await in_hand(gateway, client, Q(LOOKUP))
    async with await gateway.raw(database) as other:
        assert tags(await other.query("SELECT 1")) == "TDCZ"
        os.kill(pid, signal.SIGKILL)
        hold = await carol.wait_for_hold()
        assert hold["rule"] == "default:unreadable"
        assert hold["reason"] == "its reader was lost: its pipe is closed (SIGKILL)"
        assert tags(await other.query(lookup(2))) == "TDCZ"
    await carol.approve(hold["id"])
    assert tags(await client.read_until("Z")) == "NTDCZ"
    # It is not held against the text.
    assert tags(await client.query(LOOKUP)) == "TDCZ"


async def test_a_text_that_takes_too_long_is_held(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres
) -> None:
    pid = await frozen(gateway, client)
    configure(gateway, postgres, {"limits": {"reader_seconds": 0.2}})
    await client.send(Q(LOOKUP))
    hold = await carol.wait_for_hold()
    assert hold["reason"] == "reading it took longer than 0.2 s"
    await gone(pid)
    await carol.reject(hold["id"], "no")
    assert tags(await client.read_until("Z")) == "NEZ"


async def test_a_cancel_ends_the_wait(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, database: str
) -> None:
    pid = await frozen(gateway, client)
    before = count(postgres, database)
    await in_hand(gateway, client, Q(DELETE))
    await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
    answer = await client.read_until("Z")
    assert tags(answer) == "EZ"
    assert answer[0].sqlstate == "57014"
    assert answer[0].fields["M"] == "canceling statement due to user request"
    thaw(pid)
    assert tags(await client.query(lookup(2))) == "TDCZ"
    assert count(postgres, database) == before
    (record,) = await gateway.recorded(kind="statement", sqlstate="57014")
    assert record["sql"] == DELETE


async def test_a_cancel_inside_a_transaction_fails_it(gateway: RunningGateway, client: RawClient) -> None:
    pid = await frozen(gateway, client)
    await client.query("BEGIN")
    await in_hand(gateway, client, Q(LOOKUP))
    await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
    assert tags(await client.read_until("Z")) == "EZ"
    assert client.status == "E"
    thaw(pid)


async def test_a_cancel_hits_what_the_server_runs_and_not_what_is_read(
    gateway: RunningGateway, client: RawClient
) -> None:
    pid = await frozen(gateway, client)
    await in_hand(gateway, client, Q("SELECT pg_sleep(60)"), Q(LOOKUP))
    await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
    answer = await client.read_until("Z")
    assert answer[-2].sqlstate == "57014"
    thaw(pid)
    assert tags(await client.read_until("Z")) == "TDCZ"


async def test_a_client_that_is_cut_off_ends_the_wait(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, database: str
) -> None:
    pid = await frozen(gateway, client)
    before = count(postgres, database)
    async with await gateway.raw(database) as leaving:
        await in_hand(gateway, leaving, Q(DELETE))
        leaving.reset()
        while len(gateway.gateway.sessions) != 1:
            await asyncio.sleep(0.005)
    thaw(pid)
    assert tags(await client.query(lookup(2))) == "TDCZ"
    assert count(postgres, database) == before


@pytest.mark.parametrize("farewell", [b"", X()], ids=["closed", "terminated"])
async def test_what_would_be_held_is_abandoned_where_its_client_left_meanwhile(
    farewell: bytes,
    gateway: RunningGateway,
    client: RawClient,
    carol: ApproverClient,
    postgres: Postgres,
    database: str,
) -> None:
    pid = await frozen(gateway, client)
    before = count(postgres, database)
    async with await gateway.raw(database) as leaving:
        await in_hand(gateway, leaving, Q(DELETE), farewell)
        leaving.abort()
    thaw(pid)
    while len(gateway.gateway.sessions) != 1:
        await asyncio.sleep(0.005)
    (hold,) = await carol.holds(state="abandoned")
    assert (hold["sql"], hold["rule"]) == (DELETE, "erasure")
    assert (await carol.approve(hold["id"])).status_code == 409
    assert count(postgres, database) == before


async def test_a_client_that_only_says_that_it_sends_no_more_gets_its_answer(
    gateway: RunningGateway, client: RawClient, database: str
) -> None:
    pid = await frozen(gateway, client)
    leaving = await gateway.raw(database)
    await in_hand(gateway, leaving, Q(LOOKUP))
    leaving.end_of_input()
    thaw(pid)
    assert tags(await leaving.read_to_end()) == "TDCZ"
    leaving.abort()


async def test_an_administrator_can_end_a_session_whose_text_is_being_read(
    gateway: RunningGateway, client: RawClient, database: str
) -> None:
    pid = await frozen(gateway, client)
    async with await gateway.raw(database) as victim:
        await in_hand(gateway, victim, Q(LOOKUP))
        admin = await gateway.client("root")
        sessions = (await admin.http.get("/api/v1/sessions")).json()["sessions"]
        (session,) = [one for one in sessions if one["state"] == "active"]
        assert session["current_sql"] == LOOKUP
        assert (await admin.http.delete(f"/api/v1/sessions/{session['id']}")).is_success
        (last,) = await victim.read_to_end()
        assert last.sqlstate == "57P01"
    thaw(pid)


async def test_a_text_is_judged_by_the_policy_there_is_when_it_was_read(
    gateway: RunningGateway, client: RawClient, postgres: Postgres
) -> None:
    pid = await frozen(gateway, client)
    await in_hand(gateway, client, Q(DELETE))
    stricter = {"rules": [{"name": "never", "when": {"action": "delete"}, "then": "deny"}]}
    configure(gateway, postgres, stricter)
    thaw(pid)
    answer = await client.read_until("Z")
    assert tags(answer) == "EZ"
    assert "rule never" in answer[0].fields["M"]


async def test_a_text_behind_a_definition_of_the_same_request_is_read(client: RawClient) -> None:
    """What stands in front changes the catalog it is read in, and that is put together anew at each attempt."""
    heavy = f"SELECT count(*) FROM heap WHERE a IN ({KEYS})"
    batch = [P(f"SELECT 1 WHERE 1 IN ({KEYS})"), B(), E(), P("CREATE TEMPORARY TABLE heap (a int)"), B(), E()]
    answer = await client.exchange(*batch, P(heavy), B(), E(), S())
    assert tags(answer) == "12DC12C12DCZ"


async def test_many_texts_of_one_request_are_read_one_after_the_other(
    gateway: RunningGateway, client: RawClient
) -> None:
    batch = [
        message
        for number in range(30)
        for message in (P(f"SELECT {number}+" + "+".join("1" * 120)), B(), E())
    ]
    answer = await client.exchange(*batch, S())
    assert tags(answer) == "12DC" * 30 + "Z"
    # As many as one moment takes were read at once.
    assert 20 <= value(gateway, "seconds_count") < 30


async def test_two_hundred_at_once(gateway: RunningGateway, postgres: Postgres, database: str) -> None:
    configure(gateway, postgres, {"limits": {"reader_workers": 2}})

    async def run(session: int) -> None:
        async with await gateway.raw(database) as raw:
            for number in range(10):
                answer = await raw.query(lookup(session * 10 + number))
                assert answer[1].values == [b"%d" % (session * 10 + number)]

    await asyncio.gather(*map(run, range(20)))
    assert value(gateway, "seconds_count") == 200
    assert (
        value(gateway, "deaths_total")
        == value(gateway, "timeouts_total")
        == value(gateway, "refused_total")
        == 0
    )
    assert len(gateway.gateway.front.pool.pids) == 2


async def test_a_check_reads_elsewhere_too(gateway: RunningGateway, database: str) -> None:
    admin = await gateway.client("root")
    answer = await admin.http.post("/api/v1/check", json={"sql": DELETE, "database": database})
    assert answer.json()["decision"] == "hold"
    assert value(gateway, "seconds_count") == 1


# --- as a process ---------------------------------------------------------------------------------------


@pytest.fixture
async def process(postgres: Postgres, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(tmp_path, make_config(postgres, SHOP_POLICY)) as started:
        yield started


async def flood(process: GatewayProcess, database: str, session: int) -> list[Message]:
    """Ten large statements at once; every answer until the end of the session."""
    raw = await RawClient.connect(process.host, process.port, database=database)
    await raw.send(*(Q(lookup(session * 10 + number)) for number in range(10)))
    answers = await raw.read_to_end()
    raw.abort()
    return answers


async def test_stopping_in_the_middle_of_two_hundred(process: GatewayProcess, database: str) -> None:
    floods = [asyncio.ensure_future(flood(process, database, session)) for session in range(20)]
    while len(readers := children(process.pid)) < 2:
        await asyncio.sleep(0.01)
    process.signal(signal.SIGTERM)
    for answers in await asyncio.gather(*floods):
        # Each of them that was answered was answered right, and then came the farewell.
        assert answers[-1].sqlstate == "57P01"
        assert set(tags(answers[:-1])) <= set("TDCZ")
    assert await process.wait() == 0
    await gone(*readers)


async def test_killed_in_the_middle_of_two_hundred(process: GatewayProcess, database: str) -> None:
    floods = [asyncio.ensure_future(flood(process, database, session)) for session in range(20)]
    while len(readers := children(process.pid)) < 2:
        await asyncio.sleep(0.01)
    await process.kill()
    await asyncio.gather(*floods, return_exceptions=True)
    await gone(*readers)


async def test_one_reader_is_there_before_it_is_needed(process: GatewayProcess) -> None:
    while len(children(process.pid)) != 1:
        await asyncio.sleep(0.01)


async def test_a_signal_to_everybody_is_meant_for_the_gateway(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    config = make_config(postgres, SHOP_POLICY, {"limits": LIMITS})
    async with (
        GatewayProcess(tmp_path, config) as process,
        await RawClient.connect(process.host, process.port, database=database) as raw,
    ):
        await raw.query(lookup(1))
        (reader,) = children(process.pid)
        os.kill(reader, signal.SIGTERM)
        assert tags(await raw.query(lookup(2))) == "TDCZ"
        assert children(process.pid) == [reader]
