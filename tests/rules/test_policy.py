"""Deciding: which rule speaks of an effect, which effect decides, and under which obligations it runs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Decision, EffectFacts, Facts, Obligation, Verdict, compile_policy
from rules.catalog import Function, SchemaSnapshot
from rules.facts import POINT, UNBOUNDED, Action, Nature, RowBound, StatementFacts
from rules.policy import Hours, RelationPattern, RowCondition, describe
from tests.rules.policies import context

READ_ONLY, REDACT = Obligation.READ_ONLY, Obligation.REDACT_ERRORS
PEOPLE = {"relation": "public.people", "columns": ["email"], "subject": "id"}

READ = EffectFacts(Action.READ, "public.things", ("a",))
PERSONAL = EffectFacts(Action.READ, "public.people", ("email",), personal=("email",), touches_personal=True)
TOUCHES = EffectFacts(Action.READ, "public.people", ("id",), touches_personal=True)
OPAQUE = EffectFacts(Action.CALL, "f", nature=Nature.OPAQUE, detail="f() is code nobody has read")
DELETE = EffectFacts(Action.DELETE, "public.people", touches_personal=True)
BLANKS = EffectFacts(
    Action.UPDATE, "public.people", ("email",), personal=("email",), touches_personal=True, erases=True
)


def statement(*effects: EffectFacts, kind: str = "SELECT", sql: str = "") -> StatementFacts:
    """A statement that does this."""
    return StatementFacts(kind, sql, effects)


def decide(
    policy: Mapping[str, Any], *effects: EffectFacts, kind: str = "SELECT", unreadable: str | None = None
) -> Verdict:
    """The verdict on one statement that does this."""
    facts = Facts((statement(*effects, kind=kind),), unreadable)
    return compile_policy(policy).decide(facts, context())


def rule(name: str, when: Mapping[str, Any], then: str, **more: Any) -> dict[str, Any]:
    """A rule as it is written."""
    return {"name": name, "when": when, "then": then, **more}


# --- which rule ------------------------------------------------------------------------------------------


def test_the_first_matching_rule_decides_an_effect() -> None:
    rules = [rule("one", {"action": "read"}, "hold"), rule("two", {}, "deny")]
    assert decide({"rules": rules}, READ).rule == "one"
    assert decide({"rules": rules}, DELETE).rule == "two"


def test_the_strictest_effect_decides_the_statement() -> None:
    rules = [rule("d", {"action": "delete"}, "deny"), rule("h", {"action": "read"}, "hold")]
    verdict = decide({"rules": rules}, READ, DELETE)
    assert (verdict.decision, verdict.rule) == (Decision.DENY, "d")
    assert [effect.decision for effect in verdict.effects] == [Decision.HOLD, Decision.DENY]


def test_a_rule_about_the_session_alone_speaks_of_what_touches_nothing_too() -> None:
    rules = [
        rule("by effect", {"action": "read"}, "deny"),
        rule("app", {"users": "app"}, "hold", message="why"),
    ]
    verdict = decide({"rules": rules})
    assert (verdict.decision, verdict.rule, verdict.reason) == (Decision.HOLD, "app", "why")
    assert decide({"rules": rules[:1]}).rule == "default:empty"
    assert decide({"rules": [rule("other", {"users": "bob"}, "deny")]}).decision is Decision.ALLOW


def test_a_message_without_a_statement_is_nothing_to_decide() -> None:
    policy = compile_policy({"rules": [rule("no", {}, "deny")], "redact_errors": "all"})
    verdict = policy.decide(Facts(), context())
    assert (verdict.decision, verdict.rule, verdict.obligations) == (Decision.ALLOW, "default:empty", ())


@pytest.mark.parametrize("nature", [Nature.UNREADABLE, Nature.READINGS_DIFFER, Nature.NOT_CROSS_CHECKED])
def test_what_is_said_of_the_reading_is_reached_by_no_rule_about_effects(nature: Nature) -> None:
    mark = EffectFacts(Action.UTILITY, nature=nature, detail="a mark")
    policy = {"rules": [rule("u", {"action": "utility"}, "deny")]}
    assert decide(policy, mark).rule == f"default:{nature}"
    assert decide({"rules": [rule("all", {}, "deny")]}, mark).rule == "all"


@pytest.mark.parametrize(
    ("key", "decision"),
    [
        ("readings_differ", Decision.HOLD),
        ("not_cross_checked", Decision.ALLOW),
        ("unreadable", Decision.HOLD),
    ],
)
def test_the_defaults_of_the_reading(key: str, decision: Decision) -> None:
    mark = EffectFacts(Action.UTILITY, nature=Nature(key))
    assert decide({}, READ, mark).decision is decision
    assert decide({"defaults": {key: "deny"}}, READ, mark).decision is Decision.DENY


def test_where_all_is_let_through_the_reading_is_not_asked() -> None:
    everything = dict.fromkeys(["unreadable", "unknown_relation", "opaque_function", "otherwise"], "allow")
    mark = EffectFacts(Action.UTILITY, nature=Nature.READINGS_DIFFER)
    assert decide({"defaults": everything}, mark).decision is Decision.ALLOW
    assert decide({"defaults": {**everything, "readings_differ": "hold"}}, mark).decision is Decision.HOLD
    owing = [rule("r", {"action": "read"}, "allow", obligations=["read_only"])]
    assert decide({"defaults": everything, "rules": owing}, mark).decision is Decision.HOLD


def test_files_and_guarded_settings_must_be_named() -> None:
    file = EffectFacts(Action.READ, "a file", nature=Nature.SERVER_FILE, detail="reads a file")
    assert decide({"rules": [rule("reads", {"action": "read"}, "allow")]}, file).decision is Decision.DENY
    assert decide({"rules": [rule("reads", {"action": "read"}, "hold")]}, file).decision is Decision.HOLD
    assert decide({"rules": [rule("it", {"relation": "a file"}, "allow")]}, file).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("when", "effect", "then", "matches"),
    [
        ({"data": "personal"}, PERSONAL, "hold", True),
        ({"data": "personal"}, TOUCHES, "hold", False),
        ({"data": "personal"}, DELETE, "hold", True),
        ({"relation": "people"}, PERSONAL, "allow", True),
        ({"relation": "public.*"}, PERSONAL, "allow", True),
        ({"relation": "crm.*"}, PERSONAL, "hold", False),
        ({"relation": "public.people"}, EffectFacts(Action.DDL, "public.*"), "hold", True),
        ({"relation": "public.people"}, EffectFacts(Action.DDL, "public.*"), "allow", False),
        ({"relation": "public.people"}, EffectFacts(Action.READ), "hold", True),
        ({"relation": "public.people"}, EffectFacts(Action.READ), "allow", False),
        ({"relation": "public.people"}, EffectFacts(Action.UTILITY, detail="BEGIN"), "hold", False),
        ({"relation": "public.people"}, EffectFacts(Action.SESSION, detail="discards all"), "hold", False),
        ({"columns": "email"}, PERSONAL, "allow", True),
        ({"columns": "EMAIL"}, PERSONAL, "hold", True),
        ({"columns": "email"}, EffectFacts(Action.READ, "public.people", ("*",)), "hold", True),
        ({"columns": "email"}, EffectFacts(Action.READ, "public.people", ("*",)), "allow", False),
        ({"columns": "email"}, EffectFacts(Action.READ, "public.people", ("email", "id")), "allow", False),
        ({"columns": "email"}, EffectFacts(Action.READ, "public.people"), "allow", False),
        ({"rows": "> 5"}, PERSONAL, "hold", True),
        ({"databases": "sh*", "users": ["x", "app"], "application": "PSQL"}, READ, "hold", True),
        ({"databases": "other"}, READ, "hold", False),
        ({"application": "pgadmin"}, READ, "hold", False),
        ({"client_addr": "10.0.0.0/8"}, READ, "hold", True),
        ({"client_addr": "11.0.0.0/8"}, READ, "hold", False),
        ({"groups": "dpo"}, READ, "hold", False),
        ({"groups": "support"}, READ, "hold", True),
    ],
)
def test_conditions(when: Mapping[str, Any], effect: EffectFacts, then: str, matches: bool) -> None:
    policy = compile_policy(
        {"personal_data": [PEOPLE], "groups": {"dpo": [], "support": []}, "rules": [rule("it", when, then)]}
    )
    who = context(application_name="psql", client_addr="::ffff:10.1.2.3", groups=frozenset(["support"]))
    found = policy.decide(Facts((statement(effect),)), who).rule
    assert (found == "it") is matches


@pytest.mark.parametrize("address", [None, "not an address", "fe80::1%eth0"])
def test_an_address_that_is_in_no_network(address: str | None) -> None:
    policy = compile_policy({"rules": [rule("net", {"client_addr": "10.0.0.0/8"}, "deny")]})
    assert policy.decide(Facts((statement(READ),)), context(client_addr=address)).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("condition", "bound", "matches"),
    [
        (">", RowBound.at_most(5), False),
        (">", UNBOUNDED, True),
        (">=", RowBound.at_most(5), True),
        ("<", RowBound.at_most(4), True),
        ("<=", UNBOUNDED, False),
        ("=", RowBound.at_most(5), True),
        ("=", POINT, False),
    ],
)
def test_row_conditions(condition: str, bound: RowBound, matches: bool) -> None:
    assert RowCondition(condition, 5).matches(bound) is matches


@given(
    st.integers(0, 24 * 60 - 1), st.integers(0, 24 * 60 - 1), st.integers(0, 6), st.integers(0, 24 * 60 - 1)
)
def test_a_span_and_the_one_from_its_end_to_its_start_share_the_day(
    start: int, end: int, weekday: int, minute: int
) -> None:
    if start == end:
        return
    now = datetime(2026, 3, 2 + weekday, minute // 60, minute % 60, tzinfo=UTC)
    assert Hours(start, end).covers(now) is not Hours(end, start).covers(now)


def test_a_span_past_midnight_belongs_to_the_day_it_begins_on() -> None:
    night = Hours(22 * 60, 6 * 60, frozenset([0]))
    assert night.covers(datetime(2026, 3, 2, 23, tzinfo=UTC))
    assert night.covers(datetime(2026, 3, 3, 5, tzinfo=UTC))
    assert not night.covers(datetime(2026, 3, 2, 5, tzinfo=UTC))
    assert not night.covers(datetime(2026, 3, 3, 23, tzinfo=UTC))


def test_patterns_on_bare_names() -> None:
    assert RelationPattern("people").matches("people")
    assert not RelationPattern("public.people").matches("people")
    assert RelationPattern("public.people").could_match("people")
    assert RelationPattern("*.people").matches("people")
    assert not RelationPattern("public.people").could_match("crm.*")


# --- an update that erases -------------------------------------------------------------------------------


def test_an_update_that_blanks_counts_as_a_delete_where_it_is_said() -> None:
    policy = {
        "personal_data": [PEOPLE],
        "rules": [rule("erasure", {"action": "delete", "data": "personal"}, "hold")],
    }
    assert decide(policy, BLANKS).decision is Decision.ALLOW
    verdict = decide({**policy, "erasing_update": "delete"}, BLANKS)
    assert (verdict.decision, verdict.rule) == (Decision.HOLD, "erasure")
    assert verdict.reason == "blanks email of public.people (no limit on rows)"
    plain = EffectFacts(
        Action.UPDATE, "public.people", ("email",), personal=("email",), touches_personal=True
    )
    assert decide({**policy, "erasing_update": "delete"}, plain).decision is Decision.ALLOW


def test_an_update_that_blanks_is_still_an_update() -> None:
    rules = [rule("updates", {"action": "update"}, "deny"), rule("deletes", {"action": "delete"}, "hold")]
    assert decide({"rules": rules, "erasing_update": "delete"}, BLANKS).rule == "updates"


# --- obligations -----------------------------------------------------------------------------------------


def owing(*obligations: str, then: str = "allow", when: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A policy with one rule that wants these obligations."""
    return {"rules": [rule("owed", when or {"action": "read"}, then, obligations=list(obligations))]}


