"""Reading the audit: pages of records, the whole chain checked, exports.

All of it blocks; call it off the loop.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gateway.audit.chain import ChainError, Segment, lines_back, segments
from gateway.audit.record import FIRST_HASH, Kind, Link, unseal

__all__ = ["AuditFilter", "Page", "VerifyResult", "export", "search", "verify"]

MAX_PAGE = 1_000
MAX_SCAN = 64 * 1024 * 1024
"""Bytes read for one page: a rare match in a large file takes several pages, some of them short or empty."""

Order = Literal["newest", "oldest"]
Format = Literal["jsonl", "csv"]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What a record must be; None does not care. ``text`` is looked for in the SQL, whatever its case."""

    kind: str | None = None
    user: str | None = None
    database: str | None = None
    session_id: str | None = None
    hold_id: str | None = None
    verdict: str | None = None
    rule: str | None = None
    action: str | None = None
    relation: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: dict[str, Any]) -> bool:
        """Whether ``record`` is wanted: at or after ``since``, before ``until``, and the rest equal."""
        for name in ("kind", "user", "database", "session_id", "hold_id", "verdict", "rule"):
            wanted = getattr(self, name)
            if wanted is not None and record.get(name) != wanted:
                return False
        if self.action is not None and self.action not in record["actions"]:
            return False
        if self.relation is not None and self.relation not in record["relations"]:
            return False
        if self.text is not None and self.text.casefold() not in (record["sql"] or "").casefold():
            return False
        if self.since is None and self.until is None:
            return True
        at = datetime.fromisoformat(record["at"])
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Page:
    """Some records and where the next page begins; no cursor means there is no more."""

    records: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a check of the chain found. ``first_bad_line`` counts from 1 in ``file``; ``why`` is for people.

    ``last_hash`` is that of the last good record. Bytes after the last line end are no record yet: while a
    gateway holds the file they are only named in ``why``, for it may be writing; otherwise they are a fault.
    """

    ok: bool
    records: int
    first_bad_line: int | None = None
    why: str | None = None
    file: str | None = None
    last_hash: str | None = None


def search(
    path: Path,
    filters: AuditFilter,
    *,
    cursor: str | None = None,
    limit: int = 100,
    order: Order = "newest",
    max_scan: int = MAX_SCAN,
) -> Page:
    """A page of the records that match.

    Raises ValueError for a cursor that is not one, OSError from the disk.
    """
    limit = max(1, min(limit, MAX_PAGE))
    found: list[dict[str, Any]] = []
    scanned = 0
    for first, line, resume in _walk(segments(path), cursor, order):
        try:
            record, _ = unseal(line)
        except ValueError:
            record = None  # verify() is the one to say so
        if record is not None and filters.matches(record):
            found.append(record)
        scanned += len(line)
        if len(found) == limit or scanned >= max_scan:
            return Page(found, f"{order}:{first}:{resume}")
    return Page(found, None)


def export(path: Path, filters: AuditFilter, form: Format = "jsonl") -> Iterator[bytes]:
    """Every record that matches, oldest first: as the lines they are, or as CSV with a header.

    A CSV cell that a spreadsheet would take for a formula is preceded by an apostrophe.
    """
    header = form == "csv"
    for _, line, _ in _walk(segments(path), None, "oldest"):
        record, _ = unseal(line)
        if not filters.matches(record):
            continue
        if form == "jsonl":
            yield line + b"\n"
            continue
        if header:
            yield _csv(list(record))
            header = False
        yield _csv([_cell(value) for value in record.values()])


def verify(path: Path, *, contains: str | None = None) -> VerifyResult:
    """Check every hash and every link of the chain that ends in ``path``. Raises OSError from the disk.

    ``contains`` is the hash of a record known from before: that it is still there shows that the end of the
    chain was not cut off and that it is the same chain.
    """
    while True:
        try:
            files = segments(path)
        except ChainError as error:
            return VerifyResult(False, 0, 1, str(error), str(path))
        try:
            result = _verify(path, files, contains)
        except FileNotFoundError:
            if files == segments(path):
                raise
            continue
        # A gateway may have begun a new file meanwhile: what was read then is not one chain.
        if result.ok or files == segments(path):
            return result


def _verify(path: Path, files: list[Segment], contains: str | None) -> VerifyResult:
    check = _Check(contains)
    if not files or files[-1].path != path:
        # A current file without a whole line: empty, or the beginning of a first record.
        check.unfinished = path.stat().st_size
    for segment in files:
        with segment.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    check.take(line)
                except ValueError as error:
                    return check.bad(number, str(error), segment.path)
        if check.unfinished and segment.path != path:
            return check.bad(None, check.unfinished_words, segment.path)
    if check.unfinished and not _in_use(path):
        return check.bad(None, check.unfinished_words, path)
    if check.opening is not None and check.opening not in check.pruned:
        why = "the chain does not begin with record 1 and no record says that earlier ones were removed"
        return check.bad(1, why, files[0].path)
    if not check.found:
        why = "no record has the hash that is known: the end was cut off, or this is another chain"
        return check.bad(None, why, path)
    rest = f"{check.unfinished} bytes of an unfinished record at the end" if check.unfinished else None
    return VerifyResult(True, check.records, None, rest, str(path), check.last_hash)


class _Check:
    """How far a chain was followed."""

    def __init__(self, contains: str | None) -> None:
        self._link: Link | None = None
        self._contains = contains
        self.found = contains is None
        self.records = 0
        self.unfinished = 0
        self.opening: str | None = None
        self.pruned: set[str] = set()

    @property
    def unfinished_words(self) -> str:
        return f"{self.unfinished} bytes after the last record: a crash leaves them, or the end was cut off"

    @property
    def last_hash(self) -> str | None:
        return self._link.hash if self._link is not None and self.records else None

    def take(self, line: bytes) -> None:
        """The next line, with its end. Raises ValueError when it does not follow."""
        if not line.endswith(b"\n"):
            self.unfinished = len(line)
            return
        record, new = unseal(line[:-1])
        link = self._link
        if link is None:
            self.opening = record["prev"] if new.seq > 1 else None
            link = Link(new.seq - 1, FIRST_HASH if new.seq == 1 else record["prev"])
        if new.seq != link.seq + 1:
            raise ValueError(f"record {new.seq} follows record {link.seq}")
        if record["prev"] != link.hash:
            raise ValueError("the record does not follow the one before: prev is not its hash")
        if record["kind"] == Kind.GATEWAY and record["tag"] == "pruned":
            self.pruned.update(str(record["reason"]).replace(",", " ").split())
        self._link = new
        self.found = self.found or new.hash == self._contains
        self.records += 1

    def bad(self, line: int | None, why: str, file: Path) -> VerifyResult:
        return VerifyResult(False, self.records, line, why, str(file), self.last_hash)


def _in_use(path: Path) -> bool:
    """Whether a gateway has the file open for writing: it keeps a lock on it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _walk(files: list[Segment], cursor: str | None, order: Order) -> Iterator[tuple[int, bytes, int]]:
    """(first record of the file, line, offset from which to go on after it), from where ``cursor`` says."""
    start, offset = _parse(cursor, order)
    if order == "newest":
        for segment in reversed(files):
            if start is not None and segment.first > start:
                continue
            end = offset if segment.first == start else None
            for position, line in lines_back(segment.path, end):
                yield segment.first, line, position
        return
    for segment in files:
        if start is not None and segment.first < start:
            continue
        with segment.path.open("rb") as file:
            position = offset if segment.first == start else 0
            file.seek(min(position, os.fstat(file.fileno()).st_size))
            for line in file:
                if not line.endswith(b"\n"):
                    break
                position += len(line)
                yield segment.first, line[:-1], position


def _parse(cursor: str | None, order: Order) -> tuple[int | None, int]:
    if cursor is None:
        return None, 0
    direction, _, place = cursor.partition(":")
    first, _, offset = place.partition(":")
    if direction != order or not all(
        part.isascii() and part.isdecimal() and len(part) < 20 for part in (first, offset)
    ):
        raise ValueError("the cursor is not one of this listing")
    return int(first), int(offset)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()
