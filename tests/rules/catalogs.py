# ruff: noqa: E501
"""A small database as a value: what the tests of the reader resolve names against."""

from dataclasses import replace
from typing import Any

from rules import Facts, Judge, Judgement, compile_policy
from rules.catalog import (
    Code,
    ForeignKey,
    Function,
    Operator,
    Relation,
    RewriteRule,
    SchemaSnapshot,
    Trigger,
    Type,
)
from rules.facts import Action, EffectFacts
from tests.rules.policies import STRICT, context

__all__ = ["SHOP", "effect", "facts", "function", "judgement", "shop", "table", "verdict"]

_INT8, _TEXT = 20, 25


def table(oid: int, name: str, *columns: str, schema: str = "crm", **more: Any) -> Relation:
    more.setdefault("kind", "r")
    return Relation(oid, schema, name, columns=columns, types=(_INT8, *[_TEXT] * (len(columns) - 1)), **more)


def function(oid: int, name: str, body: str, arguments: tuple[int, ...] = (), **more: Any) -> Function:
    names = "p int8" if arguments else ""
    more = {"kind": "f", "language": "plpgsql", "volatility": "v", **more}
    text = f"CREATE FUNCTION crm.{name}({names}) RETURNS {more.pop('result', 'int8')} LANGUAGE {more['language']} AS $b${body}$b$"
    return Function(oid, "crm", name, arguments=arguments, definition=text, **more)


_ID = (frozenset(["id"]),)

SHOP = SchemaSnapshot(
    generation=1,
    database="shop",
    server_version=180000,
    relations=(
        table(16400, "customers", "id", "name", "email", unique=(*_ID, frozenset(["email"]))),
        table(16401, "orders", "id", "customer_id", "ship_address", unique=_ID),
        table(
            16402,
            "contacts",
            "ref",
            "contact",
            kind="v",
            definition="SELECT id AS ref, email AS contact FROM crm.customers;",
        ),
        table(
            16403,
            "mailing",
            "id",
            "address",
            kind="m",
            definition="SELECT id, lower(email) AS address FROM crm.customers;",
        ),
        table(
            16404,
            "products",
            "id",
            "name",
            schema="public",
            unique=_ID,
            triggers=(Trigger("t_purge", frozenset(["update", "truncate"]), 16452, ("name",)),),
        ),
        table(
            16405,
            "pings",
            "id",
            "n",
            schema="public",
            rules=(
                RewriteRule(
                    "r_ping",
                    "update",
                    False,
                    "CREATE RULE r_ping AS ON UPDATE TO public.pings DO DELETE FROM crm.customers WHERE (customers.id = new.n);",
                ),
            ),
        ),
        table(16406, "events", "ts", "user_ip", kind="p"),
        table(16407, "events_1", "ts", "user_ip", parents=(16406,), is_partition=True),
        table(
            16408,
            "notes",
            "id",
            "text",
            schema="public",
            code=(Code("default", "crm.next_note()", "text"), Code("policy", "crm.may_read(id)")),
            row_security=True,
        ),
        table(16409, "remote", "id", "name", schema="public", kind="f"),
    ),
    foreign_keys=(ForeignKey("fk", 16401, 16400, "c", "a", ("customer_id",), ("id",)),),
    functions=(
        function(16450, "vat", "SELECT p * 2", (_INT8,), language="sql", volatility="i"),
        function(16451, "email_of", "SELECT email FROM crm.customers WHERE id = p", (_INT8,), language="sql", result="text"),
        function(16452, "purge", "BEGIN DELETE FROM crm.customers; RETURN NULL; END", result="trigger"),
        function(16453, "dynamic", "BEGIN EXECUTE 'DELETE FROM ' || 'x'; RETURN 1; END"),
        function(16454, "constant", "BEGIN EXECUTE 'DELETE FROM crm.orders'; RETURN 1; END"),
        function(16455, "next_note", "BEGIN RETURN (SELECT max(id) FROM crm.orders); END"),
        function(16456, "may_read", "BEGIN RETURN true; END", (_INT8,), result="bool"),
        function(16457, "everybody", "SELECT * FROM crm.customers", language="sql", returns=16470, result="SETOF crm.customers"),
        function(16458, "each", "DECLARE e text; BEGIN FOR i IN 1..9 LOOP SELECT email INTO e FROM crm.customers WHERE id = i; END LOOP; RETURN 1; END"),
        Function(16459, "crm", "native", "f", "c", "v"),
    ),
    operators=(Operator("crm", "===", _INT8, _INT8, 16453),),
    types=(
        Type(16470, "crm", "customers", "c", relation=16400),
        Type(16471, "crm", "checked", "d", base=_TEXT, code=(Code("check", "crm.dynamic() > 0"),)),
    ),
)  # fmt: skip
"""Customers with orders that go with them, a view, a copy, and things that run code when they are touched."""


def shop(**more: tuple[Any, ...]) -> SchemaSnapshot:
    """The shop with more in it, and with these relations in place of those of the same name."""
    replaced = {one.full_name for one in more.get("relations", ())}
    kept = tuple(one for one in SHOP.relations if one.full_name not in replaced)
    parts = {"relations": kept, **{name: getattr(SHOP, name) for name in more if name != "relations"}}
    return replace(SHOP, **{name: parts[name] + more.get(name, ()) for name in parts})


_PATH = ("pg_catalog", "crm", "public")


def judgement(sql: str, **changes: Any) -> Judgement:
    """The judgement on a message under the strict policy, in the shop."""
    surroundings = context(**{"catalog": SHOP, "search_path": _PATH, **changes})
    return Judge(compile_policy(STRICT)).judge(sql.encode(), surroundings)


def verdict(sql: str, **changes: Any) -> str:
    """What becomes of a message: ``allow``, or the rule or default that stops it."""
    found = judgement(sql, **changes).verdict
    return "allow" if found.decision.word == "allow" else found.rule


def facts(sql: str, **changes: Any) -> Facts:
    """What a message does in the shop."""
    return judgement(sql, **changes).facts


def effect(sql: str, action: Action, relation: str, **changes: Any) -> EffectFacts:
    """The only effect of that kind on that relation."""
    found = [
        one for one in facts(sql, **changes).effects if one.action is action and one.relation == relation
    ]
    assert len(found) == 1, [str(one) for one in facts(sql, **changes).effects]
    return found[0]
