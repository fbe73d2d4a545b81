"""How verdicts come about, in words: what was seen, what names lead to, what bounds rows."""

import pytest

from rules import Explanation, Parameter
from rules.catalog import EMPTY
from rules.explanation import CalledFunction, ExplainedStatement, NamedRelation, SeenBy
from tests.rules.catalogs import SHOP
from tests.rules.policies import context, strict_judge
from tests.rules.test_redteam import LINES

PEOPLE = ("address", "email", "meta", "name", "phone", "ssn")


def explained(sql: str) -> Explanation:
    return strict_judge().explain(sql.encode(), context(catalog=SHOP))


def statement(sql: str) -> ExplainedStatement:
    (one,) = explained(sql).statements
    return one


def bounds(sql: str) -> dict[str | None, str]:
    """What is said of the rows of each relation."""
    return {one.effect.relation: one.bound_why for one in statement(sql).effects if one.bound_why}


class TestReadings:
    def test_both_see_the_same(self) -> None:
        one = statement("WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x, contacts")
        seen = SeenBy("SELECT", ("contacts", "orders", "x"), ("delete",))
        assert (one.agreement, one.disagreement, one.grammar, one.second) == ("both", "", seen, seen)

    def test_what_is_no_query_is_read_by_one(self) -> None:
        one = statement("LOCK TABLE orders")
        assert (one.agreement, one.second, one.disagreement) == ("one", None, "sqlglot reads queries only")
        assert one.grammar == SeenBy("LOCK", ("orders",), ())

    def test_what_the_second_cannot_read(self) -> None:
        long = statement(f"SELECT '{'x' * 70_000}' FROM orders")
        assert (long.agreement, long.second) == ("one", None)
        assert "longer than" in long.disagreement

    def test_each_statement_of_a_message_by_itself(self) -> None:
        kinds = [one.kind for one in explained("BEGIN; SELECT 1; DELETE FROM orders; COMMIT").statements]
        assert kinds == ["BEGIN", "SELECT", "DELETE", "COMMIT"]

    def test_what_nobody_can_read_has_an_effect_and_no_statement(self) -> None:
        explanation = explained("DELET")
        assert explanation.statements == ()
        assert [one.effect.rule for one in explanation.message_effects] == ["default:unreadable"]
        assert explained("").message_effects == ()


class TestRelations:
    def test_a_view_leads_to_its_table(self) -> None:
        assert statement("SELECT contact FROM contacts").relations == (
            NamedRelation("crm.contacts", "view"),
            NamedRelation("crm.customers", "table", ("view crm.contacts",), PEOPLE, ("id",)),
        )

    def test_a_cascade_leads_to_children(self) -> None:
        through = ("ON DELETE CASCADE from crm.customers",)
        assert statement("DELETE FROM customers").relations[1:] == (
            NamedRelation("crm.orders", "table", through, ("ship_address",), ("customer_id",)),
        )
        effect = statement("DELETE FROM customers").effects[1]
        assert (effect.effect.relation, effect.via) == ("crm.orders", through[0])

    @pytest.mark.parametrize(
        ("sql", "through"),
        [
            ("UPDATE products SET name = ''", ("trigger t_purge on public.products", "function crm.purge()")),
            ("UPDATE pings SET n = 1", ("rule r_ping on public.pings",)),
            ("SELECT email_of(1)", ("function crm.email_of()",)),
        ],
    )
    def test_code_leads_anywhere(self, sql: str, through: tuple[str, ...]) -> None:
        found = {one.name: one.via for one in statement(sql).relations}
        assert found["crm.customers"] == through

    def test_names_nobody_knows_and_those_that_stand_for_themselves(self) -> None:
        assert statement("SELECT * FROM nowhere").relations == (NamedRelation("nowhere", ""),)
        without = strict_judge().explain(b"SELECT * FROM nowhere", context(catalog=EMPTY))
        assert without.statements[0].relations == (NamedRelation("nowhere", "relation"),)
        assert statement("SELECT * FROM events_1").relations[0].kind == "partition"


