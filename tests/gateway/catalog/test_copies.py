"""Copies of personal data: expected by name, then followed by number."""

from dataclasses import replace

import pytest

from gateway.catalog import copies as module
from gateway.catalog.copies import Copies, Copy, filled
from rules.catalog import Relation, SchemaSnapshot

PLAIN = Relation(20_000, "public", "plain", "r", ("a",), (25,))
COPY = Relation(20_001, "public", "copy", "r", ("a", "e"), (23, 25))
VIEW = Relation(20_002, "public", "view", "v", ("e",), (25,), definition="SELECT")
BEFORE = SchemaSnapshot(6, "d", 180_000, relations=(PLAIN,))
SNAPSHOT = SchemaSnapshot(7, "d", 180_000, relations=(PLAIN, COPY, VIEW))


def expecting(*names: str, columns: tuple[str, ...] = ("e",), label: str = "") -> Copies:
    """Copies of these names that are about to be made where there is only ``plain``."""
    copies = Copies(label)
    copies.expect([Copy("public", name, columns, ("a",)) for name in names], BEFORE)
    return copies


def marks(snapshot: SchemaSnapshot) -> dict[str, tuple[str, ...]]:
    return {relation.name: relation.copied for relation in snapshot.relations if relation.copied}


def test_the_copies_among_what_is_created() -> None:
    made = Relation(0, "public", "c", "r", ("a", "e"), copied=("e",), copied_subject=("a",))
    assert Copy.among([PLAIN, made]) == (Copy("public", "c", ("e",), ("a",)),)


def test_without_copies_the_snapshot_is_left_as_it_is() -> None:
    assert Copies().marked(SNAPSHOT, 1) is SNAPSHOT
    assert expecting("nowhere").marked(SNAPSHOT, 1) is SNAPSHOT


def test_a_copy_is_marked_and_keeps_what_else_is_known() -> None:
    marked = expecting("copy").marked(SNAPSHOT, 1)
    assert marks(marked) == {"copy": ("e",)}
    assert marked.by_name["public", "copy"] == replace(COPY, copied=("e",), copied_subject=("a",))
    assert marked.by_oid[COPY.oid].copied == ("e",)
    assert (marked.generation, len(marked.relations)) == (7, 3)


def test_what_had_the_name_before_is_no_copy() -> None:
    # CREATE TABLE IF NOT EXISTS … AS, or one that fails.
    assert marks(expecting("plain").marked(SNAPSHOT, 1)) == {}
    without = Copies()
    without.expect([Copy("public", "plain", ("a",))], None)
    assert marks(without.marked(SNAPSHOT, 1)) == {"plain": ("a",)}


def test_a_view_is_no_copy() -> None:
    assert marks(expecting("view").marked(SNAPSHOT, 1)) == {}


def test_a_copy_is_followed_and_its_name_is_not() -> None:
    copies = expecting("copy")
    copies.marked(SNAPSHOT, 1)
    renamed = SchemaSnapshot(
        8, "d", 180_000, relations=(replace(COPY, name="innocent"), replace(PLAIN, name="copy"))
    )
    assert marks(copies.marked(renamed, 2)) == {"innocent": ("e",)}
    anew = SchemaSnapshot(9, "d", 180_000, relations=(replace(COPY, oid=20_009),))
    assert marks(copies.marked(anew, 3)) == {}
    assert marks(copies.marked(SNAPSHOT, 4)) == {}


def test_a_marked_column_that_goes_by_another_name_marks_all() -> None:
    copies = expecting("copy")
    other = SchemaSnapshot(8, "d", 180_000, relations=(replace(COPY, columns=("id", "harmless")),))
    marked = copies.marked(other, 1).by_oid[COPY.oid]
    assert (marked.copied, marked.copied_subject) == (("*",), ())
    whole = expecting("copy", columns=("*",)).marked(other, 1).by_oid[COPY.oid]
    assert whole.copied == ("*",)