@pytest.mark.parametrize("then", ["allow", "hold"])
def test_a_rules_obligations_bind_what_it_lets_run(then: str) -> None:
    verdict = decide(owing("redact_errors", "read_only", then=then), READ)
    assert verdict.decision.word == then
    assert verdict.obligations == verdict.effects[0].obligations == (READ_ONLY, REDACT)


def test_obligations_of_all_effects_bind_the_whole_message() -> None:
    rules = [
        rule("ro", {"relation": "public.things"}, "allow", obligations=["read_only"]),
        rule("hold", {"relation": "public.people"}, "hold", obligations=["redact_errors"]),
    ]
    verdict = decide({"rules": rules}, READ, TOUCHES)
    assert (verdict.decision, verdict.rule, verdict.obligations) == (
        Decision.HOLD,
        "hold",
        (READ_ONLY, REDACT),
    )


def test_allowed_under_obligations_is_stricter_than_allowed() -> None:
    rules = [rule("plain", {"relation": "public.people"}, "allow"), *owing("read_only")["rules"]]
    assert decide({"rules": rules, "redact_errors": "none"}, TOUCHES, READ).rule == "owed"


def test_what_is_denied_owes_nothing() -> None:
    rules = [rule("no", {"relation": "public.people"}, "deny"), *owing("read_only")["rules"]]
    verdict = decide({"personal_data": [PEOPLE], "rules": rules}, READ, PERSONAL)
    assert (verdict.decision, verdict.obligations) == (Decision.DENY, ())
    assert verdict.effects[1].obligations == ()


