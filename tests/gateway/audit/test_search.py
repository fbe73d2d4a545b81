"""Reading the audit: what verify finds, what search shows, what is exported."""

import csv
import io
import json
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.audit import AuditFilter, AuditRecord, Kind, VerifyResult, export, search, verify
from gateway.audit.chain import Chain, Segment, segments
from gateway.audit.record import Link, seal
from tests.gateway.audit.samples import NOON, SetClock, lines, record, records, write

DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def days(path: Path) -> Path:
    """Three days with three records each, in three files."""
    clock = SetClock()
    for day in range(3):
        clock.moment = NOON + timedelta(days=day)
        write(
            path,
            [record(3 * day + n, at=clock.now() + timedelta(seconds=n)) for n in (1, 2, 3)],
            clock=clock,
            retention=400 * DAY,
        )
    return path


class TestVerify:
    def test_a_chain_that_is_whole(self, path: Path) -> None:
        write(path, [record(1), record(2)])
        assert verify(path) == VerifyResult(True, 2, None, None, str(path), records(path)[1]["hash"])

    def test_a_chain_of_several_files_that_is_whole(self, days: Path) -> None:
        assert verify(days) == VerifyResult(True, 9, None, None, str(days), records(days)[-1]["hash"])

    def test_an_empty_file_is_whole(self, path: Path) -> None:
        path.touch()
        assert verify(path) == VerifyResult(True, 0, None, None, str(path), None)

    def test_a_file_that_is_not_there_is_an_error(self, path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            verify(path)

    def test_every_changed_byte_is_found_and_its_line_named(self, path: Path) -> None:
        write(path, [record(number, sql=f"SELECT '{number}'") for number in (1, 2)])
        whole = path.read_bytes()
        last = len(whole) - 1
        for position in range(len(whole)):
            for change in (0x01, 0x20):
                changed = bytearray(whole)
                changed[position] ^= change
                path.write_bytes(changed)
                result = verify(path)
                assert not result.ok, (position, change)
                if position != last:
                    assert result.first_bad_line == whole[:position].count(b"\n") + 1
        path.write_bytes(whole)
        assert verify(path).ok

    def test_every_truncation_but_at_a_line_is_found(self, path: Path) -> None:
        write(path, [record(number) for number in (1, 2)])
        whole = path.read_bytes()
        ends = [0, *(position + 1 for position, byte in enumerate(whole) if byte == ord("\n"))]
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            assert verify(path).ok is (size in ends), size

    def test_a_truncation_at_a_line_is_found_by_whoever_kept_a_hash(self, path: Path) -> None:
        write(path, [record(number) for number in (1, 2, 3)])
        known = [one["hash"] for one in records(path)]
        assert verify(path).last_hash == known[2]
        for one in known:
            assert verify(path, contains=one).ok
        path.write_bytes(b"".join(lines(path)[:2]))
        assert verify(path).ok
        assert verify(path, contains=known[1]).ok
        result = verify(path, contains=known[2])
        assert (result.ok, result.records, result.last_hash) == (False, 2, known[1])
        assert (
            result.why
            == "no record has the hash that is known: the end was cut off, or this is another chain"
        )

    def test_every_removed_line_is_found_but_the_last(self, path: Path) -> None:
        write(path, [record(number) for number in range(1, 6)])
        whole = lines(path)
        for removed in range(4):
            path.write_bytes(b"".join(whole[:removed] + whole[removed + 1 :]))
            result = verify(path)
            assert (result.ok, result.first_bad_line) == (False, removed + 1)
            if removed == 0:
                assert result.why is not None
                assert "does not begin with record 1" in result.why

    def test_every_reordering_is_found(self, path: Path) -> None:
        write(path, [record(number) for number in range(1, 6)])
        whole = lines(path)
        for one in range(5):
            for other in range(one):
                swapped = list(whole)
                swapped[one], swapped[other] = swapped[other], swapped[one]
                path.write_bytes(b"".join(swapped))
                assert not verify(path).ok

    def test_every_line_that_was_put_in_or_written_twice_is_found(self, path: Path) -> None:
        write(path, [record(number) for number in range(1, 4)])
        whole = lines(path)
        for at in range(4):
            for put in (*whole, b"\n", b"{}\n", b"\xff\n", b"[" * 9999 + b"\n"):
                path.write_bytes(b"".join([*whole[:at], put, *whole[at:]]))
                assert not verify(path).ok

    def test_a_line_of_another_chain_does_not_fit(self, path: Path, tmp_path: Path) -> None:
        write(path, [record(1), record(2)])
        other = tmp_path / "other.jsonl"
        write(other, [record(1, user="eve"), record(2, user="eve")])
        path.write_bytes(lines(path)[0] + lines(other)[1])
        result = verify(path)
        assert (result.first_bad_line, result.why) == (
            2,
            "the record does not follow the one before: prev is not its hash",
        )

    def test_a_record_rewritten_with_a_good_hash_breaks_the_next(self, path: Path) -> None:
        write(path, [record(1), record(2)])
        forged, _ = seal(record(1, sql="SELECT 'something else'"), Link())
        path.write_bytes(forged + lines(path)[1])
        assert verify(path).first_bad_line == 2

    @pytest.mark.parametrize("gone", [0, 1])
    def test_a_missing_file_is_found(self, days: Path, gone: int) -> None:
        segments(days)[gone].path.unlink()
        result = verify(days)
        assert (result.ok, result.first_bad_line) == (False, 1)

    def test_files_that_changed_places_are_found(self, days: Path) -> None:
        one, other = (segment.path for segment in segments(days)[:2])
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
        assert not verify(days).ok

    def test_the_first_line_of_a_file_may_be_the_bad_one(self, days: Path) -> None:
        days.write_bytes(b"what\n" + days.read_bytes())
        result = verify(days)
        assert (result.ok, result.first_bad_line, result.file) == (False, 1, str(days))

    def test_a_closed_file_with_an_end_cut_off_is_found(self, days: Path) -> None:
        closed = segments(days)[0].path
        closed.write_bytes(closed.read_bytes()[:-1])
        result = verify(days)
        assert (result.ok, result.file) == (False, str(closed))

    def test_while_a_gateway_writes_an_unfinished_record_is_no_fault(self, path: Path) -> None:
        chain = Chain(path, retention=None, clock=SetClock())
        chain.open()
        chain.write([record(1)])
        with path.open("ab") as file:
            file.write(b'{"v":1')
        assert verify(path).why == "6 bytes of an unfinished record at the end"
        assert verify(path).ok
        chain.close()
        result = verify(path)
        assert (result.ok, result.records) == (False, 1)
        assert result.why == "6 bytes after the last record: a crash leaves them, or the end was cut off"

    def test_a_first_record_without_its_end_is_found(self, path: Path) -> None:
        write(path, [record(1)])
        path.write_bytes(path.read_bytes()[:-1])
        assert not verify(path).ok

    @pytest.mark.parametrize("first", ["renamed", "removed"])
    def test_a_file_begun_or_removed_meanwhile_is_no_fault(
        self, days: Path, monkeypatch: pytest.MonkeyPatch, first: str
    ) -> None:
        module = import_module("gateway.audit.search")
        stale = [Segment(1, days)] if first == "renamed" else [Segment(1, days.with_name("gone"))]
        listings = iter([stale])
        monkeypatch.setattr(module, "segments", lambda path: next(listings, None) or segments(path))
        assert verify(days).records == 9


class TestSearch:
    def seqs(
        self, path: Path, order: Literal["newest", "oldest"], limit: int, **filters: Any
    ) -> list[list[int]]:
        """The numbers of the records, page by page."""
        pages: list[list[int]] = []
        cursor: str | None = None
        while True:
            page = search(path, AuditFilter(**filters), cursor=cursor, limit=limit, order=order)
            pages.append([one["seq"] for one in page.records])
            cursor = page.cursor
            if cursor is None:
                return pages

    @pytest.mark.parametrize("limit", [1, 2, 4, 100])
    @pytest.mark.parametrize("order", ["newest", "oldest"])
    def test_pages_go_through_all_files_once(
        self, days: Path, order: Literal["newest", "oldest"], limit: int
    ) -> None:
        pages = self.seqs(days, order, limit)
        wanted = list(range(1, 10))
        assert [seq for page in pages for seq in page] == (wanted if order == "oldest" else wanted[::-1])
        assert all(len(page) == limit for page in pages[:-1])

    def test_what_comes_meanwhile_does_not_move_the_pages(self, days: Path) -> None:
        first = search(days, AuditFilter(), limit=4)
        write(days, [record(99)], clock=SetClock(NOON + timedelta(days=9)), retention=400 * DAY)
        second = search(days, AuditFilter(), limit=4, cursor=first.cursor)
        assert [one["seq"] for one in (*first.records, *second.records)] == [9, 8, 7, 6, 5, 4, 3, 2]

    def test_a_page_reads_only_so_much(self, days: Path) -> None:
        page = search(days, AuditFilter(user="nobody"), max_scan=1)
        assert page.records == []
        assert page.cursor is not None

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ({}, [1, 2, 3, 4, 5]),
            ({"kind": "statement"}, [1, 2, 3]),
            ({"user": "bob"}, [2]),
            ({"database": "other"}, [3]),
            ({"session_id": "S-9"}, [3]),
            ({"hold_id": "H-1"}, [2, 4]),
            ({"verdict": "hold"}, [2, 4]),
            ({"rule": "erasure"}, [2, 4]),
            ({"action": "delete"}, [2]),
            ({"relation": "public.customer"}, [2]),
            ({"relation": "customer"}, []),
            ({"text": "DELETE from"}, [2]),
            ({"text": "STRASSE"}, [3]),
            ({"since": NOON + timedelta(seconds=3)}, [3, 4, 5]),
            ({"until": NOON + timedelta(seconds=3)}, [1, 2]),
            ({"since": NOON + timedelta(seconds=2), "until": NOON + timedelta(seconds=3)}, [2]),
            ({"kind": "statement", "user": "alice"}, [1, 3]),
        ],
    )
    def test_records_are_chosen_by_what_they_say(
        self, path: Path, filters: dict[str, Any], found: list[int]
    ) -> None:
        held = {"hold_id": "H-1", "verdict": "hold", "rule": "erasure"}
        write(
            path,
            [
                record(1),
                record(
                    2,
                    user="bob",
                    sql="DELETE FROM customer",
                    actions=("delete",),
                    relations=("public.customer",),
                    **held,
                ),
                record(3, database="other", session_id="S-9", sql="SELECT 'Straße'"),
                record(4, kind=Kind.HOLD, sql=None, **held),
                AuditRecord(Kind.GATEWAY, at=NOON + timedelta(seconds=5), tag="stop"),
            ],
        )
        assert self.seqs(path, "oldest", 100, **filters) == [found]

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "newest", "newest:", "newest:1", "oldest:1:0", "newest:1:x", "newest:-1:0", "newest:²:1"],
    )
    def test_a_cursor_of_something_else_is_refused(self, days: Path, cursor: str) -> None:
        with pytest.raises(ValueError, match="the cursor is not one of this listing"):
            search(days, AuditFilter(), cursor=cursor)

    def test_a_cursor_beyond_the_end_finds_nothing_new(self, days: Path) -> None:
        assert search(days, AuditFilter(), cursor="oldest:7:999999999", order="oldest").records == []
        assert len(search(days, AuditFilter(), cursor="newest:7:999999999").records) == 9

    def test_lines_that_are_no_records_are_passed_over(self, path: Path) -> None:
        write(path, [record(1), record(2)])
        one, two = lines(path)
        path.write_bytes(one + b"what\n" + b"[" * 9999 + b"\n" + two + b"torn")
        assert self.seqs(path, "newest", 100) == [[2, 1]]
        assert self.seqs(path, "oldest", 100) == [[1, 2]]

    def test_nothing_is_found_where_nothing_is(self, path: Path) -> None:
        assert search(path, AuditFilter()).records == []


