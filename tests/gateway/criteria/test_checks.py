"""Checking the criteria of one hold together."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Config, load_config
from gateway.criteria import Checks, Subject
from gateway.criteria.checks import STORE_SECONDS, TURN_SECONDS
from gateway.metrics import Metrics
from gateway.upstream import Connector
from rules import Criterion, CriterionOutcome, Met, SqlCheck
from tests.gateway.store.samples import hold
from tests.support.gateway import make_config, write_config
from tests.support.postgres import Postgres
from tests.support.webservice import WebService, web_service

LOCAL = Criterion("ticket: X")
SQL = Criterion("sql: one", sql=SqlCheck("SELECT true", timeout=3.0))
WEB = Criterion("webhook: desk", webhook="desk")
GONE = Criterion("webhook: other", webhook="other")


@pytest.fixture
async def desk() -> AsyncIterator[WebService]:
    async with web_service() as service:
        yield service


@pytest.fixture
def config(postgres: Postgres, tmp_path: Path, desk: WebService) -> Config:
    changes = {
        "databases": {"*": {"inspect": {"user": postgres.superuser}}},
        "checks": {"desk": desk.check(timeout="200ms")},
    }
    return load_config(write_config(tmp_path, make_config(postgres, changes)))


def open_ones(*criteria: Criterion) -> list[Met]:
    return [Met(one.text, CriterionOutcome.CHECKING) for one in criteria]


async def test_all_are_asked_together_and_what_is_known_is_kept(
    config: Config, desk: WebService, database: str
) -> None:
    metrics = Metrics()
    checks = Checks(lambda: config, Connector(), metrics)
    known = Met(LOCAL.text, CriterionOutcome.UNMET, "no ticket was given")
    criteria = (LOCAL, SQL, WEB, GONE)
    subject = Subject(hold(database=database), [known, *open_ones(SQL, WEB, GONE)], None)
    found = await checks.outcomes(criteria, subject)
    assert found == [
        known,
        Met(SQL.text, CriterionOutcome.MET),
        Met(WEB.text, CriterionOutcome.MET),
        Met(GONE.text, CriterionOutcome.UNCHECKED, "it is not configured any more"),
    ]
    for criterion, met in zip(criteria, found, strict=True):
        checks.count(criterion, met)
    checks.count(SQL, Met(SQL.text, CriterionOutcome.CHECKING))
    text = metrics.render()[0].decode()
    assert 'holdgate_criteria_total{kind="ticket",outcome="unmet"} 1.0' in text
    assert 'holdgate_criteria_total{kind="sql",outcome="met"} 1.0' in text
    assert 'holdgate_criterion_seconds_count{kind="webhook"} 2.0' in text


async def test_one_that_hangs_ends_at_its_own_limit(config: Config, desk: WebService, database: str) -> None:
    desk.answer = desk.hang
    checks = Checks(lambda: config, Connector(), Metrics())
    async with asyncio.timeout(5):
        found = await checks.outcomes((WEB, SQL), Subject(hold(database=database), open_ones(WEB, SQL), None))
    assert [one.outcome for one in found] == [CriterionOutcome.UNCHECKED, CriterionOutcome.MET]
    async with asyncio.timeout(5):
        await desk.left.wait()


def test_how_long_people_are_not_asked(config: Config) -> None:
    checks = Checks(lambda: config, Connector(), Metrics())
    assert checks.seconds_for((LOCAL, SQL, WEB, GONE)) == 3.0 + TURN_SECONDS + STORE_SECONDS
