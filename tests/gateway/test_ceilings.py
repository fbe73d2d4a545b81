"""What of a request can be counted before it commits; the counting itself is tried in tests/wire/test_ceilings.py."""

from typing import Any

import pytest

from gateway.arbiter import Ruled, Ruling
from gateway.ceilings import ceiling_of, uncounted
from protocol.enclosure import Standing
from protocol.gather import function_call, simple_query
from protocol.request import Request
from rules import Decision, Facts, Judge, Judgement, Obligation, Verdict, compile_policy
from rules.catalog import SchemaSnapshot
from rules.tallies import NotTallied
from tests.gateway.store.samples import approval, hold
from tests.rules.policies import context
from tests.support.wire import F, Q

IDLE, OPEN = Standing(ord("I")), Standing(ord("T"))


def ruled(request: Request, *, obligations: tuple[Obligation, ...] = ()) -> Ruling:
    judge = Judge(compile_policy({}))
    several = []
    for execution in request.executions:
        facts = judge.read(execution.sql[0], context()) if execution.sql else Facts()
        judgement = Judgement(facts, Verdict(Decision.HOLD, "r", "why", None, (), obligations))
        several.append(Ruled(execution, judgement, (facts,), SchemaSnapshot(), {}))
    return Ruling(Decision.HOLD, several, several[0], "policy")


def why(sql: str, standing: Standing = IDLE, **options: Any) -> str | None:
    request = simple_query(Q(sql)).request
    return uncounted(request, ruled(request, **options), standing)


def test_what_can_be_counted() -> None:
    assert why("DELETE FROM t") is None
    assert why("DELETE FROM t; SELECT 1", OPEN) is None


@pytest.mark.parametrize(
    ("sql", "standing", "said"),
    [
        ("SELECT 1", IDLE, "it has no DELETE, UPDATE or MERGE"),
        ("DELETE FROM t; DISCARD ALL", OPEN, "DISCARD"),
        ("DELETE FROM t", Standing(ord("I"), unsynced=True), "without a Sync"),
        ("DELETE FROM t", Standing(ord("I"), enclosed=True), "read-only"),
        ("BEGIN; DELETE FROM t", IDLE, "ends a transaction"),
    ],
)
def test_what_cannot(sql: str, standing: Standing, said: str) -> None:
    found = why(sql, standing)
    assert found is not None
    assert said in found


def test_what_runs_read_only_cannot() -> None:
    assert why("DELETE FROM t", obligations=(Obligation.READ_ONLY,)) == "a part of it runs read-only"


def test_a_function_call_cannot() -> None:
    request = function_call(F(100, [])).request
    assert uncounted(request, ruled(request), IDLE) == "a FunctionCall does not say how many rows it changed"


def test_several_texts_cannot() -> None:
    request = simple_query(Q("DELETE FROM t")).request
    request.executions[0].sql = (b"DELETE FROM t", b"DELETE FROM u")
    assert uncounted(request, ruled(request), IDLE) == "it cannot be told which text is executed"


def test_the_error_has_both_numbers() -> None:
    request = simple_query(Q("DELETE FROM t")).request
    some = approval()
    assert ceiling_of(request, ruled(request), IDLE, hold(decisions=(some,))) is None
    limited = hold(decisions=(type(some)("carol", "approve", "", some.at, "api", max_rows=1),))
    ceiling = ceiling_of(request, ruled(request), IDLE, limited)
    assert ceiling is not None
    assert (ceiling.most, ceiling.counted) == (1, frozenset(request.executions))
    error = ceiling.refusal(4, False)
    assert error.sqlstate == "54000"
    assert error.message == "statement undone: it changed 4 rows, and no more than 1 row were approved"
    assert "approved by carol" in (error.detail or "")
    assert "row limit" in ceiling.refusal(None, False).message
    assert "too long" in ceiling.refusal(None, True).message
    both = simple_query(Q("DELETE FROM t; COMMIT")).request
    with pytest.raises(NotTallied):
        ceiling_of(both, ruled(both), IDLE, limited)
