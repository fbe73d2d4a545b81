"""Answers of readers: facts, whole and of the right types, or nothing."""

import copy
import io
import os
import pickle
from typing import Any

import pytest

from gateway.readers.process import Reader
from gateway.readers.reply import MalformedReply, facts_from
from rules import Action, EffectFacts, Facts, RowBound, StatementFacts
from rules.catalog import Relation
from tests.rules.catalogs import SHOP
from tests.rules.policies import context, strict_judge
from tests.rules.test_redteam import LINES

JUDGE = strict_judge()
EFFECT = EffectFacts(Action.DELETE, "crm.customers", ("*",), RowBound("bounded", 2), classes=frozenset({"a"}))
FACTS = Facts(
    (StatementFacts("DELETE", "DELETE FROM customers", (EFFECT,), "both"),),
    prepares=(("s", "SELECT 1"),),
    creates=(Relation(1, "crm", "t", "r", comments={"": "people"}),),
)


def test_all_that_is_read_of_the_corpus_has_the_shape_of_facts() -> None:
    session = context(catalog=SHOP)
    for sql in (line["sql"] for line in LINES if isinstance(line.get("sql"), str)):
        facts = JUDGE.read(sql.encode(), session)
        assert facts_from(pickle.dumps(facts)) == facts


def test_what_a_reader_says_first() -> None:
    assert facts_from(pickle.dumps(None)) is None


def but(value: Any, **changes: object) -> Any:
    """The same with other fields, whatever becomes of it."""
    made = copy.copy(value)
    for name, other in changes.items():
        object.__setattr__(made, name, other)
    return made


def effects(*ones: object) -> Any:
    return but(FACTS, statements=(but(FACTS.statements[0], effects=ones),))


class Evil:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    "answer",
    [Evil(), io.BytesIO(), Reader, JUDGE.read, JUDGE, but(FACTS, unreadable=Evil())],
)
def test_it_can_name_no_code(answer: object) -> None:
    with pytest.raises(MalformedReply, match="cannot be taken"):
        facts_from(pickle.dumps(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "facts",
        Facts,
        EFFECT,
        but(FACTS, statements=[FACTS.statements[0]]),
        but(FACTS, statements="DELETE"),
        but(FACTS, statements=(EFFECT,)),
        but(FACTS, unreadable=False),
        but(FACTS, changes_context=0),
        but(FACTS, prepares=(("s",),)),
        but(FACTS, prepares=(("s", 1),)),
        but(FACTS, deallocates=(1,)),
        but(FACTS, creates=(but(FACTS.creates[0], comments={1: "people"}),)),
        but(FACTS, creates=(but(FACTS.creates[0], comments={"": None}),)),
        effects(but(EFFECT, action="delete")),
        effects(but(EFFECT, classes=("a",))),
        effects(but(EFFECT, classes=frozenset({1}))),
        effects(but(EFFECT, row_bound=but(EFFECT.row_bound, kind="none"))),
        effects(but(EFFECT, row_bound=but(EFFECT.row_bound, n=2.0))),
        effects(None),
    ],
)
def test_what_is_not_shaped_like_facts_is_no_answer(answer: object) -> None:
    with pytest.raises(MalformedReply, match="shape"):
        facts_from(pickle.dumps(answer))


def test_a_field_that_is_missing_is_no_answer() -> None:
    # Facts made from a state that ends behind the first field.
    with pytest.raises(MalformedReply, match="shape"):
        facts_from(b"\x80\x05\x8c\x0brules.facts\x8c\x05Facts\x93)\x81]()eb.")


def test_bytes_that_are_no_pickle() -> None:
    with pytest.raises(MalformedReply, match="cannot be taken"):
        facts_from(b".x")
