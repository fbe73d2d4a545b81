"""The Chinook sample under the example policy: what an office does all day, with real data (``HOLDGATE_CHINOOK``)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from tests.support.gateway import ApproverClient, RunningGateway, held, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, E, P, Q, RawClient, S, tags

POLICY = {
    "personal_data": [
        {
            "relation": f"public.{who}",
            "columns": ["address", "email", "fax", "phone"],
            "subject": f"{who}_id",
        }
        for who in ("customer", "employee")
    ]
    + [{"relation": "public.invoice_line", "subject": "invoice_line_id"}],
    "rules": [
        {
            "name": "erasure",
            "when": {"action": "delete", "data": "personal"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        },
        {
            "name": "bulk",
            "when": {"action": "read", "data": "personal", "rows": "> 20"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        },
    ],
    "defaults": {
        "unreadable": "hold",
        "unknown_relation": "hold",
        "opaque_function": "hold",
        "otherwise": "allow",
    },
}
LINES = "SELECT count(*) FROM invoice_line"
DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, chinook: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(chinook) as raw:
        yield raw


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT first_name, email FROM customer WHERE customer_id = 5",
        "SELECT email FROM customer ORDER BY customer_id LIMIT 20",
        "SELECT country, count(*) FROM customer GROUP BY country",
        "SELECT first_name, last_name FROM customer",
        "SELECT e.email FROM employee e WHERE e.employee_id IN (1, 2, 3)",
        "SELECT a.name, al.title FROM artist a JOIN album al USING (artist_id) ORDER BY 1, 2",
        "SELECT c.email, sum(i.total) FROM customer c JOIN invoice i USING (customer_id)"
        " WHERE c.customer_id = 5 GROUP BY c.email",
        "UPDATE customer SET phone = '+1' WHERE customer_id = 5",
        "DELETE FROM playlist_track WHERE playlist_id = 18",
    ],
)
async def test_daily_work_passes(client: RawClient, sql: str) -> None:
    answer = await client.query(sql)
    assert tags(answer)[-2:] == "CZ", answer


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT email FROM customer", "bulk"),
        ("SELECT * FROM employee", "bulk"),
        ("COPY customer TO STDOUT", "bulk"),
        ("COPY (SELECT c.phone FROM customer c) TO STDOUT", "bulk"),
        ("SELECT string_agg(email, ',') FROM customer", "bulk"),
        (DELETE, "erasure"),
        ("DELETE FROM customer WHERE customer_id = 59", "erasure"),
        ("TRUNCATE invoice_line", "erasure"),
        ("SELECT 1; DELETE FROM employee WHERE employee_id = 8", "erasure"),
    ],
)
async def test_what_waits(client: RawClient, carol: ApproverClient, sql: str, rule: str) -> None:
    hold = await held(client, carol, Q(sql))
    assert (hold["rule"], hold["sql"]) == (rule, sql)
    await carol.reject(hold["id"], "not today")
    answer = await client.read_until("Z")
    assert tags(answer) == "EZ"
    assert answer[0].fields["M"] == "statement rejected by carol: not today"
    assert tags(await client.query("SELECT 1")) == "TDCZ"


async def test_of_two_approvals_one_counts_and_it_runs_once(
    gateway: RunningGateway, client: RawClient, carol: ApproverClient, postgres: Postgres, chinook: str
) -> None:
    dave = await gateway.client("dave")
    before = postgres.scalar(LINES, chinook)
    hold = await held(
        client, carol, P("DELETE FROM invoice_line WHERE invoice_line_id = $1"), B(["7"]), E(), S()
    )
    assert hold["parameters"] == ["7"]
    answers = await asyncio.gather(carol.approve(hold["id"]), dave.approve(hold["id"]))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert tags(await client.read_until("Z")) == "12CZ"
    assert (await carol.approve(hold["id"])).status_code == 409
    assert postgres.scalar(LINES, chinook) == before - 1


async def test_the_erasure_of_one_customer_with_all_that_hangs_on_it(
    postgres: Postgres, chinook: str, tmp_path: Path
) -> None:
    """No key of Chinook cascades: the preview says what stands in the way, and then what each part removes."""
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    of_invoices = "invoice_id IN (SELECT invoice_id FROM invoice WHERE customer_id = 5)"
    erasure = (
        f"BEGIN; DELETE FROM invoice_line WHERE {of_invoices}; DELETE FROM invoice WHERE customer_id = 5; "
        "DELETE FROM customer WHERE customer_id = 5; COMMIT"
    )
    async with running_gateway(tmp_path, make_config(postgres, POLICY, inspect)) as gateway:
        carol = await gateway.client("carol")
        async with await gateway.raw(chinook) as client:
            hold = await held(client, carol, Q("DELETE FROM customer WHERE customer_id = 5"))
            (change,) = (await carol.wait_for_preview(hold["id"]))["impact"]["changes"]
            assert change["rows"] == 1
            assert [(one["relation"], one["rule"], one["rows"]) for one in change["reached"]] == [
                ("public.invoice", "NO ACTION", 7),
                ("public.invoice_line", "NO ACTION", 38),
            ]
            await carol.reject(hold["id"], "its invoices first")
            await client.read_until("Z")

            hold = await held(client, carol, Q(erasure))
            changes = (await carol.wait_for_preview(hold["id"]))["impact"]["changes"]
            assert [(one["relation"], one["rows"]) for one in changes] == [
                ("public.invoice_line", 38),
                ("public.invoice", 7),
                ("public.customer", 1),
            ]
            await carol.approve(hold["id"])
            assert tags(await client.read_until("Z")) == "CCCCCZ"
    for table in ("customer", "invoice"):
        assert postgres.scalar(f"SELECT count(*) FROM {table} WHERE customer_id = 5", chinook) == 0
    assert postgres.scalar(LINES, chinook) == 2240 - 38


async def test_after_a_refusal_inside_a_transaction_nothing_commits(
    client: RawClient, carol: ApproverClient, postgres: Postgres, chinook: str
) -> None:
    await client.query("BEGIN; UPDATE genre SET name = 'changed' WHERE genre_id = 1")
    hold = await held(client, carol, Q(DELETE))
    await carol.reject(hold["id"], "never")
    await client.read_until("Z")
    assert (await client.query("COMMIT"))[0].payload == b"ROLLBACK\0"
    assert postgres.scalar("SELECT name FROM genre WHERE genre_id = 1", chinook) == "Rock"


async def test_a_client_that_leaves_runs_nothing(
    gateway: RunningGateway, carol: ApproverClient, postgres: Postgres, chinook: str
) -> None:
    before = postgres.scalar(LINES, chinook)
    connection = await psycopg.AsyncConnection.connect(
        host=gateway.host, port=gateway.port, dbname=chinook, user="postgres", autocommit=True
    )
    running = asyncio.get_running_loop().create_task(connection.execute(DELETE))
    hold = await carol.wait_for_hold()
    running.cancel()
    with pytest.raises((asyncio.CancelledError, psycopg.errors.QueryCanceled)):
        await running
    await connection.close()
    assert (await carol.wait_for_end(hold["id"]))["state"] in ("withdrawn", "abandoned")
    assert (await carol.approve(hold["id"])).status_code == 409
    assert postgres.scalar(LINES, chinook) == before
