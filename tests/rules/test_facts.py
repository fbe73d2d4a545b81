"""What a message's facts say about the messages, and the statements, behind it."""

import pytest

from rules.facts import Action, EffectFacts, Facts, Nature, RowBound, StatementFacts

READ = EffectFacts(Action.READ, "customer", ("email",))
CALL = EffectFacts(Action.CALL, "pg_catalog.set_config")
OPAQUE = EffectFacts(Action.CALL, "f", nature=Nature.OPAQUE)
DDL = EffectFacts(Action.DDL, "public.t")
COMMIT = EffectFacts(Action.UTILITY, detail="COMMIT")
LOCK = EffectFacts(Action.UTILITY, "customer")


def sets(name: str | None) -> EffectFacts:
    return EffectFacts(Action.SESSION, name)


def facts(*statements: tuple[EffectFacts, ...], changes_context: bool = True) -> Facts:
    found = tuple(StatementFacts("SET", "", effects) for effects in statements)
    return Facts(found, changes_context=changes_context)


class TestChangesReading:
    @pytest.mark.parametrize("effect", [sets("search_path"), sets("role"), sets(None), CALL, OPAQUE, DDL])
    def test_a_text_may_be_read_otherwise_afterwards(self, effect: EffectFacts) -> None:
        assert facts((effect,)).changes_reading

    @pytest.mark.parametrize("effect", [sets("work_mem"), sets("transaction"), READ, COMMIT, LOCK])
    def test_or_not(self, effect: EffectFacts) -> None:
        assert not facts((effect,)).changes_reading

    def test_a_call_counts_only_where_the_reader_says_so(self) -> None:
        assert not facts((CALL,), changes_context=False).changes_reading

    def test_what_was_not_read_may_have_done_anything(self) -> None:
        assert Facts((), "no SQL").changes_reading
        assert Facts((), changes_catalog=True).changes_reading


def test_a_bound_as_text() -> None:
    assert str(RowBound.at_most(-1)) == "BOUNDED(0)"
