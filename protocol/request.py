"""What the gateway rules on: one request, with its original bytes and everything in it that executes."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from .errors import ServerError
from .statements import Portal

UNNAMED: Final = "(unnamed)"
"""What ``Execution.unknown_name`` says of the unnamed statement or portal."""


class Kind(Enum):
    """How a request came."""

    QUERY = "simple"
    BATCH = "extended"
    FUNCTION_CALL = "function call"


class Delimiter(Enum):
    """What ended a batch of extended-protocol messages."""

    SYNC = "Sync"
    FLUSH = "Flush"
    OTHER = "Query or FunctionCall without a Sync before it"
    SIZE = "the size at which a batch is passed on"
    FAULT = "a message that cannot be forwarded"
    CUT = "a Flush of the gateway's own, where it ruled on a part"
    BORDER = "a Sync of the gateway's own, where it ruled on a part that ends with a transaction"


class Step(Enum):
    """What an execution is on the wire."""

    QUERY = "Query"
    EXECUTE = "Execute"
    BIND = "Bind"
    """A Bind that its batch does not execute: the server plans it, which can run code by itself."""
    FUNCTION_CALL = "FunctionCall"


@dataclass(slots=True, eq=False)
class Execution:
    """One thing the server would run.

    ``at`` is the index of its message in the request, ``since`` that of the first message by which the server
    would begin to run it: its Bind, if that is in the same request. ``sql`` holds the texts it may stand for
    (the judge takes the strictest), empty when the name is unknown: ``unknown_name`` then says which.
    ``parameters`` are (type OID, format, value).
    """

    step: Step
    at: int
    since: int
    sql: tuple[bytes, ...] = ()
    parameters: tuple[tuple[int, int, bytes | None], ...] = ()
    portal: Portal | None = None
    row_limit: int = 0
    function_oid: int = 0
    unknown_name: str = ""


@dataclass(slots=True, eq=False)
class Fault:
    """A message that cannot be forwarded: where it stands, and what the client is told."""

    at: int
    error: ServerError


@dataclass(slots=True, eq=False)
class Request:
    """One request: forwarded whole, or refused at one of its executions."""

    kind: Kind
    messages: list[bytes]
    executions: list[Execution]
    delimiter: Delimiter = Delimiter.OTHER
    fault: Fault | None = None
