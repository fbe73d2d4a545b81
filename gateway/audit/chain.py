"""The audit on disk: a current file, and with a retention the closed files of earlier days beside it.

A closed file is named after the current one and the number of its first record: ``audit.jsonl.000000000001``.
The chain runs on through all of them. Everything here blocks; only the writer's thread and readers' threads
call it.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from gateway.audit.brief import Brief
from gateway.audit.record import AuditRecord, Encoded, Kind, Link, seal, unseal
from gateway.clock import Clock
from gateway.store.records import iso

__all__ = ["Chain", "ChainError", "Segment", "first_record", "last_line", "lines_back", "segments"]

_BLOCK = 64 * 1024
_MODE = 0o600


class ChainError(OSError):
    """The file cannot be continued. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the chain and the number of its first record."""

    first: int
    path: Path


def segments(path: Path) -> list[Segment]:
    """The files of the chain that ends in ``path``, oldest first; an empty current file is left out."""
    found: list[Segment] = []
    for file in path.parent.glob(f"{_escaped(path.name)}.*"):
        digits = file.name[len(path.name) + 1 :]
        if len(digits) >= 12 and digits.isascii() and digits.isdecimal():
            found.append(Segment(int(digits), file))
    found.sort(key=lambda segment: segment.first)
    first = first_record(path)
    if first is not None:
        found.append(Segment(first[0], path))
    return found


def first_record(path: Path) -> tuple[int, datetime] | None:
    """Number and moment of the first record of a file; None when there is none. Raises ChainError."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n"):
        return None
    return _number_and_moment(path, line[:-1])


def last_line(file: int, size: int) -> tuple[bytes, int]:
    """The last whole line (without its end) of the first ``size`` bytes, and where what follows it begins.

    What follows is a record that was never finished; normally it begins at ``size``, and nothing follows.
    """
    end = _rfind(file, size)
    if end < 0:
        return b"", 0
    start = _rfind(file, end) + 1
    return os.pread(file, end - start, start), end + 1


