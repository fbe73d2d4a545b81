"""Audit files to read and to damage."""

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.audit import AuditRecord, Kind
from gateway.audit.chain import Chain
from gateway.clock import Clock

__all__ = ["NOON", "SetClock", "lines", "record", "records", "write"]

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


class SetClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def forward(self, **span: float) -> None:
        self.moment += timedelta(**span)


def record(number: int = 1, **changes: Any) -> AuditRecord:
    """A statement that ran."""
    one = AuditRecord(
        Kind.STATEMENT,
        at=NOON + timedelta(seconds=number),
        session_id="S-1",
        statement_id=f"S-1.{number}",
        user="alice",
        groups=("support",),
        database="shop",
        client_addr="10.0.0.7",
        application_name="psql",
        sql=f"SELECT {number}",
        actions=("read",),
        verdict="allow",
        rule="default:otherwise",
        tag="SELECT 1",
        rows=1,
        bytes=20,
        duration_ms=1.5,
    )
    return dataclasses.replace(one, **changes)


def write(
    path: Path, written: Iterable[AuditRecord], *, clock: Clock | None = None, retention: float | None = None
) -> None:
    """Append records to the chain at ``path``, as a gateway that starts and stops does."""
    chain = Chain(path, retention=retention, clock=clock or SetClock())
    chain.open()
    try:
        for one in written:
            chain.write([one])
    finally:
        chain.close()


def lines(path: Path) -> list[bytes]:
    """The lines of one file, with their ends."""
    return path.read_bytes().splitlines(keepends=True)


def records(path: Path) -> list[dict[str, Any]]:
    """The records of one file."""
    return [json.loads(line) for line in lines(path)]
