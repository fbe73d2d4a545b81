"""A rule that approves by itself: what it runs, what it leaves to people, and what is on the record."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import SHOP_POLICY, held, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.psql import psql
from tests.support.wire import Q, tags

ONE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
COUNT = "SELECT count(*) FROM invoice_line"
CRITERIA = [{"groups": ["support"]}, {"rows": "<= 10"}, {"ticket": "GDPR-[0-9]+"}]
RULE: dict[str, Any] = {
    "name": "few",
    "when": {"action": "delete"},
    "then": "hold",
    "criteria": CRITERIA,
    "approval": {"from": ["dpo"]},
}


def config(postgres: Postgres, *rules: dict[str, Any], groups: list[str] | None = None) -> dict[str, Any]:
    people = {"users": {"postgres": {"groups": ["support"] if groups is None else groups}}}
    return make_config(postgres, SHOP_POLICY, people, {"rules": [RULE, *rules]})


async def test_all_met_runs_and_says_so(postgres: Postgres, tmp_path: Path, database: str) -> None:
    before = postgres.scalar(COUNT, database)
    async with running_gateway(tmp_path, config(postgres)) as gateway:
        carol = await gateway.client()
        async with psql(gateway.host, gateway.port, database) as client:
            await client.send(f"/* ticket: GDPR-7 */ {ONE};")
            said = await client.until("DELETE 1")
            assert "NOTICE:  statement was approved by its rule: hold H-" in said
        (hold,) = await carol.holds()
        assert (hold["state"], hold["break_glass"]) == ("approved", False)
        assert [(one["who"], one["how"]) for one in hold["decisions"]] == [("rule few", "rule")]
        assert hold["criteria"] == [
            {"criterion": text, "met": True, "outcome": "met", "why": ""}
            for text in ("groups: support", "rows: <= 10", "ticket: GDPR-[0-9]+")
        ]
        records = await gateway.recorded(hold_id=hold["id"])
        assert [(one["kind"], one["tag"], one["approved_by"]) for one in records] == [
            ("hold", "opened", []),
            ("decision", "approved", ["rule few"]),
            ("statement", "DELETE 1", ["rule few"]),
        ]
    assert postgres.scalar(COUNT, database) == before - 1


@pytest.mark.parametrize(
    ("sql", "groups", "unmet"),
    [
        (ONE, ["support"], ["no ticket was given"]),
        (f"/* ticket: SHOP-7 */ {ONE}", ["support"], ["the ticket is another"]),
        ("/* ticket: GDPR-7 */ DELETE FROM invoice_line", ["support"], ["delete public.invoice_line"]),
        (f"/* ticket: GDPR-7 */ {ONE}", [], ["it is otherwise for this session"]),
    ],
)
async def test_what_is_not_met_is_left_to_people(
    postgres: Postgres, tmp_path: Path, database: str, sql: str, groups: list[str], unmet: list[str]
) -> None:
    before = postgres.scalar(COUNT, database)
    made = config(postgres, groups=groups)
    made["groups"] = {"support": []}
    async with running_gateway(tmp_path, made) as gateway, await gateway.raw(database) as client:
        carol = await gateway.client()
        hold = await held(client, carol, Q(sql))
        assert (hold["state"], hold["decisions"]) == ("pending", [])
        assert [one["why"] for one in hold["criteria"] if not one["met"]] == unmet
        assert postgres.scalar(COUNT, database) == before
        await carol.reject(hold["id"], "no")
        assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "EZ"


async def test_what_another_rule_holds_too_is_left_to_people(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    bulk = {
        "name": "bulk",
        "when": {"action": "read", "data": "personal", "rows": "> 20"},
        "then": "hold",
        "approval": {"from": ["dpo"]},
    }
    async with (
        running_gateway(tmp_path, config(postgres, bulk)) as gateway,
        await gateway.raw(database) as client,
    ):
        carol = await gateway.client()
        for sql in (f"{ONE}; SELECT email FROM customer", f"{ONE}; SELECT nobody_knows()"):
            hold = await held(client, carol, Q(f"/* ticket: GDPR-7 */ {sql}"))
            assert (hold["state"], hold["criteria"]) == ("pending", [])
            await carol.reject(hold["id"], "no")
            await client.read_until("Z")
