"""Criteria that somebody else is asked about: how they are written, and what is wrong with them."""

from typing import Any

import pytest

from rules import Context, Criterion, CriterionOutcome, Intent, PolicyError, SqlCheck, check, compile_policy
from tests.rules.policies import NOON


def criteria(*written: Any) -> tuple[Criterion, ...]:
    document = {
        "checks": {"desk": {}},
        "rules": [{"name": "r", "then": "hold", "criteria": list(written)}],
    }
    return compile_policy(document).rules[0].criteria


def problems(written: Any) -> list[str]:
    with pytest.raises(PolicyError) as error:
        criteria(written)
    return [str(problem).removeprefix("rules[0].criteria[0].") for problem in error.value.problems]


def test_a_web_service_and_a_query() -> None:
    query = "SELECT verified\n  FROM request WHERE id = $1 AND ticket = $2;"
    long, short, web = criteria(
        {
            "sql": {
                "name": "verified",
                "query": query,
                "parameters": ["subject", "ticket"],
                "timeout": "1s500ms",
            }
        },
        {"sql": "SELECT  now() > '2030-01-01'"},
        {"webhook": "desk"},
    )
    assert (long.text, long.kind) == ("sql: verified", "sql")
    assert long.sql == SqlCheck(query, ("subject", "ticket"), 1.5)
    assert short.text == "sql: SELECT now() > '2030-01-01'"
    assert short.sql == SqlCheck("SELECT  now() > '2030-01-01'")
    assert (web.text, web.webhook, web.kind) == ("webhook: desk", "desk", "webhook")
    for one in (long, short, web):
        assert one.asks
        found = check(one, Context("alice", NOON), [], Intent())
        assert (found.outcome, found.met) == (CriterionOutcome.CHECKING, False)


def test_the_same_rules_with_another_service_are_another_policy() -> None:
    def version(url: str) -> str:
        return compile_policy({"checks": {"desk": {"url": url}}}).version

    assert version("https://a") != version("https://b")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"webhook": "other"}, ["webhook: no other under checks"]),
        ({"webhook": ["desk"]}, ["webhook: a text is needed"]),
        ({"sql": None}, ["sql: a value is needed"]),
        ({"sql": 5}, ["sql: a query is needed, or a mapping with one"]),
        ({"sql": {}}, ["sql.query: a text is needed"]),
        ({"sql": "SELEC true"}, ["sql.query: is no query: syntax error at or near \"SELEC\""]),
        ({"sql": "DELETE FROM t"}, ["sql.query: must be one SELECT"]),
        ({"sql": "SELECT true; SELECT true"}, ["sql.query: must be one SELECT"]),
        ({"sql": ""}, ["sql.query: a text is needed"]),
        ({"sql": "SELECT $1 = 1"}, ["sql.query: uses $1, and parameters lists 0"]),
        ({"sql": {"query": "SELECT true", "parameters": ["user"]}}, ["sql.query: uses none, and parameters lists 1"]),
        ({"sql": {"query": "SELECT $2 = 1", "parameters": ["user"]}}, ["sql.query: uses $2, and parameters lists 1"]),
        (
            {"sql": {"query": "SELECT $1 = 1", "parameters": ["password"]}},
            [
                "sql.parameters[0]: must be one of user, database, reason, ticket, subject, not password",
                "sql.query: uses $1, and parameters lists 0",
            ],
        ),
        ({"sql": {"query": "SELECT true", "timeout": "1m"}}, ["sql.timeout: must be at most 30s: somebody waits"]),
        ({"sql": {"query": "SELECT 1", "timeout": 5}}, ["sql.timeout: must be a duration such as 30s, 15m, 1h or 2d"]),
        (
            {"sql": {"query": "SELECT true", "sometimes": 5}},
            ["sql.sometimes: unknown key; known here: query, parameters, timeout, name"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong(written: Any, said: list[str]) -> None:
    assert problems(written) == said
