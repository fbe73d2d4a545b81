"""What the judge has read, compared with PostgreSQL's own grammar, over mutated statements, for a few seconds.

``make fuzz-sql`` runs it for longer (``HOLDGATE_FUZZ_SECONDS``), each time from another seed
(``HOLDGATE_FUZZ_SEED`` repeats one).
"""

import os
import random
import time
from collections.abc import Iterator

import pytest

from rules import Decision
from rules.catalog import SchemaSnapshot
from rules.continued import without_comments
from tests.rules.fuzzing import mutations, seeds
from tests.rules.policies import STRICT, strict_judge
from tests.rules.traffic import Session
from tests.support.pg_query import Node, parse_tree, walk

SECONDS = float(os.environ.get("HOLDGATE_FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("HOLDGATE_FUZZ_SEED", "0"))
PARTS = 8
"""Of the corpora, each a test: all of them in one would take as long as a test may on a busy machine."""
STALL = 2.0
"""Seconds of the processor that reading one statement of a few thousand bytes may never take."""

_PERSONAL = {tuple(entry["relation"].split(".", 1)) for entry in STRICT["personal_data"]} | {
    ("crm", "events_2026_01"),
    ("crm", "events_2026_02"),
    ("crm", "events_default"),
}
_NOT_NOW = frozenset(
    {
        *("PrepareStmt", "CreateFunctionStmt", "DoStmt", "RuleStmt", "ViewStmt", "DeclareCursorStmt"),
        *(
            "AlterTableStmt",
            "CreateStmt",
            "CreateTrigStmt",
            "CreateDomainStmt",
            "CreatePolicyStmt",
            "IndexStmt",
        ),
    }
)
"""Statements whose inner ones do not run by themselves, or not as they stand there."""


def deletes_personal(statement: Node) -> bool:
    """Whether a statement's tree names a deletion from a personal table, so plainly that nothing excuses it."""
    ((kind, fields),) = statement.items()
    if kind in _NOT_NOW:
        return False
    if kind == "ExplainStmt" and not _analyzes(fields):
        return False
    shadows = {node["ctename"] for _, node in walk(fields) if "ctename" in node}
    return any(_is_personal(target, shadows) for target in _deleted_from(kind, fields))


def _analyzes(fields: Node) -> bool:
    """Whether EXPLAIN's options say ANALYZE and nothing else about it."""
    values = [
        option["DefElem"].get("arg")
        for option in fields.get("options", [])
        if option["DefElem"]["defname"] == "analyze"
    ]
    return values == [None]


def _deleted_from(kind: str, fields: Node) -> Iterator[Node]:
    if kind == "TruncateStmt":
        yield from (relation["RangeVar"] for relation in fields["relations"])
    for key, node in walk({kind: fields}):
        if key == "DeleteStmt" or (
            key == "MergeStmt"
            and any(
                clause["MergeWhenClause"].get("commandType") == "CMD_DELETE"
                for clause in node["mergeWhenClauses"]
            )
        ):
            yield node["relation"]


def _is_personal(target: Node, shadows: set[str]) -> bool:
    schema, name = target.get("schemaname"), target["relname"]
    if schema is None:
        return name not in shadows and ("crm", name) in _PERSONAL
    return (schema, name) in _PERSONAL


def check(session: Session, sql: str) -> str:
    """What is wrong with the judgement on a statement; empty when nothing is."""
    raw = sql.encode("utf-8", "surrogatepass").replace(b"\0", b"")
    started = time.process_time()
    judgement = session.judge(raw)
    if time.process_time() - started > STALL:
        return "it took too long"
    allowed = judgement.verdict.decision < Decision.HOLD
    try:
        # Where a comment stands inside of a string, the grammar's copy here refuses what the server takes.
        trees = parse_tree(raw)
        if trees is None and (same := without_comments(raw)) is not None:
            trees = parse_tree(same)
    except RecursionError:
        return "allowed, though it nests too deeply" if allowed else ""
    if trees is None:
        return "allowed, though the grammar refuses it" if allowed else ""
    if allowed and any(map(deletes_personal, trees)):
        return "a deletion is allowed"
    facts = judgement.facts
    if facts.unreadable is None and len(facts.statements) != len(trees):
        return f"{len(facts.statements)} statements read, the grammar sees {len(trees)}"
    return ""


def test_mutated_statements(corpus_catalog: SchemaSnapshot) -> None:
    rng = random.Random(SEED)
    judge = strict_judge()
    texts = seeds()
    until = time.perf_counter() + SECONDS
    for number, sql in enumerate(mutations(texts, rng)):
        if time.perf_counter() > until:
            break
        # A session of its own for each: what one prepares must not excuse another.
        wrong = check(Session(judge, corpus_catalog, search_path=("crm", "public")), sql)
        assert not wrong, f"seed {SEED}, statement {number}: {sql!r}"
    assert number > SECONDS


@pytest.mark.parametrize("part", range(PARTS))
def test_every_statement_of_the_corpora(corpus_catalog: SchemaSnapshot, part: int) -> None:
    judge = strict_judge()
    wrong = [
        (text, sql)
        for sql in seeds()[part::PARTS]
        if (text := check(Session(judge, corpus_catalog, search_path=("crm", "public")), sql))
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("DELETE FROM customers", True),
        ('DELETE FROM ONLY crm."Kunden-Daten" k', True),
        ("WITH a AS (DELETE FROM orders RETURNING 1) SELECT 1", True),
        ("WITH orders AS (SELECT 1) SELECT 1 FROM orders", False),
        ("MERGE INTO customers c USING products p ON true WHEN MATCHED THEN DELETE", True),
        ("MERGE INTO customers c USING products p ON true WHEN MATCHED THEN DO NOTHING", False),
        ("TRUNCATE products, crm.orders", True),
        ("EXPLAIN DELETE FROM customers", False),
        ("EXPLAIN ANALYZE DELETE FROM customers", True),
        ("PREPARE p AS DELETE FROM customers", False),
        ("DELETE FROM public.customers", False),
        ("SELECT 'DELETE FROM customers'", False),
    ],
)
def test_the_oracle(sql: str, expected: bool) -> None:
    trees = parse_tree(sql.encode())
    assert trees is not None
    assert any(map(deletes_personal, trees)) == expected