class TestExport:
    def test_lines_are_exported_as_they_are(self, days: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.jsonl"
        out.write_bytes(b"".join(export(days, AuditFilter())))
        assert verify(out).records == 9

    def test_only_what_matches_is_exported(self, days: Path) -> None:
        exported = [json.loads(line) for line in export(days, AuditFilter(text="SELECT 4"))]
        assert [one["sql"] for one in exported] == ["SELECT 4"]

    def test_csv_has_a_header_and_no_formulas(self, path: Path) -> None:
        formulas = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"]
        write(path, [record(number, sql=sql, parameters=(sql, None)) for number, sql in enumerate(formulas)])
        rows = list(
            csv.reader(io.StringIO(b"".join(export(path, AuditFilter(), "csv")).decode(), newline=""))
        )
        assert rows[0] == list(records(path)[0])
        shown = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
        assert [row["sql"] for row in shown] == ["'" + formula for formula in formulas]
        assert shown[0]["parameters"] == '["=1+1", null]'
        assert shown[0]["reason"] == ""
        assert shown[0]["rows"] == "1"

    def test_csv_of_nothing_is_nothing(self, days: Path) -> None:
        assert list(export(days, AuditFilter(user="nobody"), "csv")) == []

    def test_a_line_that_is_no_record_stops_it(self, path: Path) -> None:
        write(path, [record(1)])
        with path.open("ab") as file:
            file.write(b"what\n")
        exported = export(path, AuditFilter())
        assert next(exported)
        with pytest.raises(ValueError, match="not a record"):
            next(exported)
