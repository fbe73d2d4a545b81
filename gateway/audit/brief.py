"""Records of ordinary statements, of which most is the same each time.

Such a record has some thirty members, of which few differ from those of the one before. A brief has these few; its
outline has the rest, as a record and ready as text. The text is cut out of what ``encode`` makes of that record, so
both say the same in the same words. Briefs are made on the event loop, and written out by whoever writes the file.
"""

import dataclasses
import functools
import json
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.audit.record import AuditRecord, Encoded, digest_of, encode
from protocol.values import parameter_text

__all__ = ["Brief", "Outline"]

_quoted: Final = json.encoder.encode_basestring_ascii
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Outline:
    """What the records of one session about one statement, or about all texts of one template, have in common.

    ``common`` is such a record; what a brief has of its own counts for nothing in it. ``session`` is what the ids of
    its statements begin with. ``several``: each brief has a text of its own.
    """

    __slots__ = (
        "_ends",
        "_numbers",
        "_opens",
        "_parameters",
        "_rest",
        "_sql",
        "common",
        "session",
        "several",
    )

    def __init__(self, common: AuditRecord, session: str, *, several: bool) -> None:
        self.session = session
        self.several = several
        self.common = common = dataclasses.replace(
            common,
            at=_NEVER,
            statement_id=None,
            sql=None if several else common.sql,
            parameters=None,
            tag=None,
            rows=None,
            bytes=None,
            duration_ms=None,
        )
        # Inside of a string a quotation mark has a backslash before it: these are found nowhere else.
        text: str = encode(common)
        self._opens, text = _cut(text, '"statement_id":null')
        self._opens = f'{self._opens.removeprefix(_AT_NEVER)}"statement_id":"{session}.'
        self._sql = ""
        if several:
            self._sql, text = _cut(text, '"sql":null,"sql_digest":null')
        self._parameters, text = _cut(text, '"parameters":null')
        self._rest, text = _cut(text, '"tag":null,"rows":null,"bytes":null')
        self._numbers, self._ends = _cut(text, '"duration_ms":null')

    def encoded(self, brief: "Brief") -> Encoded:
        """What ``encode`` says of the brief's record."""
        sql = brief.sql
        own = "" if sql is None else f'{self._sql}"sql":{_quoted(sql)},"sql_digest":"{digest_of(sql)}"'
        shown = "null"
        if brief.bound is not None:
            values = ["null" if text is None else _quoted(text) for text in brief.parameters]
            shown = f"[{','.join(values)}]" if values else shown
        rows = "null" if brief.rows is None else brief.rows
        return Encoded(
            f'"at":"{_iso(brief.at)}"{self._opens}{brief.number}"{own}{self._parameters}"parameters":{shown}'
            f'{self._rest}"tag":{_quoted(brief.tag)},"rows":{rows},"bytes":{brief.size}'
            f'{self._numbers}"duration_ms":{round(brief.seconds * 1000, 3)!r}{self._ends}'
        )


class Brief:
    """A statement that ended: its outline, moment (microseconds since 1970), number in its session, command tag, rows,
    bytes of the answer, seconds the server took; its text if the outline has none; types, formats and values bound."""

    __slots__ = ("at", "bound", "number", "outline", "rows", "seconds", "size", "sql", "tag")

    def __init__(
        self,
        outline: Outline,
        at: int,
        number: int,
        tag: str,
        rows: int | None,
        size: int,
        seconds: float,
        sql: str | None,
        bound: tuple[tuple[int, ...], tuple[int, ...], tuple[bytes | None, ...]] | None,
    ) -> None:
        self.outline = outline
        self.at = at
        self.number = number
        self.tag = tag
        self.rows = rows
        self.size = size
        self.seconds = seconds
        self.sql = sql
        self.bound = bound

    @property
    def moment(self) -> datetime:
        """When it ended."""
        return _NEVER + timedelta(microseconds=self.at)

    @property
    def text(self) -> str:
        """The statement."""
        return (self.outline.common.sql if self.sql is None else self.sql) or ""

    @property
    def parameters(self) -> tuple[str | None, ...]:
        """The values bound, for people."""
        if self.bound is None:
            return ()
        types, formats, values = self.bound
        known = len(types)
        return tuple(
            parameter_text(value, format_code=formats[at], type_oid=types[at] if at < known else 0)
            for at, value in enumerate(values)
        )

    def encoded(self) -> Encoded:
        """What ``encode`` says of ``record``."""
        return self.outline.encoded(self)

    def record(self) -> AuditRecord:
        """The same as a record like any other."""
        return dataclasses.replace(
            self.outline.common,
            at=self.moment,
            statement_id=f"{self.outline.session}.{self.number}",
            sql=self.text,
            parameters=self.parameters or None,
            tag=self.tag,
            rows=self.rows,
            bytes=self.size,
            duration_ms=round(self.seconds * 1000, 3),
        )


_AT_NEVER: Final = '"at":"1970-01-01T00:00:00.000Z"'


def _cut(text: str, member: str) -> tuple[str, str]:
    """What stands in front of a member and behind it."""
    front, found, behind = text.partition(f",{member},")
    assert found, f"no {member} in a record"
    return f"{front},", f",{behind}"


@functools.lru_cache(maxsize=8)
def _second(number: int) -> str:
    """A second since 1970 as a record has it, without its end. Records of one moment are written together."""
    return (_NEVER + timedelta(seconds=number)).isoformat(timespec="seconds").removesuffix("+00:00")


def _iso(microseconds: int) -> str:
    """A moment as :func:`gateway.store.records.iso` has it."""
    second, rest = divmod(microseconds, 1_000_000)
    return f"{_second(second)}.{rest // 1000:03d}Z"