def test_a_default_may_be_read_only() -> None:
    verdict = decide({"defaults": {"opaque_function": "read_only"}, "redact_errors": "none"}, OPAQUE)
    assert (verdict.decision, verdict.rule) == (Decision.ALLOW, "default:opaque_function")
    assert verdict.obligations == (READ_ONLY,)


def test_what_cannot_be_run_read_only_is_held_and_may_then_run_without() -> None:
    verdict = decide(owing("read_only"), READ, kind="VACUUM")
    assert (verdict.decision, verdict.rule, verdict.obligations) == (Decision.HOLD, "owed", ())
    assert verdict.reason.endswith(
        "to be run read-only, but VACUUM is not run inside a read-only transaction"
    )
    assert verdict.approval is not None


def test_what_is_held_by_another_rule_says_that_it_will_not_run_read_only() -> None:
    rules = [
        rule("hold", {"action": "delete"}, "hold", approval={"expires": "5m"}),
        *owing("read_only")["rules"],
    ]
    verdict = decide({"rules": rules, "redact_errors": "none"}, DELETE, READ, kind="VACUUM")
    assert (verdict.decision, verdict.rule, verdict.obligations) == (Decision.HOLD, "hold", ())
    assert "; reads public.things" in verdict.reason
    assert verdict.approval is not None
    assert verdict.approval.expires == 300


