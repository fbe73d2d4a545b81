"""Names and what they stand for, while the server may still refuse what was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.statements import MAX_NAME, Change, NameTable, PreparedStatement, SessionNames, server_name
from tests.support.postgres import Postgres


def statement(sql: bytes, name: bytes = b"s") -> PreparedStatement:
    return PreparedStatement(name, (sql,))


A, B, C = (statement(text) for text in (b"A", b"B", b"C"))


class TestNameTable:
    def test_what_the_server_may_have_is_what_was_sent(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        table.change(b"s", A, 0).confirm()
        table.change(b"", B, 1).sent = True
        table.change(b"t", C, 1)
        table.change(b"s", None, 1).sent = True
        assert table.known_to_server() == [A, B]

    def test_names_are_those_that_may_be_in_force(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        for name in (b"", b"s", b"\xff"):
            table.change(name, A, 0).confirm()
        table.change(b"t", B, 1)
        table.change(b"s", None, 1)
        assert table.names() == {"s", "t", "\udcff"}

    def test_what_is_sent_counts_before_it_is_confirmed(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        assert table.get(b"s") is None
        change = table.change(b"s", A, 0)
        assert table.get(b"s") is A
        change.confirm()
        assert table.get(b"s") is A
        assert table.settled(b"s", 99)

    def test_what_the_server_refused_never_was(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        table.change(b"s", A, 0).confirm()
        change = table.change(b"s", B, 1)
        assert table.get(b"s") is B
        change.undo()
        assert table.get(b"s") is A

    def test_a_name_is_closed(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        table.change(b"s", A, 0).confirm()
        close = table.change(b"s", None, 1)
        assert table.get(b"s") is None
        close.undo()
        assert table.get(b"s") is A
        table.change(b"s", None, 2).confirm()
        assert table.get(b"s") is None
        table.change(b"never there", None, 2).confirm()
        assert table.get(b"never there") is None

    def test_it_is_certain_within_the_segment_it_was_sent_in(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        first = table.change(b"s", A, 3)
        assert table.settled(b"s", 3)
        assert not table.settled(b"s", 4)
        assert table.settled(b"another", 4)
        second = table.change(b"s", B, 4)
        assert table.settled(b"s", 4), (
            "whatever became of the first: skipped is all of the segment or nothing"
        )
        second.undo()
        assert not table.settled(b"s", 4)
        first.confirm()
        assert table.settled(b"s", 4)

    def test_changes_of_one_name_end_in_any_order(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        first, second, third = (table.change(b"s", entry, 0) for entry in (A, None, C))
        first.confirm()
        third.undo()
        assert table.get(b"s") is None
        second.confirm()
        assert table.get(b"s") is None
        assert table.entries() == []

    def test_every_entry_that_may_be_in_force(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        table.change(b"s", A, 0).confirm()
        table.change(b"s", B, 1)
        table.change(b"t", C, 1)
        table.change(b"u", None, 1)
        table.change(b"", A, 1)
        table.put(b"", B)
        assert table.entries() == [(b"s", A), (b"s", B), (b"t", C)], "SQL cannot name the unnamed one"

    def test_clearing(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        for name in (b"", b"s", b"t"):
            table.put(name, A)
        table.clear_named()
        assert (table.get(b""), table.get(b"s"), table.get(b"t")) == (A, None, None)
        table.clear()
        assert table.get(b"") is None

    def test_clearing_leaves_what_is_under_way(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        change = table.change(b"s", A, 0)
        table.clear()
        assert table.get(b"s") is A
        change.confirm()
        assert table.get(b"s") is A

    def test_names_written_in_sql_are_cut_as_the_server_cuts_them(self) -> None:
        table: NameTable[PreparedStatement] = NameTable()
        long = b"n" * 100
        table.put(long, A)
        assert table.get(b"n" * MAX_NAME) is A
        table.discard(b"n" * 70)
        assert table.get(b"n" * MAX_NAME) is None
        table.discard(b"never there")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b"s", b"t"]),
            st.sampled_from([A, B, C, None]),
            st.booleans(),
            st.integers(0, 2),
        ),
        max_size=20,
    )
)
def test_a_table_ends_as_the_servers_does(
    steps: list[tuple[bytes, PreparedStatement | None, bool, int]],
) -> None:
    """The server answers in order; ``lag`` is how many answers are outstanding when the next is sent."""
    table: NameTable[PreparedStatement] = NameTable()
    server: dict[bytes, PreparedStatement] = {}
    under_way: list[tuple[Change[PreparedStatement], bool]] = []

    def answer() -> None:
        change, succeeds = under_way.pop(0)
        if not succeeds:
            change.undo()
            return
        change.confirm()
        if change.entry is None:
            server.pop(change.name, None)
        else:
            server[change.name] = change.entry

    for name, entry, succeeds, lag in steps:
        under_way.append((table.change(name, entry, 0), succeeds))
        while len(under_way) > lag:
            answer()
    while under_way:
        answer()
    assert {name: table.get(name) for name in (b"", b"s", b"t")} == {
        name: server.get(name) for name in (b"", b"s", b"t")
    }
    assert sorted(table.entries(), key=lambda entry: entry[0]) == sorted(
        (entry for entry in server.items() if entry[0]), key=lambda entry: entry[0]
    )


class TestSessionNames:
    def test_prepared_by_sql(self) -> None:
        names = SessionNames()
        names.prepared_by_sql(b"s", b"SELECT 1")
        assert names.candidates() == {"s": (b"SELECT 1",)}

    def test_types_declared_for_any_of_the_texts_stay(self) -> None:
        names = SessionNames()
        names.prepared_by_sql(b"s", b"SELECT 1", (20_000,))
        names.prepared_by_sql(b"s", b"SELECT 2", (20_001,))
        held = names.statements.get(b"s")
        assert held is not None
        assert held.declared == (20_000, 20_001)

    def test_prepared_by_sql_over_a_name_that_is_held_may_be_either(self) -> None:
        names = SessionNames()
        names.statements.put(b"s", A)
        names.prepared_by_sql(b"s", b"B")
        assert names.candidates() == {"s": (b"A", b"B")}
        names.prepared_by_sql(b"s", b"A")
        assert names.candidates() == {"s": (b"A",)}

    def test_candidates_are_confirmed_or_not_and_each_text_is_there_once(self) -> None:
        names = SessionNames()
        names.statements.put(b"s", A)
        names.statements.change(b"s", B, 0)
        names.statements.change(b"s", statement(b"A"), 1)
        names.statements.change(b"\xff", C, 1)
        assert names.candidates() == {"s": (b"A", b"B"), "\udcff": (b"C",)}

    def test_portals_are_no_statements(self) -> None:
        names = SessionNames()
        names.statements.put(b"s", A)
        assert names.portals.get(b"s") is None


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        (b"short", b"short"),
        (b"n" * 63, b"n" * 63),
        (b"n" * 64, b"n" * 63),
        ("n" * 62 + "ü", "n" * 62),
        ("ü" * 32, "ü" * 31),
        ("x" + "€" * 21, "x" + "€" * 20),
        ("😀" * 16, "😀" * 15),
    ],
)
def test_long_names_are_cut_between_characters(name: bytes | str, cut: bytes | str) -> None:
    raw = name.encode() if isinstance(name, str) else name
    assert server_name(raw) == (cut.encode() if isinstance(cut, str) else cut)


@pytest.mark.parametrize("name", ["n" * 70, "n" * 62 + "üü", "ü" * 40, "x" + "€" * 30, "😀" * 20])
def test_the_server_cuts_the_same(postgres: Postgres, name: str) -> None:
    with postgres.connect() as connection:
        connection.execute(f'PREPARE "{name}" AS SELECT 1'.encode())
        row = connection.execute("SELECT name FROM pg_prepared_statements").fetchone()
    assert row is not None
    assert row[0].encode() == server_name(name.encode())


def test_texts_that_the_server_has_read_may_be_doubted() -> None:
    names = SessionNames()
    read, unsent = statement(b"A"), statement(b"B", b"t")
    names.statements.put(b"s", read)
    names.statements.change(b"t", unsent, 1)
    names.doubt_texts()
    assert (read.doubtful, unsent.doubtful) == (True, False)
