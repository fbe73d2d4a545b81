"""A verdict as the management port and the command line show it."""

from pathlib import Path

from gateway.api.verdicts import explanation_to_dict
from gateway.clock import now
from gateway.config import load_config
from rules import Context, Judge
from tests.gateway.management import write_config


def shown(folder: Path, sql: str) -> dict[str, object]:
    config = load_config(write_config(folder))
    context = Context(user="alice", now=now(), groups=config.groups_of("alice"), database="shop")
    return explanation_to_dict(Judge(config.policy).explain(sql.encode(), context))


def test_a_held_statement(tmp_path: Path) -> None:
    verdict = shown(tmp_path, "DELETE FROM customer WHERE customer_id = 5")
    assert verdict["decision"] == "hold"
    assert verdict["rule"] == "erasure"
    assert verdict["approval_groups"] == ["dpo"]
    assert verdict["expires_seconds"] == 900.0
    assert verdict["unreadable"] is None
    effects = verdict["effects"]
    assert isinstance(effects, list)
    assert effects[0]["action"] == "delete"
    assert effects[0]["relation"] == "public.customer"


def test_an_allowed_statement_has_nobody_to_ask(tmp_path: Path) -> None:
    verdict = shown(tmp_path, "SELECT 1")
    assert (verdict["decision"], verdict["approval_groups"], verdict["expires_seconds"]) == (
        "allow",
        None,
        None,
    )


def test_an_unreadable_statement_says_why(tmp_path: Path) -> None:
    assert shown(tmp_path, "DELET FROM customer")["unreadable"]


def test_it_says_how_it_came_about(tmp_path: Path) -> None:
    sql = "SELECT lower(email) FROM customer LIMIT 5"
    verdict = shown(tmp_path, sql)
    assert (verdict["database"], verdict["search_path"], verdict["catalog"]) == ("shop", ["public"], None)
    seen = {"kind": "SELECT", "relations": ["customer"], "changes": []}
    assert isinstance(verdict["effects"], list)
    (effect,) = verdict["effects"]
    assert verdict["statements"] == [
        {
            "kind": "SELECT",
            "sql": sql,
            "readings": {"agreement": "both", "why": None, "grammar": seen, "sqlglot": seen},
            "relations": [
                {
                    "name": "public.customer",
                    "kind": "relation",
                    "via": [],
                    "personal": ["email", "phone"],
                    "subject": ["customer_id"],
                }
            ],
            "functions": [{"name": "lower", "trusted": True, "why": "PostgreSQL's own"}],
            "effects": [{**effect, "via": None, "row_bound_why": "LIMIT or VALUES give at most 5"}],
        }
    ]
