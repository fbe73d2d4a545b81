"""A server that answers as PostgreSQL does, to a language of a few words, without a socket.

What it models is the protocol: batches and skipping to Sync, transactions, portals, COPY, buffered output. It
follows ``src/backend/tcop/postgres.c`` and ``copyfromparse.c`` where the documentation leaves a choice. A text
is statements separated by semicolons, each a word and an argument:

=================  ====================================================================================
``select N``       N rows
``insert X``       an effect, ``X``, that counts once it is committed
``defer X``        the same, and the commit fails
``fail``           an error when it is executed; ``unplannable`` at Bind; ``nonsense`` at Parse
``begin``, ``commit``, ``rollback``, ``savepoint S``, ``rollback to savepoint S``, ``release savepoint S``
``copy X``         takes COPY data; the effect is ``X``
``copy-early X``   the same, and fails at the first piece of data
``copy-late X``    the same, and fails when the data has ended
``dump N``         N pieces of COPY data
``notice``, ``set``, ``die``
``chatty``         from now on every statement says something about its own course
=================  ====================================================================================

An argument may have further words, which mean something to the policy of a test. What runs under the gateway's own
name counts neither as bound nor as run.
"""

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from tests.support import answers
from tests.support.wire import c, d

__all__ = ["Effect", "ModelServer", "Ran"]

_FINISH: Final = ("commit", "rollback")
_OWN: Final = b"holdgate:own"


