"""The judge as the gateway uses it."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Allowance, Decision, Judge, Parameter, TooHeavy, compile_policy, unread
from rules.caps import MAX_STATEMENTS
from rules.catalog import Relation, SchemaSnapshot
from tests.rules.policies import STRICT, context, cursors, strict_judge

_OPEN_DEFAULTS = (
    "unreadable",
    "unknown_relation",
    "opaque_function",
    "server_files",
    "guarded_settings",
    "replication",
    "otherwise",
)
OPEN = {"defaults": dict.fromkeys(_OPEN_DEFAULTS, "allow")}


@pytest.fixture(scope="module")
def judge() -> Judge:
    return strict_judge()


@pytest.mark.parametrize(
    ("sql", "decision", "rule"),
    [
        ("SELECT email FROM customers WHERE id = 5", Decision.ALLOW, "default:otherwise"),
        ("SELECT email FROM customers", Decision.HOLD, "bulk"),
        ("COPY customers TO STDOUT", Decision.HOLD, "bulk"),
        ("DELETE FROM orders WHERE id = 1", Decision.HOLD, "erasure"),
        ("DELETE FROM delete_log", Decision.ALLOW, "default:otherwise"),
        ("SELECT 1; DELETE FROM customers", Decision.HOLD, "erasure"),
        ("SELEC 1", Decision.HOLD, "default:unreadable"),
        ("SELECT crm.vat(1)", Decision.HOLD, "default:opaque_function"),
    ],
)
def test_rule(judge: Judge, sql: str, decision: Decision, rule: str) -> None:
    verdict = judge.judge(sql.encode(), context()).verdict
    assert (verdict.decision, verdict.rule) == (decision, rule)


def test_a_hold_says_who_approves_and_for_how_long(judge: Judge) -> None:
    approval = judge.judge(b"DELETE FROM customers", context()).verdict.approval
    assert approval is not None
    assert (approval.groups, approval.expires) == (("dpo",), 300.0)


def test_the_second_judgement_comes_from_the_cache() -> None:
    judge = strict_judge()
    first = judge.judge(b"SELECT 1", context())
    assert (judge.hits, judge.misses) == (0, 1)
    assert judge.judge(b"SELECT 1", context()) is first
    assert (judge.hits, judge.misses) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_encoding": "SJIS"},
        {"standard_conforming_strings": False},
    ],
)
def test_a_session_that_blinds_the_reader_is_unreadable(judge: Judge, changes: dict[str, object]) -> None:
    text = "SELECT 'ä\\'".encode()
    assert judge.judge(text, context()).verdict.decision is Decision.ALLOW
    assert judge.judge(text, context(**changes)).verdict.rule == "default:unreadable"
    assert judge.judge(b"SELECT 'a'", context(**changes)).verdict.decision is Decision.ALLOW


def test_bytes_that_are_not_utf_8_are_unreadable(judge: Judge) -> None:
    assert judge.judge(b"SELECT '\xff'", context()).verdict.rule == "default:unreadable"


@pytest.mark.parametrize(
    ("limit", "decision"), [(b"5", Decision.ALLOW), (b"500", Decision.HOLD), (None, Decision.HOLD)]
)
def test_a_limit_counts_with_its_bound_value(judge: Judge, limit: bytes | None, decision: Decision) -> None:
    sql = b"SELECT email FROM customers LIMIT $1"
    assert judge.judge(sql, context(), [Parameter(20, 0, limit)]).verdict.decision is decision


def test_execute_is_judged_by_every_text_its_name_may_stand_for(judge: Judge) -> None:
    both = {"s": ("SELECT 1", "DELETE FROM customers")}
    assert judge.judge(b"EXECUTE s", context(prepared=both)).verdict.rule == "erasure"
    assert (
        judge.judge(b"EXECUTE s", context(prepared={"s": ("SELECT 1",)})).verdict.decision is Decision.ALLOW
    )
    assert judge.judge(b"EXECUTE s", context()).verdict.rule == "default:unreadable"


def test_what_nobody_can_name_is_unreadable(judge: Judge) -> None:
    assert judge.judge_unknown("s7", context()).verdict.rule == "default:unreadable"


def test_a_function_call_is_judged_by_its_oid(judge: Judge) -> None:
    assert judge.judge_function_call(952, context()).verdict.decision is Decision.ALLOW  # lo_open
    assert judge.judge_function_call(16_999, context()).verdict.rule == "default:opaque_function"


def test_replication_is_denied_unless_allowed(judge: Judge) -> None:
    assert judge.judge_replication(context()).verdict.decision is Decision.DENY
    assert Judge(compile_policy(OPEN)).judge_replication(context()).verdict.decision is Decision.ALLOW


_BAIT = "DELETE FROM customers"


@settings(max_examples=150, deadline=None)
@given(
    before=st.sampled_from(["", " ", ";", "/* x */", "--\n", "/**/--*/\n", "SELECT 1;", "BEGIN;"]),
    wrap=st.sampled_from(
        [
            "{}",
            "WITH d AS ({} RETURNING *) SELECT 1",
            "EXPLAIN ANALYZE {}",
            "EXPLAIN (ANALYZE true, COSTS off) {}",
            "PREPARE p AS {}; EXECUTE p",
            "COPY (WITH d AS ({} RETURNING id) SELECT * FROM d) TO STDOUT",
        ]
    ),
    case=st.lists(st.booleans(), min_size=len(_BAIT), max_size=len(_BAIT)),
    gap=st.sampled_from([" ", "\t", "\n", "/**/", "--\n", "\f"]),
    after=st.sampled_from(["", ";", " ;;", "--", "/* y */"]),
)
def test_a_deletion_stays_held_whatever_is_put_around_it(
    before: str, wrap: str, case: list[bool], gap: str, after: str
) -> None:
    bait = "".join(char.upper() if up else char.lower() for char, up in zip(_BAIT, case, strict=True))
    sql = before + wrap.format(bait.replace(" ", gap)) + after
    assert strict_judge().judge(sql.encode(), context()).verdict.decision is not Decision.ALLOW


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_and_an_open_policy_allows_all(sql: bytes) -> None:
    strict_judge().judge(sql, context())
    assert Judge(compile_policy(OPEN)).judge(sql, context()).verdict.decision is Decision.ALLOW


def test_the_policys_version_is_that_of_its_document() -> None:
    again = compile_policy(STRICT)
    assert again.version == strict_judge().policy.version
    assert compile_policy({**STRICT, "rules": []}).version != again.version


BULKY = b"SELECT email FROM customers WHERE id IN (" + b", ".join([b"1"] * 300) + b")"


def test_what_is_too_heavy_is_not_read_here() -> None:
    judge = strict_judge()
    assert judge.cached(BULKY, context()) is None
    allowance = Allowance()
    with pytest.raises(TooHeavy):
        judge.judge(BULKY, context(), allowance=allowance)
    assert judge.judge(b"SELECT 1", context(), allowance=allowance).verdict.decision is Decision.ALLOW


def test_many_messages_share_one_allowance() -> None:
    judge, allowance = strict_judge(), Allowance()
    read = 0
    while allowance.left >= 4:
        judge.judge(b"SELECT %d + %d" % (read, read), context(), allowance=allowance)
        read += 1
    assert read > 10
    with pytest.raises(TooHeavy):
        judge.judge(b"SELECT %d + %d" % (read, read), context(), allowance=allowance)
    # What is known costs nothing.
    assert judge.judge(b"SELECT 0 + 0", context(), allowance=allowance).facts.unreadable is None
    allowance.refill()
    judge.judge(b"SELECT %d + %d" % (read, read), context(), allowance=allowance)


def test_what_was_read_elsewhere_is_judged_as_if_it_was_read_here() -> None:
    judge, elsewhere = strict_judge(), strict_judge()
    facts = elsewhere.read(BULKY, context())
    assert elsewhere.cached(BULKY, context()) is None
    here = judge.judge(BULKY, context())
    assert strict_judge().judge(BULKY, context(), facts=facts, allowance=Allowance(0)) == here


def test_what_was_learned_needs_no_reading() -> None:
    judge = strict_judge()
    facts = judge.read(BULKY, context())
    judge.learn(BULKY, context(), facts)
    assert judge.cached(BULKY, context()) is facts
    assert judge.judge(BULKY, context(), allowance=Allowance(0)).facts is facts
    assert judge.cached(BULKY, context(search_path=("other",))) is None


def test_facts_that_were_only_handed_in_are_not_kept() -> None:
    judge = strict_judge()
    late = judge.judge(BULKY, context(), facts=unread("nobody had the time"))
    assert late.verdict.rule == "default:unreadable"
    assert "nobody had the time" in late.verdict.reason
    assert judge.judge(BULKY, context()).verdict.rule == "bulk"


def test_facts_that_depend_on_the_session_are_not_learned() -> None:
    judge = strict_judge()
    session = context(prepared={"s": ("SELECT 1",)})
    judge.learn(b"EXECUTE s", session, judge.read(b"EXECUTE s", session))
    assert judge.cached(b"EXECUTE s", session) is None


@pytest.mark.parametrize(
    ("sql", "heavy"),
    [
        (b"EXECUTE light", False),
        (b" execute LIGHT ( 1, 'a' ) ; ", False),
        (b"EXECUTE heavy", True),
        (b"EXPLAIN EXECUTE heavy", True),
        # What cannot be told at a glance counts as all of them.
        (b'EXECUTE U&"\\0068eavy" /* light */', True),
        (b"SELECT 1", False),
    ],
)
def test_executing_weighs_what_was_prepared(sql: bytes, heavy: bool) -> None:
    session = context(prepared={"light": ("SELECT 1",), "heavy": ("SELECT 1" + "+1" * 300,)})
    if heavy:
        with pytest.raises(TooHeavy):
            strict_judge().judge(sql, session, allowance=Allowance())
    else:
        strict_judge().judge(sql, session, allowance=Allowance())


def test_all_that_reading_takes_and_gives_can_go_to_another_process() -> None:
    judge = strict_judge()
    session = context(prepared={"s": ("DELETE FROM customers",)}, cursors=cursors("c"))
    policy, around = pickle.loads(pickle.dumps((judge.policy, session)))
    assert around == session
    for sql in (
        b"EXECUTE s",
        b"FETCH 5 FROM c",
        BULKY,
        b"SELEC",
        b"COPY customers TO STDOUT",
        b"SET a.b = 1",
    ):
        facts = judge.read(sql, session)
        assert pickle.loads(pickle.dumps(Judge(policy).read(sql, around))) == facts


@pytest.mark.parametrize(
    ("sql", "missing"),
    [
        ("SELECT * FROM fresh", ("fresh",)),
        ("SELECT 1; UPDATE other.fresh SET a = 1", ("other.fresh",)),
        ("SELECT new_function(1)", ("new_function()",)),
        ("DELETE FROM fresh WHERE a IN (SELECT a FROM older); TRUNCATE gone", ("fresh", "older", "gone")),
        ("SELECT * FROM known", ()),
        ("WITH fresh AS (SELECT 1) SELECT * FROM fresh", ()),
    ],
)
def test_names_that_the_catalog_does_not_know(sql: str, missing: tuple[str, ...]) -> None:
    catalog = SchemaSnapshot(
        1, "d", 180_000, relations=(Relation(20_000, "public", "known", "r", ("a",), (23,)),)
    )
    facts = Judge(compile_policy(OPEN)).judge(sql.encode(), replace(context(), catalog=catalog)).facts
    assert set(facts.missing) == set(missing)


def test_a_message_of_too_many_statements_is_not_read() -> None:
    most = b"SELECT 1;" * MAX_STATEMENTS
    assert strict_judge().read(most, context()).unreadable is None
    why = strict_judge().read(most + b"SELECT 1", context()).unreadable
    assert why == "more than 1000 statements in one message"


def test_what_is_done_twice_is_decided_once_and_told_twice() -> None:
    effects = (
        strict_judge().judge(b"DELETE FROM orders; SELECT 1; DELETE FROM orders", context()).verdict.effects
    )
    assert len(effects) == 2
    assert effects[0] is effects[1]