def test_what_is_not_there_once_it_should_be_is_forgotten() -> None:
    copies = Copies()
    expected = copies.expect([Copy("public", "later", ("e",))], BEFORE)
    later = SchemaSnapshot(9, "d", 180_000, relations=(Relation(20_009, "public", "later", "r", ("e",)),))
    for changes in (1, 100):
        assert marks(copies.marked(SNAPSHOT, changes)) == {}
    copies.settle(expected, 101)
    assert marks(copies.marked(SNAPSHOT, 100)) == {}
    assert marks(copies.marked(SNAPSHOT, None)) == {}
    assert marks(copies.marked(later, 101)) == {"later": ("e",)}
    expected = copies.expect([Copy("public", "never", ("e",))], later)
    copies.settle(expected, 102)
    copies.marked(later, 102)
    never = replace(later, relations=(*later.relations, Relation(20_010, "public", "never", "r", ("e",))))
    assert marks(copies.marked(never, 103)) == {"later": ("e",)}


def test_what_was_rolled_back_is_forgotten_at_once() -> None:
    copies = Copies()
    expected = copies.expect([Copy("public", "copy", ("e",))], BEFORE)
    copies.give_up(expected)
    copies.give_up(expected)
    assert marks(copies.marked(SNAPSHOT, 1)) == {}


def test_one_sessions_own_reading_proves_nothing_for_others() -> None:
    copies = expecting("copy")
    assert marks(copies.marked(SNAPSHOT)) == {"copy": ("e",)}
    # It rolled back; another makes it.
    other = SchemaSnapshot(8, "d", 180_000, relations=(replace(COPY, oid=20_005),))
    assert marks(copies.marked(BEFORE, 1)) == {}
    assert marks(copies.marked(other, 2)) == {"copy": ("e",)}


def test_the_operator_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    copies = expecting("copy", label="shop")
    copies.marked(SNAPSHOT, 1)
    copies.marked(SNAPSHOT, 2)
    (record,) = caplog.records
    assert record.getMessage().startswith("public.copy in database shop holds copies of personal data (e);")


def test_those_that_never_come_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXPECTED", 2)
    copies = expecting("copy", "b", "c")
    assert marks(copies.marked(SNAPSHOT, 1)) == {}
    assert len(copies._expected) == 2


class TestFilled:
    def test_what_is_put_into_a_table_marks_it_at_once(self) -> None:
        copies = Copies()
        assert copies.fill([Copy("public", "copy", ("e",), ("a",), COPY.oid)])
        marked = copies.marked(SNAPSHOT, generation=20)
        assert (marks(marked), marked.generation) == ({"copy": ("e",)}, 20)
        assert not copies.fill([Copy("public", "copy", ("e",), (), COPY.oid)])
        assert copies.fill([Copy("public", "copy", ("a",), (), COPY.oid)])
        assert copies.marked(SNAPSHOT).by_oid[COPY.oid].copied == ("e", "a")
        assert copies.marked(SNAPSHOT).by_oid[COPY.oid].copied_subject == ("a",)

    def test_a_table_that_is_not_committed_yet_is_remembered(self) -> None:
        copies = Copies()
        copies.fill([Copy("public", "copy", ("e",), (), COPY.oid)])
        assert copies.marked(BEFORE, 1) is BEFORE
        assert marks(copies.marked(SNAPSHOT, 2)) == {"copy": ("e",)}
        copies.marked(BEFORE, 3)
        assert marks(copies.marked(SNAPSHOT, 4)) == {}

    def test_the_next_statement_of_a_request_finds_it_marked(self) -> None:
        fills = [
            Relation(COPY.oid, "public", "copy", "r", copied=("e",)),
            Relation(-1, "x", "x", "r", copied=("e",)),
        ]
        found = filled(SNAPSHOT, fills, 20)
        assert (marks(found), found.generation) == ({"copy": ("e",)}, 20)

    def test_what_the_server_has_not_numbered_is_known_by_name(self) -> None:
        made = Relation(-3, "public", "c", "r", ("a", "e"), copied=("e",))
        assert Copy.among([made]) == (Copy("public", "c", ("e",)),)
