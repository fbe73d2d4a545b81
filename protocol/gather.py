"""Building requests: from messages to a batch whose executions are known.

A batch gathers until Sync or Flush. When it is complete its names are resolved in order: a Parse or Bind in
it is noted as an unconfirmed change, an Execute takes its portal, and every message gets the expectation
that its forwarding will queue.
"""

from dataclasses import dataclass
from typing import Final

from . import messages, sqlstate
from .errors import FrontendViolation, ServerError
from .framing import HEADER_SIZE
from .pipeline import Expected
from .request import UNNAMED, Delimiter, Execution, Fault, Kind, Request, Step
from .state import Reply
from .statements import MAX_NAME, Portal, PreparedStatement, SessionNames
from .tags import FrontendTag as F

_EXTENDED: Final = frozenset({int(F.PARSE), int(F.BIND), int(F.DESCRIBE), int(F.EXECUTE), int(F.CLOSE)})
_STATEMENT: Final = ord("S")


_Decoded = messages.Parse | messages.Bind | messages.Target | tuple[bytes, int]
"""A message of the extended protocol; an Execute as portal name and row limit."""


@dataclass(slots=True)
class _Message:
    tag: int
    raw: bytes
    decoded: _Decoded


@dataclass(slots=True, eq=False)
class Resolved:
    """A request, and for each of its messages what the server will owe for it."""

    request: Request
    expected: list[Expected]

    def cut(self, at: int, delimiter: Delimiter) -> "tuple[Resolved, Resolved]":
        """The messages in front of index ``at`` up to ``delimiter``, and the others as a request of their own.

        What is bound in front and executed behind has begun to run for the latter.
        """
        request = self.request
        front = Request(
            request.kind,
            request.messages[:at],
            [one for one in request.executions if one.at < at],
            delimiter,
        )
        behind = [one for one in request.executions if one.at >= at]
        for execution in behind:
            execution.at -= at
            execution.since = execution.since - at if execution.since >= at else execution.at
        fault = request.fault
        if fault is not None:
            fault = Fault(fault.at - at, fault.error)
        rest = Request(request.kind, request.messages[at:], behind, request.delimiter, fault)
        return Resolved(front, self.expected[:at]), Resolved(rest, self.expected[at:])


class Gatherer:
    """Collects the extended-protocol messages of one batch and resolves them."""

    __slots__ = ("_fault", "_messages", "_names", "size")

    def __init__(self, names: SessionNames) -> None:
        self._names = names
        self._messages: list[_Message] = []
        self._fault: Fault | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def faulty(self) -> bool:
        """Whether a message came that cannot be forwarded."""
        return self._fault is not None

    def add(self, tag: int, raw: bytes) -> None:
        """Take one message of the extended protocol."""
        decoded: _Decoded
        try:
            if tag == F.PARSE:
                decoded = messages.decode_parse(raw, HEADER_SIZE)
            elif tag == F.BIND:
                decoded = messages.decode_bind(raw, HEADER_SIZE)
            elif tag == F.EXECUTE:
                decoded = messages.decode_execute(raw[HEADER_SIZE:])
            elif tag == F.DESCRIBE:
                decoded = messages.decode_target(raw[HEADER_SIZE:], "DESCRIBE")
            else:
                decoded = messages.decode_target(raw[HEADER_SIZE:], "CLOSE")
            _check_names(decoded)
        except FrontendViolation as violation:
            self.fail(ServerError(violation.sqlstate, violation.message))
            return
        self._messages.append(_Message(tag, raw, decoded))
        self.size += len(raw)

    def fail(self, error: ServerError) -> None:
        """The next message of the batch cannot be forwarded."""
        if self._fault is None:
            self._fault = Fault(len(self._messages), error)

    def drop(self) -> None:
        """Forget the batch."""
        self._messages.clear()
        self._fault = None
        self.size = 0

    def settled(self, segment: int) -> bool:
        """Whether every name the batch uses is certain, or is set by the batch itself."""
        statements: set[bytes] = set()
        portals: set[bytes] = set()
        names = self._names
        for message in self._messages:
            decoded = message.decoded
            if isinstance(decoded, messages.Parse):
                statements.add(decoded.name)
            elif isinstance(decoded, messages.Bind):
                portals.add(decoded.portal)
                if decoded.statement not in statements and not names.statements.settled(
                    decoded.statement, segment
                ):
                    return False
            elif (
                isinstance(decoded, tuple)
                and decoded[0] not in portals
                and not names.portals.settled(decoded[0], segment)
            ):
                return False
        return True

    def resolve(self, delimiter: Delimiter, segment: int) -> Resolved:
        """The gathered batch as a request; the gatherer is empty afterwards."""
        gathered, fault = self._messages, self._fault
        self._messages = []
        self.drop()
        executions: list[Execution] = []
        expected: list[Expected] = []
        bound: dict[bytes, Execution] = {}
        unexecuted: set[Execution] = set()
        for at, message in enumerate(gathered):
            expected.append(self._one(at, message, segment, executions, bound, unexecuted))
        executions.extend(unexecuted)
        executions.sort(key=lambda execution: execution.at)
        request = Request(Kind.BATCH, [m.raw for m in gathered], executions, delimiter, fault)
        return Resolved(request, expected)

    def _one(
        self,
        at: int,
        message: _Message,
        segment: int,
        executions: list[Execution],
        bound: dict[bytes, Execution],
        unexecuted: set[Execution],
    ) -> Expected:
        names, decoded = self._names, message.decoded
        if isinstance(decoded, messages.Parse):
            statement = PreparedStatement(
                decoded.name, (decoded.sql,), decoded.parameter_types, declared=decoded.parameter_types
            )
            return Expected(Reply.PARSE, change=names.statements.change(decoded.name, statement, segment))
        if isinstance(decoded, messages.Bind):
            portal = Portal(
                decoded.portal, names.statements.get(decoded.statement), decoded.formats, decoded.values
            )
            binding = bound[decoded.portal] = self._execution(Step.BIND, at, portal, decoded.statement)
            unexecuted.add(binding)
            return Expected(Reply.BIND, change=names.portals.change(decoded.portal, portal, segment))
        if isinstance(decoded, messages.Target):
            if message.tag == F.DESCRIBE:
                return self._describe(decoded)
            if decoded.kind != _STATEMENT:
                # What was bound and is closed unexecuted stays a Bind to be judged.
                bound.pop(decoded.name, None)
            return self._close(decoded, segment)
        name, row_limit = decoded
        begun = bound.get(name)
        execution = self._execution(Step.EXECUTE, at, names.portals.get(name), name)
        execution.row_limit = row_limit
        if begun is not None:
            execution.since, execution.unknown_name = begun.since, begun.unknown_name
            unexecuted.discard(begun)
        executions.append(execution)
        return Expected(Reply.EXECUTE, execution=execution)

    def _describe(self, target: messages.Target) -> Expected:
        if target.kind == _STATEMENT:
            return Expected(Reply.DESCRIBE_STATEMENT, statement=self._names.statements.get(target.name))
        return Expected(Reply.DESCRIBE_PORTAL)

    def _close(self, target: messages.Target, segment: int) -> Expected:
        names = self._names
        if target.kind == _STATEMENT:
            return Expected(Reply.CLOSE, change=names.statements.change(target.name, None, segment))
        return Expected(Reply.CLOSE, change=names.portals.change(target.name, None, segment))

    @staticmethod
    def _execution(step: Step, at: int, portal: Portal | None, name: bytes) -> Execution:
        statement = portal.statement if portal is not None else None
        if portal is None or statement is None:
            return Execution(
                step, at, at, portal=portal, unknown_name=name.decode("utf-8", "replace") or UNNAMED
            )
        types = statement.parameter_types
        parameters = tuple(
            (types[i] if i < len(types) else 0, portal.formats[i], value)
            for i, value in enumerate(portal.values)
        )
        return Execution(step, at, at, sql=statement.sql, parameters=parameters, portal=portal)


