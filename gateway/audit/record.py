"""One line of the audit: what it says and how it is chained to the line before.

A line is a JSON object in ASCII. ``prev`` is the hash of the line before (64 zeros in the first), and
``hash``, always the last member, is the SHA-256 of the line as it would be without that member. So the
chain is checked with nothing but ``sha256sum``: cut ``,"hash":"..."`` out of a line and hash what is left.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, NewType

from gateway.clock import now
from gateway.store.records import iso

__all__ = [
    "FIRST_HASH",
    "VERSION",
    "AuditRecord",
    "Encoded",
    "Kind",
    "Link",
    "digest_of",
    "encode",
    "seal",
    "unseal",
]

VERSION = 1
FIRST_HASH = "0" * 64

_TAIL = ',"hash":"'
_TAIL_BYTES = _TAIL.encode("ascii")
_TAIL_LENGTH = len(_TAIL) + 64 + len('"}')


_MEMBERS: Final = frozenset(
    (
        *(
            "v",
            "seq",
            "at",
            "kind",
            "session_id",
            "statement_id",
            "user",
            "groups",
            "database",
            "client_addr",
        ),
        *("application_name", "sql", "sql_digest", "parameters", "actions", "relations", "columns"),
        *("row_bound", "verdict", "rule", "hold_id", "approved_by", "tag", "rows", "bytes", "sqlstate"),
        *("duration_ms", "held_ms", "reason", "prev"),
    )
)
"""What every record of version 1 has; it may have more. A line with a hash of its own may still be no record,
for anybody can make one."""

_NEVER_NULL: Final[dict[str, type]] = {
    "seq": int,
    "at": str,
    "kind": str,
    "groups": list,
    "actions": list,
    "relations": list,
    "columns": list,
    "approved_by": list,
    "prev": str,
}


class Kind(StrEnum):
    """What a record is about."""

    STATEMENT = "statement"
    SESSION = "session"
    HOLD = "hold"
    DECISION = "decision"
    GATEWAY = "gateway"


@dataclass(slots=True)
class AuditRecord:
    """What happened. ``v``, ``seq``, ``prev`` and ``hash`` are added when it is written, and ``sql_digest`` where
    it is None.

    ``kind`` is one of :class:`Kind`. ``verdict`` is allow, hold or deny for a statement, approve or reject
    for a decision. ``obligations`` are what the statement ran under, or would have. ``tag`` is the command tag
    of a statement, and the event for the other kinds: ``start``, ``end``, ``opened``, ``approved`` and so on.
    ``rows`` and ``bytes`` count what was returned or changed. ``duration_ms`` is upstream time, ``held_ms`` the
    wait for a decision. ``withheld`` are the errors and notices of which the client got no values, field by
    field. ``reason`` is free text: why it was held, rejected or ended. ``details`` are what only records of this
    kind and tag have; where there are none, the record has no such member.
    """

    kind: str
    at: datetime = field(default_factory=now)
    session_id: str | None = None
    statement_id: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    database: str | None = None
    client_addr: str | None = None
    application_name: str | None = None
    sql: str | None = None
    sql_digest: str | None = None
    parameters: tuple[str | None, ...] | None = None
    actions: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    row_bound: str | None = None
    verdict: str | None = None
    rule: str | None = None
    obligations: tuple[str, ...] = ()
    hold_id: str | None = None
    approved_by: tuple[str, ...] = ()
    tag: str | None = None
    rows: int | None = None
    bytes: int | None = None
    sqlstate: str | None = None
    withheld: tuple[Mapping[str, str], ...] = ()
    duration_ms: float | None = None
    held_ms: float | None = None
    reason: str | None = None
    details: dict[str, object] = field(default_factory=dict)


class Link(NamedTuple):
    """The end of the chain: number and hash of its last record. The next one follows it."""

    seq: int = 0
    hash: str = FIRST_HASH


Encoded = NewType("Encoded", str)
"""What a record says, as it stands in its line between ``seq`` and ``prev``: all of it but its place in the chain."""


def encode(record: AuditRecord) -> Encoded:
    """The members of ``record``."""
    digest = record.sql_digest
    if digest is None and record.sql is not None:
        digest = digest_of(record.sql)
    body = json.dumps(
        {
            "at": iso(record.at),
            "kind": str(record.kind),
            "session_id": record.session_id,
            "statement_id": record.statement_id,
            "user": record.user,
            "groups": record.groups,
            "database": record.database,
            "client_addr": record.client_addr,
            "application_name": record.application_name,
            "sql": record.sql,
            "sql_digest": digest,
            "parameters": record.parameters,
            "actions": record.actions,
            "relations": record.relations,
            "columns": record.columns,
            "row_bound": record.row_bound,
            "verdict": record.verdict,
            "rule": record.rule,
            "obligations": record.obligations,
            "hold_id": record.hold_id,
            "approved_by": record.approved_by,
            "tag": record.tag,
            "rows": record.rows,
            "bytes": record.bytes,
            "sqlstate": record.sqlstate,
            "withheld": [dict(report) for report in record.withheld],
            "duration_ms": _milliseconds(record.duration_ms),
            "held_ms": _milliseconds(record.held_ms),
            "reason": record.reason,
            **({"details": record.details} if record.details else {}),
        },
        separators=(",", ":"),
    )
    return Encoded(body[1:-1])


def seal(record: AuditRecord | Encoded, link: Link) -> tuple[bytes, Link]:
    """The line (with its line end) of ``record`` as the one after ``link``, and the chain's new end."""
    said = encode(record) if isinstance(record, AuditRecord) else record
    seq = link.seq + 1
    body = f'{{"v":{VERSION},"seq":{seq},{said},"prev":"{link.hash}"}}'.encode("ascii")
    sealed = hashlib.sha256(body).hexdigest()
    return b'%b%b%b"}\n' % (body[:-1], _TAIL_BYTES, sealed.encode("ascii")), Link(seq, sealed)


def digest_of(sql: str) -> str:
    """The SHA-256 of a statement's text, in hexadecimal."""
    return hashlib.sha256(sql.encode("utf-8", "backslashreplace")).hexdigest()


def unseal(line: bytes) -> tuple[dict[str, Any], Link]:
    """The record on a line (without its line end) and the link it makes.

    Raises ValueError, saying what is wrong, when the line is not a record or its hash is not its own. Whether
    it follows the line before is the caller's to compare: ``prev`` and ``seq``.
    """
    try:
        text = line.decode("ascii")
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not a record") from None
    if not isinstance(record, dict) or text[-_TAIL_LENGTH : -_TAIL_LENGTH + len(_TAIL)] != _TAIL:
        raise ValueError("not a record")
    if record.get("v") != VERSION:
        raise ValueError(f"a record of version {record.get('v')}, which is not known here")
    written = text[-66:-2]
    body = text[:-_TAIL_LENGTH] + "}"
    if hashlib.sha256(body.encode("ascii")).hexdigest() != written:
        raise ValueError("the record was changed: its hash is not its own")
    if not record.keys() >= _MEMBERS or not all(
        isinstance(record[name], kind) for name, kind in _NEVER_NULL.items()
    ):
        raise ValueError("not a record")
    return record, Link(record["seq"], written)


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
