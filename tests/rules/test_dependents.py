"""What goes along when something is dropped with CASCADE."""

from typing import Any

import pytest

from rules import compile_policy
from rules.catalog import Code, Function, Namespace, Operator, Relation, SchemaSnapshot, Trigger, Type
from rules.dependents import Dependents
from rules.world import World
from tests.rules.policies import STRICT

_MOOD, _MOODS, _CALM, _PAIR = 17001, 17002, 17003, 17004


def _relation(oid: int, name: str, schema: str = "public", **more: Any) -> Relation:
    return Relation(oid, schema, name, **{"kind": "r", "columns": ("a",), "types": (23,), **more})


def _world(*relations: Relation, **more: Any) -> World:
    catalog = SchemaSnapshot(
        generation=1,
        server_version=180000,
        namespaces=(Namespace("aa"), Namespace("public"), Namespace("Odd")),
        relations=(
            _relation(1, "t", "aa"),
            _relation(2, "child", parents=(1,)),
            _relation(3, "shown", kind="v", definition="SELECT t.a FROM aa.t;"),
            _relation(4, "kept", kind="m", definition="SELECT shown.a FROM public.shown;"),
            _relation(5, "unread", kind="m"),
            _relation(6, "worked_out", code=(Code("generated", "aa.f(a)", "a"),)),
            _relation(7, "checked", code=(Code("check", "aa.f(a) > 0"), Code("default", "aa.f(1)", "a"))),
            _relation(8, "sorted", code=(Code("collation", "aa.mine", "a"),)),
            _relation(9, "moody", types=(_MOODS,)),
            _relation(10, "calm", types=(_CALM,)),
            _relation(11, "pair", kind="c", types=(_MOOD,)),
            _relation(12, "paired", types=(_PAIR,)),
            _relation(13, "apart", code=(Code("generated", "bb.f(a)", "a"),)),
            _relation(14, "alike", kind="v", definition="SELECT 1 AS aa, xaa.t FROM public.xaa;"),
            _relation(15, "sums", code=(Code("generated", "(a OPERATOR(public.+) 'x'::text)", "a"),)),
            *relations,
        ),
        types=(
            Type(_MOOD, "aa", "mood", "e"),
            Type(_MOODS, "aa", "_mood", "b", element=_MOOD),
            Type(_CALM, "public", "calm", "d", base=_MOOD),
            Type(_PAIR, "public", "pair", "c", relation=11),
        ),
        functions=(
            Function(20, "aa", "f", "f", "sql", "i"),
            Function(21, "public", "of_mood", "f", "sql", "i", arguments=(_MOOD,)),
        ),
        operators=(Operator("public", "+", 23, 25, 21),),
        **more,
    )
    return World(compile_policy(STRICT).personal, catalog)


def _names(relations: list[Relation] | None) -> set[str] | None:
    return None if relations is None else {one.name for one in relations}


def test_a_schema_takes_along_what_cannot_be_without_it() -> None:
    assert _names(Dependents(_world()).of_schema("aa")) == {
        "t", "child", "shown", "kept", "unread", "worked_out", "sorted", "moody", "calm", "pair", "paired", "sums",
    }  # fmt: skip


def test_an_empty_schema_takes_nothing_along_but_what_could_not_be_read() -> None:
    assert _names(Dependents(_world()).of_schema("Odd")) == {"unread"}
    quoted = _relation(30, "quoted", kind="v", definition='SELECT 1 FROM "Odd".t;')
    assert _names(Dependents(_world(quoted)).of_schema("Odd")) == {"unread", "quoted"}


def test_where_more_hangs_on_a_schema_nothing_is_certain() -> None:
    watched = _relation(30, "watched", triggers=(Trigger("t", frozenset(["delete"]), 20),))
    assert Dependents(_world(watched)).of_schema("aa") is None
    assert Dependents(_world(extensions={"citext": "aa"})).of_schema("aa") is None
    assert Dependents(_world()).of_schema("unknown") is None


@pytest.mark.parametrize(
    ("relation", "expected"),
    [("t", {"t", "child", "shown", "kept", "unread"}), ("shown", {"shown", "kept", "unread"})],
)
def test_a_relation_takes_views_and_children_along(relation: str, expected: set[str]) -> None:
    world = _world()
    (one,) = [one for one in world.catalog.relations if one.name == relation]
    assert _names(Dependents(world).of([one])) == expected


def test_a_type_takes_columns_along() -> None:
    assert _names(Dependents(_world()).of(types=[_MOOD])) == {
        "moody", "calm", "pair", "paired", "unread", "sums",
    }  # fmt: skip