@dataclass(frozen=True, slots=True)
class Ran:
    """Something the server began to run: a statement of a Query, a portal, a function."""

    text: str
    values: tuple[bytes | None, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Effect:
    """Something that is there once it is committed; no two are the same."""

    text: str


@dataclass(slots=True)
class _Portal:
    text: str
    values: tuple[bytes | None, ...]
    level: int = 0
    """How many savepoints there were when it was bound."""
    position: int = 0
    done: bool = False


@dataclass(slots=True)
class _Savepoint:
    name: str
    effects: int
    read_only: bool


class _Error(Exception):
    def __init__(self, code: str, text: str = "it failed") -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class _Copy:
    """COPY data is being read for ``statement``; ``rest`` is what follows it in its Query."""

    statement: str
    simple: bool
    rest: deque[str]
    pieces: int = 0


class ModelServer:
    """One session. Feed it with :meth:`receive`, let it work by :meth:`step`, take what it says by
    :meth:`output`."""

    def __init__(self) -> None:
        self.ran: list[Ran] = []
        self.bound: list[Ran] = []
        self.committed: list[Effect] = []
        self.uncommitted: list[Effect] = []
        self.alive = True
        self.status = "I"
        self.statements: dict[bytes, str] = {}
        self._inbox = b""
        self._buffered = b""
        self._out = b""
        self._portals: dict[bytes, _Portal] = {}
        self._savepoints: list[_Savepoint] = []
        self._read_only = False
        self._chatty = False
        self._skipping = False
        self._copy: _Copy | None = None

    # --- bytes --------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes of the client."""
        self._inbox += data

    def output(self, size: int | None = None) -> bytes:
        """What was flushed, at most ``size`` bytes of it; each call takes it away."""
        size = len(self._out) if size is None else size
        taken, self._out = self._out[:size], self._out[size:]
        return taken

    @property
    def speaking(self) -> bool:
        """Whether there is output to take."""
        return bool(self._out)

    def step(self) -> bool:
        """Work on one message; False if none is there."""
        if not self.alive or len(self._inbox) < 5:
            return False
        end = 1 + int.from_bytes(self._inbox[1:5], "big")
        if len(self._inbox) < end:
            return False
        tag, payload, self._inbox = self._inbox[:1].decode(), self._inbox[5:end], self._inbox[end:]
        if self._copy is not None:
            self._in_copy(self._copy, tag, payload)
        elif tag == "S":
            self._sync()
        elif self._skipping:
            pass
        elif tag == "Q":
            self._query(payload)
        elif tag == "F":
            self._function_call(payload)
        elif tag == "H":
            self._flush()
        elif tag in "dcf":
            pass
        else:
            self._extended(tag, payload)
        return True

    def _say(self, *messages: bytes) -> None:
        self._buffered += b"".join(messages)

    def _flush(self) -> None:
        self._out += self._buffered
        self._buffered = b""

    # --- messages -----------------------------------------------------------------------------------------

    def _query(self, payload: bytes) -> None:
        text = _text(payload[:-1])
        self.statements.pop(b"", None)
        if not text:
            self._say(answers.empty_query_response())
            self._finish_query()
            return
        words = {_word(part) for part in text.split(";")}
        if words & {"nonsense", "holdgate"}:
            self._fail_query(_Error("42601"))
            return
        self._go_on(deque(text.split(";")))

    def _go_on(self, rest: deque[str]) -> None:
        try:
            while rest:
                statement = rest.popleft()
                self._check_block(statement)
                self.ran.append(Ran(statement))
                if _word(statement) == "unplannable":
                    raise _Error("22012")
                if _word(statement).startswith("copy"):
                    self._ask_for_data(_Copy(statement, True, rest))
                    return
                if _word(statement) == "select":
                    self._say(answers.row_description("a"))
                self._run(statement)
                if not self.alive:
                    return
        except _Error as error:
            self._fail_query(error)
            return
        self._finish_query()

    def _finish_query(self) -> None:
        try:
            if self.status == "I":
                self._commit()
        except _Error as error:
            self._say(answers.error(code=error.code))
        self._ready()

    def _fail_query(self, error: _Error) -> None:
        self._abort(error)
        self._ready()

    def _function_call(self, payload: bytes) -> None:
        (oid,) = struct.unpack_from("!I", payload)
        try:
            self._check_block("function")
            self.ran.append(Ran(f"function {oid}"))
            if oid % 2:
                raise _Error("22012")
            self._say(answers.function_call_response(b"x"))
        except _Error as error:
            self._fail_query(error)
            return
        self._finish_query()

    def _sync(self) -> None:
        self._skipping = False
        try:
            if self.status == "I":
                self._commit()
        except _Error as error:
            self._say(answers.error(code=error.code))
        self._ready()

    def _extended(self, tag: str, payload: bytes) -> None:
        try:
            if tag == "P":
                self._parse(payload)
            elif tag == "B":
                self._bind(payload)
            elif tag == "D":
                self._describe(payload)
            elif tag == "C":
                (self.statements if payload[:1] == b"S" else self._portals).pop(payload[1:-1], None)
                self._say(answers.close_complete())
            elif tag == "E":
                self._execute(payload)
            else:
                self._die("08P01")
        except _Error as error:
            self._abort(error)
            self._skipping = True

    def _parse(self, payload: bytes) -> None:
        name, _, rest = payload.partition(b"\0")
        text = _text(rest.partition(b"\0")[0])
        if not name:
            self.statements.pop(b"", None)
        if _word(text) in ("nonsense", "holdgate") or ";" in text:
            raise _Error("42601")
        self._check_block(text)
        if name in self.statements:
            raise _Error("42P05")
        self.statements[name] = text
        self._say(answers.parse_complete())

    def _bind(self, payload: bytes) -> None:
        portal, _, rest = payload.partition(b"\0")
        name, _, rest = rest.partition(b"\0")
        text = self.statements.get(name)
        if text is None:
            raise _Error("26000")
        values = _values(rest)
        self._check_block(text)
        if portal and portal in self._portals:
            raise _Error("42P03")
        self._portals.pop(portal, None)
        if portal != _OWN:
            self.bound.append(Ran(text, values))
        if _word(text) == "unplannable":
            raise _Error("22012")
        self._portals[portal] = _Portal(text, values, len(self._savepoints))
        self._say(answers.bind_complete())

    def _describe(self, payload: bytes) -> None:
        if payload[:1] == b"S":
            text = self.statements.get(payload[1:-1])
            if text is None:
                raise _Error("26000")
            self._say(answers.parameter_description(25))
        else:
            portal = self._portals.get(payload[1:-1])
            if portal is None:
                raise _Error("34000")
            text = portal.text
        self._check_block(text)
        self._say(answers.row_description("a") if _word(text) == "select" else answers.no_data())

    def _execute(self, payload: bytes) -> None:
        name, _, rest = payload.partition(b"\0")
        portal = self._portals.get(name)
        if portal is None:
            raise _Error("34000")
        self._check_block(portal.text)
        (limit,) = struct.unpack("!i", rest)
        if not portal.text:
            self._say(answers.empty_query_response())
            return
        if portal.done and _word(portal.text) != "select":
            raise _Error("55000")
        if name != _OWN:
            self.ran.append(Ran(portal.text, portal.values))
        if _word(portal.text).startswith("copy"):
            portal.done = True
            self._ask_for_data(_Copy(portal.text, False, deque()))
        elif _word(portal.text) == "select":
            self._fetch(portal, limit)
        else:
            self._run(portal.text)
            portal.done = True

    def _fetch(self, portal: _Portal, limit: int) -> None:
        total = _number(portal.text)
        end = min(total, portal.position + limit) if limit > 0 else total
        fetched = end - portal.position
        self._say(*[answers.data_row(str(row)) for row in range(portal.position, end)])
        portal.position = end
        if limit > 0 and fetched == limit:
            self._say(answers.portal_suspended())
        else:
            self._say(answers.command_complete(f"SELECT {fetched}"))

    # --- COPY ---------------------------------------------------------------------------------------------

    def _ask_for_data(self, copy: _Copy) -> None:
        self._check_writing()
        self._copy = copy
        self._say(answers.copy_in_response())
        self._flush()

    def _in_copy(self, copy: _Copy, tag: str, payload: bytes) -> None:
        word, _, effect = copy.statement.partition(" ")
        if tag in "SH":
            return
        try:
            if tag == "d":
                copy.pieces += 1
                if word == "copy-early":
                    raise _Error("22P04")
                return
            if tag == "f":
                raise _Error("57014", _text(payload[:-1]))
            if tag != "c":
                self._say(answers.error("unexpected message type during COPY from stdin", "08P01"))
                self._die("08P01")
                return
            if word == "copy-late":
                raise _Error("22P04")
        except _Error as error:
            self._copy = None
            if copy.simple:
                self._fail_query(error)
            else:
                self._abort(error)
                self._skipping = True
            return
        self._copy = None
        self.uncommitted.append(Effect(effect))
        self._say(answers.command_complete(f"COPY {copy.pieces}"))
        if copy.simple:
            self._go_on(copy.rest)

    # --- statements ---------------------------------------------------------------------------------------

    def _run(self, statement: str) -> None:
        word, (_, _, argument) = _word(statement), statement.partition(" ")
        if self._chatty:
            self._say(answers.notice("it goes on", "DEBUG"))
        if word == "":
            self._say(answers.empty_query_response())
        elif word == "select":
            rows = _number(statement)
            self._say(*[answers.data_row(str(row)) for row in range(rows)])
            self._say(answers.command_complete(f"SELECT {rows}"))
        elif word == "dump":
            pieces = _number(statement)
            self._say(answers.copy_out_response(), *[d(b"row\n") for _ in range(pieces)], c())
            self._say(answers.command_complete(f"COPY {pieces}"))
        elif word == "fail":
            raise _Error("22012")
        elif word == "begin":
            if self.status == "T":
                self._warn("25001")
            self.status = "T"
            self._read_only = self._read_only or argument == "READ ONLY"
            self._say(answers.command_complete("BEGIN"))
        elif word in ("savepoint", "release") or argument.lower().startswith("to savepoint"):
            self._subtransaction(word, argument.rpartition(" ")[2])
        elif word in _FINISH:
            self._end_block(word)
        elif word == "notice":
            self._say(answers.notice(), answers.command_complete("DO"))
            self._flush()
        elif word == "chatty":
            self._chatty = True
            self._say(answers.command_complete("SET"))
        elif word == "set" and argument.startswith("LOCAL"):
            self._read_only = True
            self._say(answers.command_complete("SET"))
        elif word == "set":
            self._say(answers.parameter_status("TimeZone", "UTC"), answers.command_complete("SET"))
        elif word == "die":
            self._die("57P01")
        else:
            self._check_writing()
            self.uncommitted.append(Effect(statement if word == "defer" else argument))
            self._say(answers.command_complete("INSERT 0 1"))

    def _check_writing(self) -> None:
        if self._read_only:
            raise _Error("25006")

    def _subtransaction(self, word: str, name: str) -> None:
        if self.status == "I":
            raise _Error("25P01")
        if word == "savepoint":
            self._savepoints.append(_Savepoint(name, len(self.uncommitted), self._read_only))
            self._say(answers.command_complete("SAVEPOINT"))
            return
        found = [at for at, each in enumerate(self._savepoints) if each.name == name]
        if not found:
            raise _Error("3B001")
        at = found[-1]
        self._read_only = self._savepoints[at].read_only
        if word == "release":
            del self._savepoints[at:]
            for portal in self._portals.values():
                portal.level = min(portal.level, at)
            self._say(answers.command_complete("RELEASE"))
            return
        del self._savepoints[at + 1 :]
        self._undo_level()
        self.status = "T"
        self._say(answers.command_complete("ROLLBACK"))

    def _undo_level(self) -> None:
        """What the innermost subtransaction, or else the transaction, did is gone."""
        level = len(self._savepoints)
        del self.uncommitted[self._savepoints[-1].effects if level else 0 :]
        self._portals = {name: each for name, each in self._portals.items() if each.level < level}

    def _end_block(self, word: str) -> None:
        failed = self.status == "E"
        if self.status == "I":
            self._warn("25P01")
        self.status = "I"
        if word == "rollback" or failed:
            self.uncommitted.clear()
            self._end()
            self._say(answers.command_complete("ROLLBACK"))
        else:
            self._commit()
            self._say(answers.command_complete("COMMIT"))

    def _end(self) -> None:
        self._portals.clear()
        self._savepoints.clear()
        self._read_only = False

    def _warn(self, code: str) -> None:
        self._say(answers.notice("not here", "WARNING", code))

    def _check_block(self, text: str) -> None:
        if self.status == "E" and _word(text) not in _FINISH:
            raise _Error("25P02")

    def _commit(self) -> None:
        work, self.uncommitted = self.uncommitted, []
        self._end()
        if any(effect.text.startswith("defer") for effect in work):
            raise _Error("23503")
        self.committed += work

    def _abort(self, error: _Error) -> None:
        self._undo_level()
        if self.status == "T":
            self.status = "E"
        self._say(answers.error(str(error), error.code))
        self._flush()

    def _ready(self) -> None:
        if self.status == "I":
            self._portals.clear()
        self._say(answers.ready(self.status))
        self._flush()

    def _die(self, code: str) -> None:
        self._say(answers.fatal("terminating connection", code))
        self._flush()
        self.alive = False


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _word(text: str) -> str:
    return text.partition(" ")[0].lower()


def _number(text: str) -> int:
    number = text.partition(" ")[2].partition(" ")[0]
    return min(int(number), 100) if number.isdecimal() else 0


def _values(rest: bytes) -> tuple[bytes | None, ...]:
    (formats,) = struct.unpack_from("!H", rest)
    at = 2 + 2 * formats
    (count,) = struct.unpack_from("!H", rest, at)
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", rest, at)
        at += 4
        values.append(None if length < 0 else rest[at : at + length])
        at += max(length, 0)
    return tuple(values)
