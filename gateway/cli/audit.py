"""``holdgate audit``: tail, search, export, verify; by the management port, or on the file itself."""

import contextlib
import dataclasses
import json
import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from gateway.audit import AuditFilter, Page, export, verify
from gateway.audit import search as search_file
from gateway.cli.errors import FAILED, USAGE, CliError
from gateway.cli.output import moment, print_json, print_table
from gateway.cli.spans import seconds_of
from gateway.clock import now
from gateway.config import ConfigError, load_config
from gateway.text import one_line

if TYPE_CHECKING:
    from gateway.audit.proofs import ProofCheck

__all__ = ["export_records", "search", "tail", "verify_chain"]

_PAGE = 500
_SQL_WIDTH = 70
_FOLLOW_SECONDS = 1.0

Order = Literal["newest", "oldest"]
Record = dict[str, Any]


class _Source(Protocol):
    """Where pages of records come from."""

    def page(self, filters: AuditFilter, order: Order, limit: int, cursor: str | None) -> Page: ...

    def close(self) -> None: ...


class _File:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CliError(f"there is no audit file {path}")
        self.path = path

    def page(self, filters: AuditFilter, order: Order, limit: int, cursor: str | None) -> Page:
        return search_file(self.path, filters, cursor=cursor, limit=limit, order=order)

    def close(self) -> None:
        """Nothing stays open."""


class _Server:
    def __init__(self, options: Namespace) -> None:
        from gateway.cli.client import Client

        self._client = Client(options)

    def page(self, filters: AuditFilter, order: Order, limit: int, cursor: str | None) -> Page:
        wanted: dict[str, object] = {
            name: getattr(filters, name)
            for name in AuditFilter.__dataclass_fields__
            if name not in ("since", "until")
        }
        for name in ("since", "until"):
            value: datetime | None = getattr(filters, name)
            wanted[name] = None if value is None else value.isoformat()
        answer = self._client.get(
            "/api/v1/audit", {**wanted, "order": order, "limit": min(limit, _PAGE), "cursor": cursor}
        )
        return Page(answer["records"], answer["next"])

    def close(self) -> None:
        self._client.close()


def tail(options: Namespace) -> None:
    """The latest records, then with ``-f`` every new one."""
    with contextlib.closing(_source(options)) as source:
        records = _first(source, AuditFilter(), "newest", options.lines)[::-1]
        _print_records(records, options)
        last = records[-1]["seq"] if records else 0
        while options.follow:
            time.sleep(_FOLLOW_SECONDS)
            fresh: list[Record] = []
            for record in _records(source, AuditFilter(), "newest"):
                if record["seq"] <= last:
                    break
                fresh.append(record)
            for record in reversed(fresh):
                _print_line(record, options)
                last = record["seq"]


def search(options: Namespace) -> None:
    """Records that match, newest first."""
    filters = _filters(options)
    with contextlib.closing(_source(options)) as source:
        _print_records(_first(source, filters, "newest", options.limit), options)


def export_records(options: Namespace) -> None:
    """Records that match, oldest first; JSON lines are written as they are, so that they can be verified."""
    filters = _filters(options)
    with contextlib.closing(_source(options)) as source:
        if isinstance(source, _File):
            lines = export(source.path, filters, options.format)
        elif options.format == "csv":
            raise CliError("csv is made from the file itself: give -c FILE or --file", USAGE)
        else:
            lines = (_line(record) for record in _records(source, filters, "oldest"))
        if options.output is None:
            _write(sys.stdout.buffer, lines)
            return
        target = Path(options.output)
        try:
            with target.open("xb") as file:
                _write(file, lines)
        except FileExistsError:
            raise CliError(f"{target} exists; name another file") from None
        except OSError as error:
            # Half an export looks like a whole one.
            target.unlink(missing_ok=True)
            raise CliError(f"cannot write {target}: {error.strerror}") from None


def verify_chain(options: Namespace) -> int:
    """Check the hash chain from its first record to its last."""
    source = _source(options)
    assert isinstance(source, _File)
    if options.contains is not None and not re.fullmatch("[0-9a-f]{64}", options.contains):
        raise CliError("--contains takes the hash of a record: 64 digits from 0 to f", USAGE)
    try:
        result = verify(source.path, contains=options.contains)
    except OSError as error:
        raise CliError(f"the audit cannot be read: {error.strerror or error}") from None
    proofs = _check_proofs(source.path if result.ok else None)
    if options.json:
        print_json({**dataclasses.asdict(result), "proofs": proofs.checked, "proof_faults": proofs.faults})
    elif result.ok:
        last = f", the last with hash {result.last_hash}" if result.last_hash else ""
        note = f" ({result.why})" if result.why else ""
        print(one_line(f"{result.records} records, unbroken{last}{note}"))
        if proofs.checked:
            print(_said_of(proofs))
    else:
        place = f"{result.file}:{result.first_bad_line}" if result.first_bad_line else result.file
        print(one_line(f"holdgate: {place}: {result.why}"), file=sys.stderr)
    for fault in proofs.faults:
        print(one_line(f"holdgate: {fault}"), file=sys.stderr)
    return 0 if result.ok and not proofs.faults else FAILED


