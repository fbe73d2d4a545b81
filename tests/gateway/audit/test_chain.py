"""The audit's files: continued, rotated, removed in time, and put right after a crash."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import verify
from gateway.audit.chain import Chain, ChainError, Segment, first_record, last_line, lines_back, segments
from tests.gateway.audit.samples import NOON, SetClock, lines, record, records, write
from tests.support.disk import full_disk

DAY = 86_400.0


@contextmanager
def open_chain(
    path: Path, *, retention: float | None = None, clock: SetClock | None = None
) -> Iterator[Chain]:
    chain = Chain(path, retention=retention, clock=clock or SetClock())
    chain.open()
    try:
        yield chain
    finally:
        chain.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


class TestWriting:
    def test_a_new_file_is_its_owners(self, path: Path) -> None:
        with open_chain(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_an_old_file_becomes_its_owners(self, path: Path) -> None:
        path.touch(mode=0o644)
        with open_chain(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_the_chain_goes_on_where_it_ended(self, path: Path) -> None:
        write(path, [record(1), record(2)])
        write(path, [record(3)])
        assert [one["seq"] for one in records(path)] == [1, 2, 3]
        assert verify(path).ok

    def test_records_of_one_batch_follow_each_other(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(number) for number in range(1, 6)])
        assert verify(path).records == 5

    def test_nothing_written_is_nothing_there(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([])
        assert path.read_bytes() == b""

    def test_another_gateway_is_refused_until_the_first_lets_go(self, path: Path) -> None:
        with open_chain(path) as first:
            with pytest.raises(ChainError, match=f"another gateway writes {path}"), open_chain(path):
                raise AssertionError("two writers")
            first.write([record()])
        with open_chain(path) as second:
            second.write([record()])
        assert verify(path).ok

    @pytest.mark.parametrize("kind", ["directory", "link", "pipe", "device"])
    def test_only_a_file_is_written(self, path: Path, kind: str) -> None:
        if kind == "directory":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(path.with_name("elsewhere"))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path = Path("/dev/full")
        with pytest.raises(OSError, match=r"Is a directory|symbolic links|not a regular file"):
            Chain(path, retention=None, clock=SetClock()).open()

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Chain(tmp_path / "nowhere" / "audit.jsonl", retention=None, clock=SetClock()).open()


class TestCrashes:
    def test_an_unfinished_record_is_put_aside_and_said(self, path: Path) -> None:
        write(path, [record(1), record(2)])
        whole = path.read_bytes()
        path.write_bytes(whole + b'{"v":1,"seq":3,"at":"20')
        write(path, [record(3)])
        assert [(one["seq"], one["tag"]) for one in records(path)] == [
            (1, "SELECT 1"),
            (2, "SELECT 1"),
            (3, "recovered"),
            (4, "SELECT 1"),
        ]
        kept = path.with_name("audit.jsonl.torn-20300131T120000.000Z")
        assert kept.read_bytes() == b'{"v":1,"seq":3,"at":"20'
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert records(path)[2]["reason"] == f"an unfinished record of 23 bytes was put aside in {kept.name}"
        assert verify(path).ok

    def test_a_first_record_that_was_never_finished(self, path: Path) -> None:
        path.write_bytes(b'{"v":1')
        write(path, [record(1)])
        assert [one["tag"] for one in records(path)] == ["recovered", "SELECT 1"]
        assert verify(path).ok

    def test_a_large_unfinished_record_is_kept_whole(self, path: Path) -> None:
        write(path, [record(1)])
        torn = b"x" * 200_000
        with path.open("ab") as file:
            file.write(torn)
        write(path, [])
        assert path.with_name("audit.jsonl.torn-20300131T120000.000Z").read_bytes() == torn
        assert verify(path).ok

    @pytest.mark.parametrize("damage", [b"no record\n", b"\n", b"{}\n", b"\xff\xfe\n"])
    def test_an_end_that_was_damaged_is_not_continued(self, path: Path, damage: bytes) -> None:
        write(path, [record(1)])
        with path.open("ab") as file:
            file.write(damage)
        before = path.read_bytes()
        with pytest.raises(
            ChainError, match=r"cannot be continued \(.*; run holdgate audit verify, then move"
        ):
            Chain(path, retention=None, clock=SetClock()).open()
        assert path.read_bytes() == before

    def test_a_file_of_something_else_is_not_touched(self, path: Path) -> None:
        path.write_text("my shopping list\n")
        with pytest.raises(ChainError, match="cannot be continued"):
            Chain(path, retention=None, clock=SetClock()).open()
        assert path.read_text() == "my shopping list\n"


class TestTrouble:
    def test_what_does_not_fit_leaves_nothing_and_comes_when_there_is_room(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(1)])
            size = path.stat().st_size
            for room in (0, 1, 100):
                with full_disk(path, room), pytest.raises(OSError, match="File too large"):
                    chain.write([record(2), record(3)])
                assert path.stat().st_size == size
            chain.write([record(2), record(3)])
        assert [one["statement_id"] for one in records(path)] == ["S-1.1", "S-1.2", "S-1.3"]
        assert verify(path).ok

    def test_what_was_not_synced_is_written_anew(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sync = os.fsync

        def fails(file: int) -> None:
            raise OSError(5, "Input/output error")

        with open_chain(path) as chain:
            chain.write([record(1)])
            monkeypatch.setattr(os, "fsync", fails)
            with pytest.raises(OSError, match="Input/output error"):
                chain.write([record(2)])
            # Neither can it be cut back, so the file is opened anew once the disk is well.
            monkeypatch.setattr(os, "ftruncate", lambda file, size: fails(file))
            with pytest.raises(OSError, match="Input/output error"):
                chain.write([record(2)])
            monkeypatch.setattr(os, "fsync", sync)
            with pytest.raises(OSError, match="Input/output error"):
                chain.write([record(2)])
            monkeypatch.undo()
            chain.write([record(2)])
        assert [one["statement_id"] for one in records(path)] == ["S-1.1", "S-1.2"]
        assert verify(path).ok

    def test_a_file_that_was_moved_away_is_followed_by_one_that_says_so(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(1)])
            path.rename(path.with_name("taken"))
            chain.write([record(2)])
        assert [one["tag"] for one in records(path)] == ["recovered", "SELECT 1"]
        # The new file hangs on the old one: put in front of it, they are one chain.
        path.with_name("taken").rename(path.with_name("audit.jsonl.000000000001"))
        assert verify(path).ok

    def test_another_file_in_its_place_is_not_written(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(1)])
            path.rename(path.with_name("taken"))
            path.write_text("something else\n")
            for _ in range(3):
                with pytest.raises(ChainError, match="another file was put in the place of"):
                    chain.write([record(2)])
            assert path.read_text() == "something else\n"
            path.unlink()
            chain.write([record(2)])
        assert [one["seq"] for one in records(path)] == [2, 3]

    def test_lines_that_others_append_are_left_for_verify_to_name(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(1)])
            with path.open("ab") as file:
                file.write(b"what is this\n")
            chain.write([record(2)])
        assert lines(path)[1] == b"what is this\n"
        result = verify(path)
        assert (result.ok, result.first_bad_line) == (False, 2)

    def test_an_end_that_is_cut_off_under_the_gateway_shows(self, path: Path) -> None:
        with open_chain(path) as chain:
            chain.write([record(1)])
            chain.write([record(2)])
            os.truncate(path, len(lines(path)[0]))
            chain.write([record(3)])
        result = verify(path)
        assert (result.ok, result.first_bad_line, result.why) == (False, 2, "record 3 follows record 1")


class TestRotation:
    def test_without_a_retention_there_is_one_file(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, clock=clock) as chain:
            chain.write([record(1)])
            clock.forward(days=400)
            chain.write([record(2)])
        assert [one.name for one in path.parent.iterdir()] == ["audit.jsonl"]

    def test_a_new_day_begins_a_new_file_and_the_chain_goes_on(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, retention=400 * DAY, clock=clock) as chain:
            chain.write([record(1), record(2)])
            clock.forward(hours=11, minutes=59)
            chain.write([record(3)])
            clock.forward(minutes=2)
            chain.write([record(4)])
            chain.write([record(5)])
            clock.forward(days=1)
            chain.write([record(6)])
        assert segments(path) == [
            Segment(1, path.with_name("audit.jsonl.000000000001")),
            Segment(4, path.with_name("audit.jsonl.000000000004")),
            Segment(6, path),
        ]
        assert [len(lines(segment.path)) for segment in segments(path)] == [3, 2, 1]
        assert verify(path).records == 6

    def test_the_day_is_remembered_over_a_restart(self, path: Path) -> None:
        clock = SetClock()
        write(path, [record(1, at=clock.now())], clock=clock, retention=400 * DAY)
        clock.forward(days=1)
        write(path, [record(2, at=clock.now())], clock=clock, retention=400 * DAY)
        assert [segment.first for segment in segments(path)] == [1, 2]
        assert verify(path).ok

    def test_a_restart_after_a_rotation_before_the_first_record(self, path: Path) -> None:
        write(path, [record(1)], retention=400 * DAY)
        path.rename(path.with_name("audit.jsonl.000000000001"))
        write(path, [record(2)], retention=400 * DAY)
        assert [one["seq"] for one in records(path)] == [2]
        assert verify(path).records == 2

    def test_an_empty_day_makes_no_file(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, retention=400 * DAY, clock=clock) as chain:
            clock.forward(days=3)
            chain.write([record(1)])
        assert [segment.first for segment in segments(path)] == [1]

    def test_what_is_past_its_retention_goes_and_the_chain_says_so(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, retention=2 * DAY, clock=clock) as chain:
            for day in range(6):
                clock.moment = NOON + timedelta(days=day)
                chain.write([record(day, at=clock.now())])
        kept = segments(path)
        assert not path.with_name("audit.jsonl.000000000001").exists()
        assert all(one["at"] >= "2030-02-03" for segment in kept for one in records(segment.path))
        notes = [one for segment in kept for one in records(segment.path) if one["tag"] == "pruned"]
        assert notes
        assert "are past their retention" in notes[-1]["reason"]
        result = verify(path)
        assert result.ok, result.why

    def test_a_file_with_one_record_that_is_young_enough_is_kept_whole(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, retention=2 * DAY, clock=clock) as chain:
            chain.write([record(1, at=NOON), record(2, at=NOON + timedelta(hours=11))])
            clock.moment = NOON + timedelta(days=2, hours=10)
            chain.write([record(3, at=clock.now())])
            assert [segment.first for segment in segments(path)] == [1, 3]
            clock.moment = NOON + timedelta(days=3)
            chain.write([record(4, at=clock.now())])
        assert 1 not in [segment.first for segment in segments(path)]

    def test_pruning_happens_at_a_start_too(self, path: Path) -> None:
        clock = SetClock()
        with open_chain(path, retention=DAY, clock=clock) as chain:
            chain.write([record(1, at=clock.now())])
            clock.forward(days=1)
            chain.write([record(2, at=clock.now())])
        clock.forward(days=30)
        write(path, [], clock=clock, retention=DAY)
        assert not path.with_name("audit.jsonl.000000000001").exists()
        assert verify(path).ok

    def test_files_that_only_look_alike_are_left_alone(self, path: Path) -> None:
        write(path, [record(1)])
        others = ["audit.jsonl.1", "audit.jsonl.00000000000x", "audit.jsonl.torn-x", "other.000000000001"]
        for name in others:
            path.with_name(name).write_text("mine")
        assert segments(path) == [Segment(1, path)]
        write(path, [record(2, at=NOON)], retention=DAY, clock=SetClock(NOON + timedelta(days=40)))
        assert all(path.with_name(name).read_text() == "mine" for name in others)

    def test_a_name_with_wildcards_is_a_name(self, tmp_path: Path) -> None:
        path = tmp_path / "audit[1]*?.jsonl"
        clock = SetClock()
        with open_chain(path, retention=400 * DAY, clock=clock) as chain:
            chain.write([record(1)])
            clock.forward(days=1)
            chain.write([record(2)])
        assert [segment.first for segment in segments(path)] == [1, 2]


class TestLines:
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", (b"", 0)),
            (b"torn", (b"", 0)),
            (b"a\n", (b"a", 2)),
            (b"a\nbc\n", (b"bc", 5)),
            (b"a\nbc\ntorn", (b"bc", 5)),
            (b"\n", (b"", 1)),
        ],
    )
    def test_the_last_whole_line(self, tmp_path: Path, content: bytes, found: tuple[bytes, int]) -> None:
        file = tmp_path / "file"
        file.write_bytes(content)
        with file.open("rb") as opened:
            assert last_line(opened.fileno(), len(content)) == found

    def test_lines_backwards_over_many_blocks(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        wanted: list[Any] = [b"%d:" % number + b"x" * (number * 997 % 150_000) for number in range(40)]
        file.write_bytes(b"\n".join(wanted) + b"\ntorn")
        found = list(lines_back(file))
        assert [line for _, line in found] == wanted[::-1]
        content = file.read_bytes()
        assert all(content[start : start + len(line)] == line for start, line in found)
        # From the middle on, as a cursor does.
        start, _ = found[10]
        assert list(lines_back(file, start)) == found[11:]

    def test_the_first_record(self, path: Path) -> None:
        assert first_record(path) is None
        path.touch()
        assert first_record(path) is None
        write(path, [record(5)])
        assert first_record(path) == (1, NOON + timedelta(seconds=5))
        path.write_bytes(b"what\n")
        with pytest.raises(ChainError, match="is not an audit file: not a record"):
            first_record(path)
