"""What the garbage collector need not look at, and that it is freed all the same."""

import gc
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.collector import spare, spare_what_stays
from rules.catalog import INDEXES, Code, Relation, SchemaSnapshot
from tests.support.catalog import snapshot_of
from tests.support.postgres import Postgres

SCHEMA = (Path(__file__).parent / "catalog" / "schema.sql").read_text()


@dataclass(frozen=True, slots=True)
class Branch:
    parts: tuple[Any, ...]


@dataclass(slots=True)
class Changing:
    parts: tuple[Any, ...]


def test_a_value_and_its_parts_are_looked_at_no_more() -> None:
    code = Code("check", "x")
    relation = Relation(1, "public", "t", "r", ("a",), (23,), unique=(frozenset("a"),), code=(code,))
    spare(relation)
    assert not any(map(gc.is_tracked, (relation, relation.unique, relation.unique[0], relation.code, code)))
    spare(relation)


@pytest.mark.parametrize("part", [[], {"a": []}, Changing(()), SchemaSnapshot()])
def test_what_may_change_is_looked_at_still(part: object) -> None:
    branch = Branch((Branch((part,)), Branch(())))
    spare(branch)
    assert gc.is_tracked(branch)
    assert gc.is_tracked(branch.parts)
    assert not gc.is_tracked(branch.parts[1])
    changing = Changing(())
    spare(changing)
    assert gc.is_tracked(changing)


def test_it_is_freed_when_nobody_refers_to_it() -> None:
    gone: list[str] = []
    # Code tells when it is gone, and is nothing that the collector looks at.
    leaf = compile("1", "leaf", "eval")
    weakref.finalize(leaf, gone.append, "gone")
    branch = Branch((Branch(()), frozenset([1]), Relation(1, "public", "t", "r"), leaf))
    spare(branch)
    assert not gc.is_tracked(branch)
    gc.disable()
    try:
        del leaf, branch
        assert gone == ["gone"]
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def snapshot(postgres: Postgres) -> Iterator[SchemaSnapshot]:
    name = postgres.create_database(None, SCHEMA)
    yield snapshot_of(postgres, name)
    postgres.drop_database(name)


def test_of_a_catalog_nothing_is_looked_at_but_its_lists(snapshot: SchemaSnapshot) -> None:
    lists = (
        snapshot.relations,
        snapshot.types,
        snapshot.functions,
        snapshot.foreign_keys,
        snapshot.operators,
    )
    for one in lists:
        assert one
        assert not any(map(gc.is_tracked, one))
    for index in (each for indexes in INDEXES.values() for each in indexes):
        found = getattr(snapshot, index)
        if isinstance(found, Mapping):
            assert not any(map(gc.is_tracked, found.values())), index


def test_what_stays_is_looked_at_no_more() -> None:
    before = gc.get_freeze_count()
    try:
        spare_what_stays()
        assert gc.get_freeze_count() > before + 1000
    finally:
        gc.unfreeze()