def test_what_is_held_to_run_read_only_and_cannot_is_denied() -> None:
    verdict = decide(owing("read_only", then="hold"), READ, kind="VACUUM")
    assert (verdict.decision, verdict.rule) == (Decision.DENY, "owed")
    assert (verdict.approval, verdict.obligations) == (None, ())


def test_unread_text_is_never_run_read_only() -> None:
    verdict = decide(owing("read_only", when={"users": "app"}), unreadable="odd")
    assert (verdict.decision, verdict.obligations) == (Decision.HOLD, ())


def test_where_code_could_reach_out_of_the_database_what_nobody_has_read_does_not_run_read_only() -> None:
    policy = compile_policy({"defaults": {"opaque_function": "read_only"}})
    dblink = Function(1, "public", "dblink", "f", "c", "v", extension="dblink")
    facts = Facts((statement(OPAQUE),))
    assert policy.decide(facts, context()).decision is Decision.ALLOW
    verdict = policy.decide(facts, context(catalog=SchemaSnapshot(functions=(dblink,))))
    assert verdict.decision is Decision.HOLD
    assert verdict.reason.endswith("but public.dblink() may reach out of the database (language c)")


@pytest.mark.parametrize(
    ("effect", "redacts"),
    [
        (READ, False),
        (TOUCHES, True),
        (PERSONAL, True),
        (DELETE, True),
        (OPAQUE, True),
        (EffectFacts(Action.UTILITY, nature=Nature.READINGS_DIFFER), True),
        (EffectFacts(Action.UTILITY, nature=Nature.NOT_CROSS_CHECKED), False),
        (EffectFacts(Action.READ, "x", nature=Nature.UNKNOWN_RELATION), False),
    ],
)
def test_errors_are_redacted_where_personal_data_is_touched_or_may_be(
    effect: EffectFacts, redacts: bool
) -> None:
    open_ = dict.fromkeys(["unknown_relation", "opaque_function", "readings_differ"], "allow")
    policy = {"personal_data": [PEOPLE], "defaults": open_}
    assert (REDACT in decide(policy, effect).obligations) is redacts
    assert (REDACT in decide({**policy, "rules": [rule("a", {}, "allow")]}, effect).obligations) is redacts
    assert decide({**policy, "redact_errors": "none"}, effect).obligations == ()
    assert decide({**policy, "redact_errors": "all"}, effect).obligations == (REDACT,)