class TestFunctions:
    @pytest.mark.parametrize(
        ("call", "name", "trusted", "why"),
        [
            ("lower('X')", "lower", True, "PostgreSQL's own"),
            ("pg_read_file('x')", "pg_read_file", False, "pg_read_file() reaches files of the server"),
            (
                "set_config('a.b', 'c', true)",
                "set_config",
                False,
                "PostgreSQL's own, and changes the session",
            ),
            (
                "nobody_knows()",
                "nobody_knows",
                False,
                "nobody_knows() is not one of PostgreSQL's own functions",
            ),
            ("crm.vat(1)", "crm.vat", True, "somebody's own, in sql: its body is read"),
            (
                "dynamic()",
                "crm.dynamic",
                False,
                "function crm.dynamic() → EXECUTE of a text that is computed",
            ),
        ],
    )
    def test_what_is_known_of_a_function(self, call: str, name: str, trusted: bool, why: str) -> None:
        assert statement(f"SELECT {call}").functions == (CalledFunction(name, trusted, why),)

    def test_each_once_in_the_order_met(self) -> None:
        one = statement("SELECT upper(lower(a)), lower(b) FROM (SELECT now() AS a, '' AS b) x")
        assert [function.name for function in one.functions] == ["upper", "lower", "now"]
        assert [function.name for function in statement("CALL purge()").functions] == ["crm.purge"]


class TestBounds:
    @pytest.mark.parametrize(
        ("sql", "why"),
        [
            ("SELECT name FROM customers", "no LIMIT, and no condition fixes id or email"),
            ("SELECT name FROM customers WHERE name = 'x'", "no LIMIT, and no condition fixes id or email"),
            ("SELECT name FROM customers WHERE id = 1", "a condition fixes id"),
            ("SELECT name FROM customers WHERE id IN (1, 2)", "conditions list 2 values of id"),
            ("SELECT name FROM customers LIMIT 3", "LIMIT or VALUES give at most 3"),
            ("SELECT name FROM customers WHERE false", "a condition is never true"),
            (
                "SELECT name FROM customers WHERE id = ANY($1)",
                "as many as parameter $1 says, which is not known here",
            ),
            (
                "SELECT email_of(id) FROM orders LIMIT 2",
                "a condition fixes id, once for each row of crm.orders",
            ),
            ("SELECT each()", "what reaches it may run any number of times"),
            (
                "SELECT name FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.id = 7",
                "id is customer_id of crm.orders, of which there are at most 1",
            ),
        ],
    )
    def test_what_is_said_of_rows(self, sql: str, why: str) -> None:
        assert bounds(sql)["crm.customers"] == why

    def test_two_mentions_of_one_relation(self) -> None:
        sql = "SELECT name FROM customers WHERE id = 1 UNION SELECT name FROM customers"
        assert bounds(sql)["crm.customers"] == (
            "a condition fixes id; and no LIMIT, and no condition fixes id or email"
        )

    def test_what_touches_no_rows_has_no_bound(self) -> None:
        assert bounds("SELECT pg_read_file('x')") == {}
        assert bounds("SELECT n FROM remote.x LIMIT 1") == {"remote.x": "LIMIT or VALUES give at most 1"}
        assert (
            bounds("SELECT contact FROM contacts")["crm.contacts"] == "no LIMIT, and no unique key is known"
        )


@pytest.mark.parametrize("line", LINES, ids=[line["id"] for line in LINES])
def test_everything_can_be_explained(line: dict[str, object]) -> None:
    judge = strict_judge()
    texts = line.get("sql", "")
    for text in texts if isinstance(texts, list) else [texts]:
        explanation = judge.explain(str(text).encode(), context(catalog=SHOP))
        effects = [one for each in explanation.statements for one in each.effects]
        shown = [one.effect for one in (*explanation.message_effects, *effects)]
        assert sorted(shown, key=repr) == sorted(explanation.judgement.verdict.effects, key=repr)
        assert explanation.judgement == judge.judge(str(text).encode(), context(catalog=SHOP))


def test_parameters_play_no_part() -> None:
    explanation = explained("SELECT name FROM customers LIMIT $1")
    assert explanation.judgement.verdict.rule == "bulk"
    parameters = [Parameter(20, 0, b"1")]
    judged = strict_judge().judge(b"SELECT name FROM customers LIMIT $1", context(catalog=SHOP), parameters)
    assert judged.verdict.rule == "default:otherwise"


def test_without_steps_every_effect_is_told_with_its_decision() -> None:
    judgement = strict_judge().judge(b"BEGIN; DELETE FROM orders", context(catalog=SHOP))
    brief = Explanation.without_steps(judgement, context(catalog=SHOP))
    assert (brief.judgement, brief.statements) == (judgement, ())
    assert tuple(one.effect for one in brief.message_effects) == judgement.verdict.effects
    assert len(brief.message_effects) > 1