def _check_names(decoded: _Decoded) -> None:
    """Refuse a name that the server would not tell from another one.

    It cuts long names off, and in a database that is not UTF-8 it may convert two characters to one; then one
    name here could stand for the statement of another there.
    """
    if isinstance(decoded, messages.Parse | messages.Target):
        names: tuple[bytes, ...] = (decoded.name,)
    elif isinstance(decoded, messages.Bind):
        names = (decoded.portal, decoded.statement)
    else:
        names = (decoded[0],)
    for name in names:
        if len(name) > MAX_NAME:
            raise FrontendViolation(
                f"the name of a prepared statement or portal is longer than {MAX_NAME} bytes",
                sqlstate=sqlstate.NAME_TOO_LONG,
            )
        if not name.isascii():
            raise FrontendViolation(
                "the name of a prepared statement or portal is not ASCII",
                sqlstate=sqlstate.FEATURE_NOT_SUPPORTED,
            )


def is_extended(tag: int) -> bool:
    """Whether a message belongs into a batch."""
    return tag in _EXTENDED


def simple_query(raw: bytes) -> Resolved:
    """A Query as a request of one execution."""
    try:
        sql = messages.decode_query(raw, HEADER_SIZE)
    except FrontendViolation as violation:
        return faulty(Kind.QUERY, ServerError(violation.sqlstate, violation.message))
    execution = Execution(Step.QUERY, 0, 0, sql=(sql,))
    return Resolved(Request(Kind.QUERY, [raw], [execution]), [Expected(Reply.QUERY, execution=execution)])


def function_call(raw: bytes) -> Resolved:
    """A FunctionCall as a request of one execution."""
    try:
        call = messages.decode_function_call(raw, HEADER_SIZE)
    except FrontendViolation as violation:
        return faulty(Kind.FUNCTION_CALL, ServerError(violation.sqlstate, violation.message))
    execution = Execution(
        Step.FUNCTION_CALL,
        0,
        0,
        parameters=tuple((0, call.formats[i], value) for i, value in enumerate(call.values)),
        function_oid=call.oid,
    )
    return Resolved(
        Request(Kind.FUNCTION_CALL, [raw], [execution]), [Expected(Reply.FUNCTION_CALL, execution=execution)]
    )


def faulty(kind: Kind, error: ServerError) -> Resolved:
    """A request that is nothing but a fault."""
    return Resolved(Request(kind, [], [], fault=Fault(0, error)), [])


def too_large(tag: int, limit: int) -> ServerError:
    """The error for a message over its limit."""
    what = "statement" if tag in (F.QUERY, F.PARSE) else "message"
    return ServerError(
        sqlstate.PROGRAM_LIMIT_EXCEEDED,
        f"{what} is longer than the gateway reads ({limit} bytes)",
        hint="Split it, or ask the operator to raise limits.statement_bytes or limits.request_bytes.",
    )
