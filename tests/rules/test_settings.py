"""Settings that would blind the readers or switch protections off."""

import pytest

from rules import Judge, compile_policy
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.settings import guarded_resets, is_harmless, setting, startup
from tests.rules.policies import context


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "UTF8"),
        ("Client_Encoding", "utf-8"),
        ("client_encoding", "'utf-8'"),
        ("client_encoding", "Unicode"),
        ("client_encoding", "default"),
        ("standard_conforming_strings", "ON"),
        ("standard_conforming_strings", " true "),
        ("session_replication_role", "origin"),
        ("work_mem", "1MB"),
        ("work_mem", None),
    ],
)
def test_harmless(name: str, value: str | None) -> None:
    assert setting(name, value).nature is Nature.PLAIN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "LATIN1"),
        ("CLIENT_ENCODING", "sjis"),
        ("client_encoding", "SQL_ASCII"),
        ("client_encoding", "UTF88"),
        ("client_encoding", None),
        ("standard_conforming_strings", "off"),
        ("standard_conforming_strings", "0"),
        ("standard_conforming_strings", ""),
        ("session_replication_role", "replica"),
        (None, "off"),
        (None, None),
    ],
)
def test_guarded(name: str | None, value: str | None) -> None:
    assert setting(name, value).nature is Nature.GUARDED


def test_what_takes_a_list_is_not_guarded() -> None:
    assert setting(None, "a, b").nature is Nature.PLAIN


def test_a_session_begins_with_nothing_that_matters() -> None:
    facts = startup({"client_encoding": "UTF8", "application_name": "psql", "options": "x"})
    assert facts.statements == ()


def test_a_session_begins_with_what_is_guarded() -> None:
    judge = Judge(compile_policy({}))
    verdict = judge.judge_startup({"client_encoding": "LATIN1", "DateStyle": "ISO"}, context()).verdict
    assert (verdict.decision.word, verdict.rule) == ("deny", "default:guarded_settings")
    assert verdict.reason == "client_encoding decides which bytes are quotes, so it stays UTF8"
    allowed = Judge(compile_policy({"defaults": {"guarded_settings": "allow"}}))
    assert allowed.judge_startup({"client_encoding": "LATIN1"}, context()).verdict.decision.word == "allow"


RESET = setting("client_encoding", None, resets=True)


def nature(effect: EffectFacts, *bad: str) -> str:
    (judged,) = guarded_resets(Facts((StatementFacts("SET", "", (effect,)),)), frozenset(bad)).effects
    return judged.nature.name


@pytest.mark.parametrize(
    "effect",
    [
        RESET,
        setting("client_encoding", "DEFAULT"),
        EffectFacts(Action.SESSION, detail="resets all settings", resets=True),
    ],
)
def test_going_back_to_a_bad_default(effect: EffectFacts) -> None:
    assert nature(effect) == "PLAIN"
    assert nature(effect, "client_encoding") == "GUARDED"


@pytest.mark.parametrize(
    "effect",
    [
        setting("work_mem", None, resets=True),
        setting("client_encoding", "UTF8"),
        EffectFacts(Action.SESSION, detail="discard temp"),
        EffectFacts(Action.READ, None),
    ],
)
def test_what_goes_back_to_nothing_bad(effect: EffectFacts) -> None:
    assert nature(effect, "client_encoding") == "PLAIN"


def test_a_reset_is_judged_by_what_the_session_began_with() -> None:
    judge = Judge(compile_policy({}))
    assert judge.judge(b"RESET client_encoding", context()).verdict.decision.word == "allow"
    began = context(bad_defaults=frozenset({"client_encoding"}))
    for sql in (b"RESET client_encoding", b"SET client_encoding TO DEFAULT", b"RESET ALL", b"DISCARD ALL"):
        verdict = judge.judge(sql, began).verdict
        assert verdict.decision.word == "deny"
        assert verdict.reason.endswith("its default in this session is another")
    for sql in (b"SET client_encoding = 'UTF8'", b"RESET work_mem", b"DISCARD TEMP"):
        assert judge.judge(sql, began).verdict.decision.word == "allow"
    assert is_harmless("client_encoding", "UTF8")
