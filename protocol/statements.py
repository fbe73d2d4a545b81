"""Prepared statements and portals of one session, as the server has them.

A client may send messages ahead of the replies, so a table entry can be *unconfirmed*: the server may yet
refuse it, or skip it after an error, and then an older entry of that name is still the one in force. Inside
one Sync-delimited segment that does not matter (if the Parse was skipped, so is everything behind it up to
the Sync). Across segments it does, and ``settled`` tells: whoever judges an unsettled name must first wait
for the server's answer.

Source: PostgreSQL documentation, "Message Flow", "Extended Query" and "Pipelining".
"""

from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

MAX_NAME: Final = 63
"""Bytes of a name that the server tells apart (``NAMEDATALEN`` - 1): of a longer one it drops the rest."""


def server_name(name: bytes) -> bytes:
    """What the server makes of an identifier in SQL: cut to ``MAX_NAME`` bytes, between characters."""
    if len(name) <= MAX_NAME:
        return name
    return name[:MAX_NAME].decode("utf-8", "ignore").encode()


@dataclass(slots=True, eq=False)
class PreparedStatement:
    """One prepared statement. ``sql`` holds every text it may stand for: more than one only where a
    statement was prepared by SQL over an existing name and the server's choice is not known. ``declared`` are the
    types (OIDs, 0 where the server may choose) that were named when it was prepared, ``parameter_types`` those that the
    server has told since. ``doubtful``: how the server read the text when it was prepared may differ from how it would
    read it now."""

    name: bytes
    sql: tuple[bytes, ...]
    parameter_types: tuple[int, ...] = ()
    doubtful: bool = False
    declared: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Portal:
    """A bound statement with its parameter values. ``ruling`` is the gateway's note of what was decided
    for it (a further Execute of the same portal continues the same result), ``bound_in`` of the context in
    which the server looked its names up."""

    name: bytes
    statement: PreparedStatement | None
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    ruling: Any = field(default=None, repr=False)
    bound_in: Any = field(default=None, repr=False)


_Entry = TypeVar("_Entry", PreparedStatement, Portal)


class Change(Generic[_Entry]):
    """One change of a table that the server has not confirmed: name, new entry (None: closed), the segment it
    belongs to, and whether it was sent."""

    __slots__ = ("entry", "name", "segment", "sent", "table")

    def __init__(self, table: "NameTable[_Entry]", name: bytes, entry: _Entry | None, segment: int) -> None:
        self.table: NameTable[_Entry] = table
        self.name = name
        self.entry: _Entry | None = entry
        self.segment = segment
        self.sent = False

    def confirm(self) -> None:
        """The server carried the change out."""
        self.table.confirm(self)

    def undo(self) -> None:
        """The server refused the change or skipped it."""
        self.table.undo(self)


class NameTable(Generic[_Entry]):
    """Names to entries, with the unconfirmed changes on top of the confirmed ones."""

    __slots__ = ("_confirmed", "_pending")

    def __init__(self) -> None:
        self._confirmed: dict[bytes, _Entry] = {}
        self._pending: dict[bytes, list[Change[_Entry]]] = {}

    def get(self, name: bytes) -> _Entry | None:
        """The entry in force if everything sent so far succeeds."""
        pending = self._pending.get(name)
        return pending[-1].entry if pending else self._confirmed.get(name)

    def settled(self, name: bytes, segment: int) -> bool:
        """Whether ``get(name)`` is certain for a message of ``segment``."""
        pending = self._pending.get(name)
        return not pending or pending[-1].segment == segment

    def change(self, name: bytes, entry: _Entry | None, segment: int) -> Change[_Entry]:
        """Note a change that is being sent; ``confirm`` or ``undo`` it when the server has answered."""
        change = Change(self, name, entry, segment)
        self._pending.setdefault(name, []).append(change)
        return change

    def confirm(self, change: Change[_Entry]) -> None:
        """The server carried the change out."""
        self._remove(change)
        if change.entry is None:
            self._confirmed.pop(change.name, None)
        else:
            self._confirmed[change.name] = change.entry

    def undo(self, change: Change[_Entry]) -> None:
        """The server refused the change or skipped it."""
        self._remove(change)

    def _remove(self, change: Change[_Entry]) -> None:
        pending = self._pending[change.name]
        pending.remove(change)
        if not pending:
            del self._pending[change.name]

    def put(self, name: bytes, entry: _Entry) -> None:
        """Set an entry that the server is known to have, by the name written in SQL."""
        self._confirmed[server_name(name)] = entry

    def discard(self, name: bytes) -> None:
        """Forget an entry that the server is known to have dropped, by the name written in SQL."""
        self._confirmed.pop(server_name(name), None)

    def clear(self) -> None:
        """Forget every confirmed entry."""
        self._confirmed.clear()

    def clear_named(self) -> None:
        """Forget all but the unnamed entry."""
        for name in [name for name in self._confirmed if name]:
            del self._confirmed[name]

    def names(self) -> frozenset[str]:
        """Every name that may be in force, as SQL would write it."""
        return frozenset(
            name.decode("utf-8", "surrogateescape") for name in (*self._confirmed, *self._pending) if name
        )

    def known_to_server(self) -> list[_Entry]:
        """Every entry that the server has or may have, the unnamed one too."""
        found = list(self._confirmed.values())
        for changes in self._pending.values():
            found.extend(change.entry for change in changes if change.entry is not None and change.sent)
        return found

    def entries(self) -> list[tuple[bytes, _Entry]]:
        """Every named entry that may be in force, confirmed or not."""
        found = [(name, entry) for name, entry in self._confirmed.items() if name]
        for name, changes in self._pending.items():
            if name:
                found.extend((name, change.entry) for change in changes if change.entry is not None)
        return found


class SessionNames:
    """The statements and portals of one session."""

    __slots__ = ("portals", "statements")

    def __init__(self) -> None:
        self.statements: NameTable[PreparedStatement] = NameTable()
        self.portals: NameTable[Portal] = NameTable()

    def prepared_by_sql(self, name: bytes, sql: bytes, declared: tuple[int, ...] = ()) -> None:
        """A PREPARE statement succeeded, in which types were ``declared``. It may have done so under a name this table
        still holds (dropped by a route not seen here), so an older text stays a candidate beside the new one."""
        name = server_name(name)
        held = self.statements.get(name)
        texts = (*held.sql, sql) if held is not None and sql not in held.sql else (sql,)
        earlier = held.declared if held is not None else ()
        self.statements.put(name, PreparedStatement(name, texts, declared=(*earlier, *declared)))

    def doubt_texts(self) -> None:
        """Texts may have been read otherwise up to now than they are from now on."""
        for statement in self.statements.known_to_server():
            statement.doubtful = True

    def candidates(self) -> dict[str, tuple[bytes, ...]]:
        """Every text each prepared name may stand for, for judging SQL's EXECUTE."""
        found: dict[str, tuple[bytes, ...]] = {}
        for name, entry in self.statements.entries():
            key = name.decode("utf-8", "surrogateescape")
            found[key] = (*found.get(key, ()), *(sql for sql in entry.sql if sql not in found.get(key, ())))
        return found