@pytest.mark.parametrize("effect", [OPAQUE, TOUCHES, PERSONAL])
def test_where_nothing_is_declared_personal_nothing_is_redacted(effect: EffectFacts) -> None:
    # The server's own statistics count as personal without being declared, and whatever may touch anything as
    # touching them.
    assert decide({"defaults": {"opaque_function": "allow"}}, effect).obligations == ()


def test_redacting_all_errors_means_those_of_what_touches_nothing_too() -> None:
    assert decide({"redact_errors": "all"}).obligations == (REDACT,)
    assert decide({"redact_errors": "personal"}).obligations == ()


# --- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (PERSONAL, "reads email of public.people (no limit on rows)"),
        (
            EffectFacts(Action.READ, None, ("*",), POINT, ("*",), True),
            "reads all columns of any relation (one subject)",
        ),
        (DELETE, "deletes from public.people (no limit on rows)"),
        (EffectFacts(Action.INSERT, "a", row_bound=RowBound.at_most(3)), "inserts into a (at most 3 rows)"),
        (EffectFacts(Action.DDL, "a", detail="creates a"), "creates a"),
        (EffectFacts(Action.DDL, "a"), "ddl a"),
        (OPAQUE, "f() is code nobody has read"),
    ],
)
def test_an_effect_in_words(effect: EffectFacts, words: str) -> None:
    assert describe(effect) == words


# --- where nobody need know -----------------------------------------------------------------------------

EVERYTHING: Mapping[str, str] = dict.fromkeys((nature.value for nature in Nature), "allow")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"defaults": EVERYTHING}, True),
        ({"defaults": EVERYTHING, "rules": [rule("r", {"action": "read"}, "allow")]}, True),
        ({"defaults": EVERYTHING, "rules": [rule("r", {"action": "read"}, "hold")]}, False),
        (
            {
                "defaults": EVERYTHING,
                "rules": [rule("r", {"action": "read"}, "allow", obligations=["read_only"])],
            },
            False,
        ),
        ({"defaults": {**EVERYTHING, "opaque_function": "deny"}}, False),
        ({"defaults": {**EVERYTHING, "opaque_function": "read_only"}}, False),
        ({"defaults": EVERYTHING, "personal_data": [PEOPLE]}, False),
        ({"defaults": EVERYTHING, "personal_data": [PEOPLE], "redact_errors": "none"}, True),
        ({}, False),
    ],
)
def test_whether_everything_is_let_through(policy: Mapping[str, Any], expected: bool) -> None:
    assert compile_policy(policy).lets_everything_through is expected


def test_what_rules_say_is_told_apart_by_how_they_are_written() -> None:
    """A grant hangs on it."""
    rule = {"name": "a", "when": {"action": "delete"}, "then": "hold"}
    other = {"name": "b", "then": "deny"}

    def binding(*rules: dict[str, Any], **more: Any) -> str:
        return compile_policy({"rules": list(rules), **more}).binding(["a", "default:otherwise"])

    same = binding(rule)
    assert binding(dict(reversed(rule.items()))) == binding(rule, other) == binding(other, rule) == same
    assert binding(rule, caps=[{"name": "c", "simultaneous": 1}]) == same
    changed = [
        binding({**rule, "message": "m"}),
        binding({**rule, "approval": {"expires": "1h"}}),
        binding(rule, approval={"expires": "1h"}),
        binding(other),
    ]
    assert len({same, *changed}) == 5
