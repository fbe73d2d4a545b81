"""Texts that differ in literals only: told apart where a literal may matter, and judged alike where none does."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Action, EffectFacts, Facts, Judge, StatementFacts
from rules.catalog import SchemaSnapshot
from rules.facts import Nature
from rules.templates import MAX_LENGTH, Template, other_literals, pattern_of, template_of
from tests.rules.catalogs import SHOP
from tests.rules.policies import context, strict_judge
from tests.rules.test_redteam import LINES
from tests.rules.traffic import FILES, read_traffic

# Many examples: a machine that is busy takes its time.
pytestmark = pytest.mark.timeout(180)

CORPUS = Path(__file__).parent / "corpus"


def shown(sql: str) -> str | None:
    """The template with N and S for numbers and strings that were taken out."""
    template = template_of(sql.encode())
    return None if template is None else template.replace(b"\0n", b"N").replace(b"\0s", b"S").decode()


@pytest.mark.parametrize(
    ("sql", "template"),
    [
        ("SELECT a FROM t WHERE id = 12;", "SELECT a FROM t WHERE id = N;"),
        ('SELECT a FROM t WHERE "t"."Id">=12 LIMIT 5', 'SELECT a FROM t WHERE "t"."Id">=N LIMIT 5'),
        ("SELECT a FROM t WHERE b='x''y' OR b = 'z'", "SELECT a FROM t WHERE b='x''y' OR b = S"),
        (
            "SELECT a FROM t WHERE id > 3 ORDER BY id LIMIT 2",
            "SELECT a FROM t WHERE id > N ORDER BY id LIMIT 2",
        ),
        ("SELECT a FROM t WHERE b ilike 'x%' and 1 = 2", "SELECT a FROM t WHERE b ilike S and 1 = 2"),
        ("DELETE FROM t WHERE id IN (1, 2 , 'x')", "DELETE FROM t WHERE id IN (N, N , S)"),
        ("UPDATE t SET n = n + 5, b = 'x' WHERE id = 7", "UPDATE t SET n = n + N, b = S WHERE id = N"),
        ("UPDATE t SET n = n + -5 WHERE id = -7", "UPDATE t SET n = n + -N WHERE id = -N"),
        ("SELECT a FROM t WHERE b = - 5 OR c = -'5'", None),
        (
            "INSERT INTO t VALUES (1, 'x', NULL), (-2, 'y', 3.5)",
            "INSERT INTO t VALUES (N, S, NULL), (-N, S, 3.5)",
        ),
        ("SELECT f(a = 5, 'x'), g(6) FROM t WHERE h = 7", "SELECT f(a = N, 'x'), g(6) FROM t WHERE h = N"),
    ],
)
def test_literals_are_taken_out_where_they_are_compared_listed_or_stored(
    sql: str, template: str | None
) -> None:
    assert shown(sql) == template


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t LIMIT 5",
        "SELECT set_config('search_path', 'x', false)",
        "SELECT 'a = 5' FROM t",
        'SELECT "a = 5" FROM t',
        "SELECT a FROM t WHERE b = ''",
        "UPDATE t SET b = '  '",
        "SELECT a FROM t WHERE b = 12345678901",
        "SELECT a FROM t WHERE b = 1.5",
        "SELECT a FROM t WHERE b = 5::text",
        "SELECT a FROM t WHERE b = 5 + 1",
        "SELECT a FROM t WHERE b = 'x' 'y'",
        "SELECT a FROM t WHERE b = 'x'\n'y'",
        "SELECT a FROM t WHERE b = E'x'",
        "SELECT a FROM t WHERE b = date '2020-01-01'",
        "SELECT a ->> 'email' FROM t",
        "SELECT a FROM t WHERE 1 = 1",
        "SELECT a FROM t ORDER BY 1",
        "SELECT a FROM t WHERE b IN (1, f(2))",
        "INSERT INTO t VALUES (1, f(2))",
        "SELECT f(a => 5)",
        "SELECT a FROM t WHERE b = 5 -- c",
        "SELECT a FROM t WHERE b = 5 /* c */",
        "SELECT a FROM t WHERE b = $1 AND c = 5",
        "SELECT a FROM t WHERE b = 5 AND c = '\\'",
        "SELECT a FROM t WHERE b = 5 AND c = 'ü'",
        "UPDATE PG_settings SET setting = 'x' WHERE name = 'search_path'",
        "SELECT a FROM t WHERE b = 5" + " " * MAX_LENGTH,
        "SELECT 1\0 WHERE a = 5",
    ],
)
def test_where_a_literal_may_matter_or_the_text_is_doubtful_nothing_is_taken_out(sql: str) -> None:
    assert template_of(sql.encode()) is None


@pytest.mark.parametrize(
    "part",
    ["VALUES (1,", "'", '"', "a = '", "a = ", "IN (1, ", "a IN (", "a ", " ", "VALUES ((", "VALUES (1),"],
)
def test_no_text_takes_long(part: str) -> None:
    # Anything but linear time would not end within the test's.
    template_of((part * MAX_LENGTH).encode()[:MAX_LENGTH])


def test_other_literals_make_a_text_of_the_same_template() -> None:
    template = template_of(b"UPDATE t SET a = 'x' WHERE id IN (1, 2)")
    assert template is not None
    assert template_of(other_literals(template)) == template


# --- what is known of a template --------------------------------------------------------------------------

READ = EffectFacts(Action.READ, "crm.orders", ("id",))


def test_a_pattern_is_of_whole_numbers_only() -> None:
    assert pattern_of(b"SELECT 1") is None
    assert pattern_of(b"SELECT a FROM t WHERE b = 'x'") is None
    pattern = pattern_of(b"SELECT a FROM t WHERE id = 1 LIMIT 5")
    assert pattern is not None
    assert pattern.fullmatch(b"SELECT a FROM t WHERE id = 123456789 LIMIT 5")
    for other in (
        "= 1234567890 LIMIT 5",
        "= 1 LIMIT 6",
        "= x LIMIT 5",
        "= -1 LIMIT 5",
        "= 1 LIMIT 5;",
        "= 1.5 LIMIT 5",
    ):
        assert not pattern.fullmatch(f"SELECT a FROM t WHERE id {other}".encode())


@given(data=st.data())
def test_what_matches_a_pattern_has_its_template(data: st.DataObject) -> None:
    sql = data.draw(st.sampled_from(_WITH_NUMBERS)).encode()
    digits = st.sampled_from(["0", "00", "7", "12", "123456789", "1234567890"])
    other = re.sub(
        rb"\d+", lambda match: data.draw(digits).encode() if data.draw(st.booleans()) else match[0], sql
    )
    pattern = pattern_of(sql)
    if pattern is not None and pattern.fullmatch(other):
        assert template_of(other) == template_of(sql)


_WITH_NUMBERS = (
    "SELECT a1 FROM t2 WHERE id3 = 4 AND b>5 ORDER BY 6 LIMIT 7",
    "INSERT INTO t VALUES (1, -2, 3.5, NULL), (4,5 , 6.25,DEFAULT)",
    'SELECT "a = 1", 2 FROM t WHERE "c3" IN (4, 5,6) AND d = 7::text OR e=8',
    "UPDATE t SET a = a + 1, b = b-2 WHERE c BETWEEN 3 AND 4 AND d<>5",
    "UPDATE t SET a = a + -1 WHERE b = -2 AND c < -3.5",
    "SELECT * FROM t WHERE a = 1e5 OR b = 2 OR x9=10 OR y = 'z' AND 11 = 12",
    "SELECT f(a=1), g(2) FROM t t3 WHERE t3.b4 = 5)",
)


def facts(*effects: EffectFacts, sql: str = "SELECT 1", **changes: Any) -> Facts:
    return Facts((StatementFacts("SELECT", sql, effects, "both"),), **changes)


def test_a_text_of_a_known_template_is_its_own_statement() -> None:
    known = Template.of(b" SELECT 1 ;", facts(READ, sql="SELECT 1"), facts(READ, sql="SELECT 2"))
    assert known is not None
    assert known.read(b" SELECT 345 ;") == facts(READ, sql="SELECT 345")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Facts(()), Facts(())),
        (facts(READ), Facts(())),
        (facts(READ), facts(READ, READ)),
        (facts(READ), facts(READ, changes_context=True)),
        (facts(READ, changes_context=True), facts(READ, changes_context=True)),
        (facts(READ, session_dependent=True), facts(READ, session_dependent=True)),
        (facts(READ, missing=("t",)), facts(READ, missing=("t",))),
        (facts(READ, unreadable="why"), facts(READ, unreadable="why")),
        (facts(EffectFacts(Action.CALL, "f")), facts(EffectFacts(Action.CALL, "f"))),
        (
            facts(EffectFacts(Action.READ, nature=Nature.OPAQUE)),
            facts(EffectFacts(Action.READ, nature=Nature.OPAQUE)),
        ),
        (facts(EffectFacts(Action.UPDATE, erases=True)), facts(EffectFacts(Action.UPDATE, erases=True))),
        (Facts((StatementFacts("SET", "SELECT 1", (READ,), "both"),)),) * 2,
        (Facts((StatementFacts("SELECT", "SELECT 1", (READ,), "one"),)),) * 2,
        (facts(READ, sql="elsewhere"),) * 2,
    ],
)
def test_what_is_out_of_the_ordinary_is_no_template(one: Facts, other: Facts) -> None:
    assert Template.of(b"SELECT 1", one, other) is None


def test_the_third_text_of_a_template_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = strict_judge()
    session = context(catalog=SHOP)
    first, second = (judge.judge(b"SELECT email FROM customers WHERE id = %d" % n, session) for n in (1, 2))
    monkeypatch.setattr(Judge, "read", None)
    third = judge.judge(b"SELECT email FROM customers WHERE id = 3", session)
    assert first.verdict == second.verdict == third.verdict
    assert third.facts.statements[0].sql == "SELECT email FROM customers WHERE id = 3"
    assert (judge.hits, judge.misses) == (0, 3)
    judge.judge(b"SELECT email FROM customers WHERE id = 4", session)
    assert (judge.hits, judge.misses) == (1, 3)


def test_another_catalog_or_search_path_is_read_anew() -> None:
    judge = strict_judge()
    for number in range(5):
        judge.judge(b"SELECT name FROM customers WHERE id = %d" % number, context(catalog=SHOP))
    elsewhere = context(catalog=SHOP, search_path=("pg_catalog", "nowhere"))
    sql = b"SELECT name FROM customers WHERE id = 9"
    assert judge.judge(sql, elsewhere) == strict_judge().judge(sql, elsewhere)
    assert judge.judge(sql, elsewhere) != judge.judge(sql, context(catalog=SHOP))


# --- the same verdict as without ---------------------------------------------------------------------------


def texts() -> Iterator[str]:
    for line in LINES:
        sql = line.get("sql")
        yield from [sql] if isinstance(sql, str) else (sql or ())
    for variation in (CORPUS / "variations.jsonl").read_text(encoding="utf-8").splitlines():
        yield from (value for value in json.loads(variation).values() if isinstance(value, str))
    for file in FILES:
        yield from (recorded.sql for recorded in read_traffic(file))


NUMBERS = (b"0", b"1", b"2", b"00", b"999999999")
STRINGS = (b"'f'", b"'search_path'", b"'0'", b"'a = 5'", b"'null'", b"'1,2,3'", b"'customers'", b"'x '")


def filled(template: bytes, chance: random.Random) -> bytes:
    """A text of the template."""
    first, *parts = template.split(b"\0")
    return first + b"".join(
        chance.choice(NUMBERS if part.startswith(b"n") else STRINGS) + part[1:] for part in parts
    )


def test_the_verdict_is_the_same_as_without_templates(corpus_catalog: SchemaSnapshot) -> None:
    chance = random.Random(0)
    templates = sorted({found for sql in texts() if (found := template_of(sql.encode())) is not None})
    assert len(templates) > 100
    for catalog in (corpus_catalog, SHOP):
        judge, plain = strict_judge(), Judge(strict_judge().policy, cache_size=0)
        session = context(catalog=catalog)
        known = 0
        for template in templates:
            for _ in range(6):
                sql = filled(template, chance)
                assert template_of(sql) == template
                assert judge.judge(sql, session) == plain.judge(sql, session), sql
            known += judge._template(template, session) is not None
        assert known > 50
