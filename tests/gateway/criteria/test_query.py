"""Asking the inspected database whether a criterion is met."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config
from gateway.criteria.query import AT_ONCE, Queries
from gateway.upstream import Connector
from rules import CriterionOutcome, Intent, SqlCheck
from tests.gateway.store.samples import hold
from tests.support.gateway import make_config, write_config
from tests.support.postgres import Postgres

MET, UNMET, UNCHECKED = CriterionOutcome.MET, CriterionOutcome.UNMET, CriterionOutcome.UNCHECKED
HOSTILE = "'; DROP TABLE customer; --\\ $1 \N{SNOWMAN}"


def queries(postgres: Postgres, folder: Path, **inspect: Any) -> Queries:
    login = inspect or {"user": postgres.superuser}
    config = load_config(
        write_config(folder, make_config(postgres, {"databases": {"*": {"inspect": login}}}))
    )
    return Queries(lambda: config, Connector())


async def ask(
    asked: Queries,
    database: str,
    query: str,
    *parameters: Any,
    people: Collection[str] | None = None,
    timeout: float = 5.0,
    **changes: Any,
) -> tuple[CriterionOutcome, str]:
    one = hold(database=database, **changes)
    return await asked.ask(SqlCheck(query, parameters, timeout), one, people)


async def test_what_a_query_answers(postgres: Postgres, tmp_path: Path, database: str) -> None:
    asked = queries(postgres, tmp_path)
    for query, outcome, why in (
        ("SELECT true", MET, ""),
        ("SELECT false", UNMET, "the query says no"),
        ("SELECT NULL::boolean", UNMET, "the query says no"),
        ("SELECT true WHERE false", UNMET, "the query found nothing"),
        ("SELECT EXISTS (SELECT FROM customer WHERE customer_id = 1);", MET, ""),
        ("SELECT 1", UNCHECKED, "the query does not answer with one true or false"),
        ("SELECT 'true'", UNCHECKED, None),
        ("SELECT true, true", UNCHECKED, None),
        ("SELECT", UNCHECKED, None),
        ("SELECT true FROM customer", UNCHECKED, None),
        ("SELECT true FROM nowhere", UNCHECKED, 'it cannot be asked: relation "nowhere" does not exist'),
        ("SELECT 1/0 = 1", UNCHECKED, "it cannot be asked: division by zero"),
        # It is read-only, whatever the login may do.
        ("SELECT lo_create(0) > 0", UNCHECKED, None),
        ("SELECT set_config('transaction_read_only', 'off', true) = 'off'", UNCHECKED, None),
        ("WITH gone AS (DELETE FROM customer RETURNING 1) SELECT true FROM gone", UNCHECKED, None),
    ):
        found = await ask(asked, database, query)
        assert found[0] is outcome, (query, found)
        assert why in (None, found[1])
    assert postgres.scalar("SELECT count(*) > 0 FROM customer", database)


async def test_what_of_a_hold_is_bound(postgres: Postgres, tmp_path: Path, database: str) -> None:
    asked = queries(postgres, tmp_path)
    query = f"SELECT $1 = 'alice' AND $2 = '{database}' AND $3 = $4::text AND $5 IS NULL"
    names = ("user", "database", "reason", "reason", "ticket")
    assert (await ask(asked, database, query, *names, intent=Intent(HOSTILE)))[0] is MET
    assert (await ask(asked, database, query, *names))[0] is UNMET
    assert postgres.scalar("SELECT count(*) > 0 FROM customer", database)


@pytest.mark.parametrize(
    ("people", "outcome", "why"),
    [
        ({"1"}, MET, ""),
        ({"1", "2"}, MET, ""),
        ({"1", "2", "3"}, UNMET, "the query says no for 3"),
        ({HOSTILE}, UNCHECKED, None),
        (set(), UNMET, "the statement touches nobody"),
        (None, UNCHECKED, "the statement does not say whose data it touches"),
    ],
)
async def test_everybody_who_is_touched_has_to_pass(
    postgres: Postgres,
    tmp_path: Path,
    database: str,
    people: Collection[str] | None,
    outcome: CriterionOutcome,
    why: str | None,
) -> None:
    query = "SELECT customer_id < 3 FROM customer WHERE customer_id = $1"
    found = await ask(queries(postgres, tmp_path), database, query, "subject", people=people)
    assert (found[0], why in (None, found[1])) == (outcome, True)


async def test_it_ends_at_its_limit_and_more_than_a_few_wait_for_their_turn(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    asked = queries(postgres, tmp_path)
    slow = [ask(asked, database, "SELECT true FROM pg_sleep(60)", timeout=0.2) for _ in range(AT_ONCE + 1)]
    for outcome, why in await asyncio.gather(*slow):
        assert outcome is UNCHECKED
        assert "statement timeout" in why
    postgres.wait_until(
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'holdgate criterion')"
    )


async def test_without_a_login_nothing_is_met(postgres: Postgres, tmp_path: Path, database: str) -> None:
    asked = queries(postgres, tmp_path, user="nobody-of-that-name")
    outcome, why = await ask(asked, database, "SELECT true")
    assert (outcome, why.startswith("it cannot be asked: ")) == (UNCHECKED, True)
    config = load_config(write_config(tmp_path, make_config(postgres)))
    found = await ask(Queries(lambda: config, Connector()), database, "SELECT true")
    assert found == (UNCHECKED, f"database {database} has no inspect login")
