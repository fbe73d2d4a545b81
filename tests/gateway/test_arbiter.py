"""Rulings: what the verdicts on its executions mean for a request."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.arbiter import Arbiter, Ruling
from gateway.identity import Principal, SessionState
from gateway.metrics import Metrics
from protocol.enclosure import Enclosure, Standing
from protocol.gather import Gatherer, simple_query
from protocol.request import Delimiter, Request
from protocol.statements import PreparedStatement, SessionNames
from rules import Decision, Judge, compile_policy
from tests.support.catalog import without_catalog
from tests.support.wire import B, E, P, Q

IDLE, OPEN = Standing(ord("I")), Standing(ord("T"))
OPEN_DEFAULTS = dict.fromkeys(["unreadable", "unknown_relation", "opaque_function", "otherwise"], "allow")
READ_ONLY = {"rules": [{"name": "ro", "when": {}, "then": "allow", "obligations": ["read_only"]}]}
PERSONAL = {"personal_data": [{"relation": "public.people", "columns": ["email"], "subject": "id"}]}


class Bench:
    """An arbiter and the names of its session."""

    def __init__(self, *policy: Mapping[str, Any]) -> None:
        self.names = SessionNames()
        document: dict[str, Any] = {"defaults": OPEN_DEFAULTS}
        for part in policy:
            document |= part
        judge = Judge(compile_policy(document))
        who = Principal("alice", frozenset(), "shop", None)
        self.arbiter = Arbiter(
            judge, Metrics("0"), who, SessionState("alice"), self.names, without_catalog("shop")
        )

    def batch(self, *messages: bytes, delimiter: Delimiter = Delimiter.SYNC) -> Request:
        """A batch of these messages."""
        gatherer = Gatherer(self.names)
        for raw in messages:
            gatherer.add(raw[0], raw)
        return gatherer.resolve(delimiter, 0).request

    def query(self, sql: str, standing: Standing | None = IDLE) -> Ruling:
        """The ruling on a Query."""
        return self.arbiter.rule(simple_query(Q(sql)).request, standing)


def test_what_is_to_run_read_only_is_known_with_what_goes_around_it() -> None:
    bench = Bench(READ_ONLY)
    request = simple_query(Q("SELECT f()")).request
    ruling = bench.arbiter.rule(request, IDLE)
    assert (ruling.decision, ruling.read_only, ruling.at) == (Decision.ALLOW, True, 0)
    around = bench.arbiter.enclosure(request, ruling, IDLE)
    assert around == Enclosure({0: (b"BEGIN READ ONLY",)}, {0: (b"ROLLBACK",)})


def test_where_the_session_stands_not_known_nothing_is_said_of_what_goes_around() -> None:
    ruling = Bench(READ_ONLY).query("SELECT f()", None)
    assert (ruling.decision, ruling.read_only) == (Decision.ALLOW, True)


def test_what_cannot_write_needs_nothing_around_it() -> None:
    bench = Bench(READ_ONLY)
    for sql in ("BEGIN", "COMMIT", "SET work_mem = '4MB'", "LISTEN a", ""):
        assert not bench.query(sql).read_only


def test_what_cannot_be_enclosed_is_held_without_the_obligation() -> None:
    ruling = Bench(READ_ONLY).query("SELECT f()", Standing(ord("I"), unsynced=True))
    assert ruling.decision is Decision.HOLD
    assert ruling.deciding is not None
    verdict = ruling.deciding.judgement.verdict
    assert verdict.reason.endswith("to be run read-only, but it follows messages without a Sync")
    assert (verdict.obligations, ruling.read_only) == ((), False)


def test_what_is_held_to_run_read_only_and_cannot_be_enclosed_is_denied() -> None:
    held = {"rules": [{"name": "ro", "when": {}, "then": "hold", "obligations": ["read_only"]}]}
    assert Bench(held).query("SELECT f()", Standing(ord("I"), unsynced=True)).decision is Decision.DENY


def test_a_released_portal_whose_work_cannot_be_enclosed_any_more_is_held_again() -> None:
    bench = Bench(READ_ONLY)
    request = bench.batch(P("SELECT f()"), B(portal="p"), E("p", rows=1))
    first = bench.arbiter.rule(request, IDLE)
    bench.arbiter.release(first, "H-1", ["carol"])
    again = bench.arbiter.rule(request, OPEN)
    assert again.decision is Decision.HOLD
    assert again.ruled[0].release is None


def test_a_name_that_may_stand_for_several_texts_runs_under_the_duties_of_all() -> None:
    rules = [{"name": "f", "when": {"relation": "f"}, "then": "allow", "obligations": ["read_only"]}]
    bench = Bench({"rules": rules}, PERSONAL)
    texts = (b"SELECT 1", b"SELECT f()", b"SELECT email FROM people WHERE id = 1")
    bench.names.statements.put(b"s", PreparedStatement(b"s", texts))
    ruling = bench.arbiter.rule(bench.batch(B(statement="s"), E()), IDLE)
    assert (ruling.decision, ruling.read_only, ruling.redacts) == (Decision.ALLOW, True, True)
    bench.names.statements.put(b"s", PreparedStatement(b"s", (*texts, b"COMMIT")))
    ruling = bench.arbiter.rule(bench.batch(B(statement="s"), E()), IDLE)
    assert ruling.decision is Decision.HOLD
    assert ruling.deciding is not None
    assert "different kinds" in ruling.deciding.judgement.verdict.reason
    bench.names.statements.put(b"s", PreparedStatement(b"s", (b"SELECT f()", b"VACUUM")))
    assert bench.arbiter.rule(bench.batch(B(statement="s"), E()), IDLE).decision is Decision.HOLD


def test_nothing_that_is_to_run_read_only_runs_in_front_of_a_refusal() -> None:
    denied = {"name": "no", "when": {"relation": "secret"}, "then": "deny"}
    bench = Bench({"rules": [denied, *READ_ONLY["rules"]]})
    request = bench.batch(P("BEGIN"), B(), E(), P("SELECT f()"), B(), E(), P("TABLE secret"), B(), E())
    ruling = bench.arbiter.rule(request, IDLE)
    assert (ruling.decision, ruling.at) == (Decision.DENY, 4)


def test_inside_the_gateways_transaction_what_would_end_it_is_refused() -> None:
    bench = Bench()
    inside = Standing(ord("I"), unsynced=True, enclosed=True)
    assert bench.arbiter.rule(bench.batch(P("SELECT 1"), B(), E()), inside).error is None
    for request in (bench.batch(P("COMMIT"), B(), E()), simple_query(Q("SELECT 1")).request):
        ruling = bench.arbiter.rule(request, inside)
        assert ruling.error is not None
        assert ruling.error.sqlstate == "0A000"


def test_a_bind_alone_is_redacted_though_it_is_not_ruled_on() -> None:
    bench = Bench(PERSONAL)
    ruling = bench.arbiter.rule(bench.batch(P("SELECT email FROM people WHERE id = 1"), B(portal="p")), IDLE)
    assert ruling.ruled == []
    assert ruling.redacts
    assert not bench.arbiter.rule(bench.batch(P("SELECT 1"), B(portal="q")), IDLE).redacts


def test_prepared_statements_are_looked_through_only_for_what_executes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(READ_ONLY)
    asked: list[None] = []
    candidates = SessionNames.candidates

    def counted(names: SessionNames) -> dict[str, tuple[bytes, ...]]:
        asked.append(None)
        return candidates(names)

    monkeypatch.setattr(SessionNames, "candidates", counted)
    bench.names.prepared_by_sql(b"s", b"SELECT 1")
    bench.query("SELECT 2")
    bench.arbiter.rule(bench.batch(P("SELECT 3"), B(), E()), IDLE)
    assert not asked
    assert bench.query("eXeCuTe s").ruled[0].prepared == {"s": ("SELECT 1",)}
    assert asked