class Chain:
    """The chain as its writer sees it. One process holds it at a time (by a lock on the file)."""

    def __init__(self, path: Path, *, retention: float | None, clock: Clock) -> None:
        self._path = path
        self.keep_for(retention)
        self._clock = clock
        self._file = -1
        self._identity: tuple[int, int] | None = None
        self._size = 0
        self._day: date | None = None
        self._damaged = False
        self.link = Link()

    def keep_for(self, retention: float | None) -> None:
        """How many seconds records are kept, from the next write on; None: for ever."""
        self._retention = None if retention is None else timedelta(seconds=retention)

    def open(self) -> None:
        """Open or create the file and find the end of the chain. Raises OSError.

        An unfinished last record, left by a crash, is kept in a file of its own and a record says so.
        """
        self._take(self._open_file())
        torn = b""
        line, end = last_line(self._file, self._size)
        if end < self._size:
            torn = os.pread(self._file, self._size - end, end)
        if end:
            self.link = self._link_of(self._path, line)
            self._day = self._first_day()
        else:
            self.link = self._end_of_closed()
        if torn:
            kept = self._keep(torn)
            os.ftruncate(self._file, end)
            os.fsync(self._file)
            self._size = end
            self._note("recovered", f"an unfinished record of {len(torn)} bytes was put aside in {kept.name}")
        self._prune()

    def write(self, records: Sequence[AuditRecord | Encoded | Brief]) -> None:
        """Append ``records``; they are on disk when this returns.

        Raises OSError, and then none of them is in the file and the chain is as before.
        """
        if self._file < 0 or self._damaged or self._moved_away():
            self._reopen()
        if self._retention is not None and self._day not in (None, self._clock.now().date()):
            self._rotate()
        self._append(records)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, records: Sequence[AuditRecord | Encoded | Brief]) -> None:
        # Measured, not remembered: what others put there is for verify() to name, not for us to cut.
        self._size = os.fstat(self._file).st_size
        link = self.link
        lines: list[bytes] = []
        for record in records:
            said = record.encoded() if isinstance(record, Brief) else record
            line, link = seal(said, link)
            lines.append(line)
        data = memoryview(b"".join(lines))
        size = self._size + len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError:
            # Part of a line may be there, and after a failed fsync nobody knows what is: begin again.
            self._damaged = True
            self._undo()
            raise
        self._size, self.link = size, link
        if self._day is None and records:
            self._day = self._clock.now().date()

    def _undo(self) -> None:
        try:
            os.ftruncate(self._file, self._size)
            self._damaged = False
        except OSError:
            return  # still damaged: the next write reopens and truncates first

    def _open_file(self) -> os.stat_result:
        """Open and lock whatever file is there now, and say which one it is."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, _MODE)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise ChainError(f"{self._path} is not a regular file")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ChainError(f"another gateway writes {self._path}") from None
            if stat.S_IMODE(status.st_mode) != _MODE:
                os.fchmod(file, _MODE)
            _sync_folder(self._path)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return status

    def _take(self, status: os.stat_result) -> None:
        """The open file is the one to go on with."""
        self._identity, self._size = (status.st_dev, status.st_ino), status.st_size

    def _reopen(self) -> None:
        """The same file, cut back to what is known to be good or, when it was moved away, a new one.

        Until that is done nothing is forgotten of the file as it should be: this is tried again and again.
        """
        self.close()
        status = self._open_file()
        known = self._identity
        if (status.st_dev, status.st_ino) == known:
            if status.st_size > self._size:
                os.ftruncate(self._file, self._size)
            self._damaged = False
            return
        if status.st_size:
            self.close()
            raise ChainError(f"another file was put in the place of {self._path}; move it away")
        self._take(status)
        self._damaged = False
        self._day = None
        if known is not None:
            self._note("recovered", "the audit file was moved away or removed; this is a new one")

    def _moved_away(self) -> bool:
        try:
            here = os.stat(self._path)
        except FileNotFoundError:
            return True
        return (here.st_dev, here.st_ino) != self._identity

    def _rotate(self) -> None:
        first = first_record(self._path)
        if first is None:
            return
        os.rename(self._path, self._path.with_name(f"{self._path.name}.{first[0]:012d}"))
        self._identity, self._size = None, 0
        self._reopen()
        self._prune()

    def _prune(self) -> None:
        """Remove closed files whose last record is past its retention, saying so first."""
        if self._retention is None:
            return
        keep_from = self._clock.now() - self._retention
        for segment in segments(self._path):
            if segment.path == self._path:
                break
            line = _last_line_of(segment.path)
            _, moment = _number_and_moment(segment.path, line)
            if moment >= keep_from:
                break
            link = self._link_of(segment.path, line)
            self._note("pruned", f"records up to {link.seq}, hash {link.hash}, are past their retention")
            segment.path.unlink()
            _sync_folder(self._path)

    def _note(self, event: str, reason: str) -> None:
        self._append([AuditRecord(Kind.GATEWAY, at=self._clock.now(), tag=event, reason=reason)])

    def _end_of_closed(self) -> Link:
        closed = [segment for segment in segments(self._path) if segment.path != self._path]
        if not closed:
            return Link()
        return self._link_of(closed[-1].path, _last_line_of(closed[-1].path))

    def _first_day(self) -> date | None:
        first = first_record(self._path)
        return None if first is None else first[1].date()

    def _link_of(self, path: Path, line: bytes) -> Link:
        try:
            return unseal(line)[1]
        except ValueError as error:
            raise ChainError(
                f"the last line of {path} cannot be continued ({error}); "
                "run holdgate audit verify, then move the file away to begin a new one"
            ) from None

    def _keep(self, torn: bytes) -> Path:
        moment = (iso(self._clock.now()) or "").replace(":", "").replace("-", "")
        kept = self._path.with_name(f"{self._path.name}.torn-{moment}")
        file = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(file, "wb") as opened:
            opened.write(torn)
            opened.flush()
            os.fsync(opened.fileno())
        return kept


def lines_back(path: Path, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file before ``end`` (None: all), last first, each with where it begins."""
    with path.open("rb") as file:
        handle = file.fileno()
        size = os.fstat(handle).st_size
        stop = _rfind(handle, size if end is None else min(end, size))
        while stop >= 0:
            start = _rfind(handle, stop) + 1
            yield start, os.pread(handle, stop - start, start)
            stop = start - 1


def _rfind(file: int, end: int) -> int:
    """Where the last line end before ``end`` is, -1 when there is none."""
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end = start
    return -1


def _last_line_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return last_line(file.fileno(), os.fstat(file.fileno()).st_size)[0]


def _number_and_moment(path: Path, line: bytes) -> tuple[int, datetime]:
    try:
        record, link = unseal(line)
        return link.seq, datetime.fromisoformat(record["at"])
    except (ValueError, KeyError, TypeError) as error:
        raise ChainError(f"{path} is not an audit file: {error}") from None


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
