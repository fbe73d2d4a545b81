"""The table."""

from tests.regression.readers import Reading, ReadingKind
from tests.regression.table import Table


def test_rows_add_up() -> None:
    table = Table()
    table.add("a", Reading("SELECT 1", ReadingKind.BOTH, seconds=0.002))
    table.add("a", Reading("SELECT\n2", ReadingKind.NONE, seconds=0.25))
    table.add("b", Reading("SELECT 3", ReadingKind.BOTH))
    header, first, second, total, longest = table.lines()
    assert header.split()[:2] == ["both", "one"]
    assert [line.split()[::8] for line in (first, second, total)] == [["a", "0"], ["b", "0"], ["all", "0"]]
    assert [line.split()[-1] for line in (first, second, total)] == ["2", "1", "3"]
    assert total.split()[1] == "2"
    assert longest == "longest: 250 ms for SELECT 2"
    assert table.broken == 0


def test_what_a_reader_did_not_survive_is_counted() -> None:
    table = Table()
    for kind in (ReadingKind.RAISED, ReadingKind.DIED, ReadingKind.STALLED, ReadingKind.NOT_GRAMMAR):
        table.add("a", Reading("x", kind))
    assert table.broken == 3