def _check_proofs(path: Path | None) -> "ProofCheck":
    """Every signature of an approver in the audit, checked once more; none where there is no path."""
    from gateway.audit.proofs import ProofCheck

    check = ProofCheck()
    if path is None:
        return check
    lines = export(path, AuditFilter())
    while (line := _next(lines)) is not None:
        check.take(json.loads(line))
    return check


def _said_of(proofs: "ProofCheck") -> str:
    good = proofs.checked - len(proofs.faults)
    early = (
        f", {proofs.unregistered} by passkeys set up before the first record" if proofs.unregistered else ""
    )
    return f"{proofs.checked} signed approvals, {good} good{early}"


def _source(options: Namespace) -> _Source:
    if options.file is not None:
        return _File(Path(options.file))
    if options.config is None:
        return _Server(options)
    try:
        return _File(load_config(options.config).audit.file)
    except ConfigError as error:
        raise CliError(
            f"{options.config} cannot be used, see holdgate validate: {one_line(error, 200)}"
        ) from None


def _records(source: _Source, filters: AuditFilter, order: Order) -> Iterator[Record]:
    cursor = None
    try:
        while True:
            page = source.page(filters, order, _PAGE, cursor)
            yield from page.records
            cursor = page.cursor
            if cursor is None:
                return
    except OSError as error:
        raise CliError(f"the audit cannot be read: {error.strerror or error}") from None


def _first(source: _Source, filters: AuditFilter, order: Order, count: int) -> list[Record]:
    found: list[Record] = []
    for record in _records(source, filters, order):
        found.append(record)
        if len(found) == count:
            break
    return found


def _filters(options: Namespace) -> AuditFilter:
    return AuditFilter(
        kind=options.kind,
        user=options.user,
        database=options.database,
        session_id=options.session,
        hold_id=options.hold,
        verdict=options.verdict,
        rule=options.rule,
        action=options.action,
        relation=options.relation,
        text=options.text,
        since=_moment("--since", options.since),
        until=_moment("--until", options.until),
    )


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    if re.fullmatch(r"\d+[smhd]", text):
        return now() - timedelta(seconds=seconds_of(option, text))
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise CliError(
            f"{option} {one_line(text)} is not a time such as 2030-01-31T12:00Z, or 2h for two hours ago",
            USAGE,
        ) from None


def _print_records(records: list[Record], options: Namespace) -> None:
    if options.json:
        for record in records:
            print_json(record)
        return
    print_table(
        ("TIME", "KIND", "USER", "DATABASE", "VERDICT", "RULE", "RESULT", "WHAT"),
        [_row(record) for record in records],
        empty="no records",
    )


def _print_line(record: Record, options: Namespace) -> None:
    if options.json:
        print_json(record)
    else:
        print("  ".join(one_line(cell) for cell in _row(record) if cell), flush=True)


def _row(record: Record) -> tuple[str, ...]:
    what = record["sql"] if record["sql"] is not None else record["reason"] or record["session_id"] or ""
    result = record["sqlstate"] or record["tag"] or ""
    if record["kind"] == "decision":
        result += f" by {', '.join(record['approved_by'])}"
    return (
        moment(record["at"]),
        record["kind"],
        record["user"] or "",
        record["database"] or "",
        record["verdict"] or "",
        record["rule"] or "",
        result,
        one_line(what, _SQL_WIDTH),
    )


def _line(record: Record) -> bytes:
    # The form the file has, member for member: the hash of each line stays valid.
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _write(file: BinaryIO, lines: Iterator[bytes]) -> None:
    while (line := _next(lines)) is not None:
        file.write(line)
    file.flush()


def _next(lines: Iterator[bytes]) -> bytes | None:
    try:
        return next(lines, None)
    except ValueError as error:
        raise CliError(f"a record cannot be read, see holdgate audit verify: {error}") from None
    except OSError as error:
        raise CliError(f"the audit cannot be read: {error.strerror or error}") from None
