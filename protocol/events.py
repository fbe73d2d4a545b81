"""What ``ProxyConnection.next_event`` tells the gateway. Each is a value; none refers back to the core."""

from dataclasses import dataclass
from typing import Final

from .hidden import Hidden
from .request import Execution, Request


@dataclass(frozen=True, slots=True)
class RequestReady:
    """A request waits for a ruling: answer with ``forward`` or ``refuse``. Nothing else of this client is
    looked at until then."""

    request: Request


@dataclass(frozen=True, slots=True)
class StatementFinished:
    """A statement ended. ``index`` counts the statements of one Query from 0.

    ``size`` is the bytes of the server's answer, ``report`` the error's fields, empty on success.
    ``suspended`` marks a portal stopped at its row limit, ``skipped`` a statement the server never ran because
    an earlier one failed. ``undone`` is the tag of one that succeeded and was undone: it changed more rows than it may.
    """

    execution: Execution
    index: int
    tag: str
    rows: int | None
    size: int
    report: dict[str, str]
    suspended: bool = False
    skipped: bool = False
    undone: str = ""


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The implicit commit at a Sync failed (for example a deferred constraint)."""

    report: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ready:
    """The server is ready; ``status`` is a ``TransactionStatus``. ``execution`` is the Query or FunctionCall
    this ends, None for a Sync."""

    status: int
    execution: Execution | None


@dataclass(frozen=True, slots=True)
class ParameterChanged:
    """The server reported a setting."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """An error or a notice of the server, of which the client got only what holds no values."""

    report: dict[str, str]


@dataclass(frozen=True, slots=True)
class UpstreamFatal:
    """The server ends this session; its error is on the way to the client."""

    report: dict[str, str]


@dataclass(frozen=True, slots=True)
class HiddenFinished:
    """Statements of the gateway's own have ended; see ``hidden.report``."""

    hidden: Hidden


@dataclass(frozen=True, slots=True)
class Terminated:
    """The client said Terminate. What it sends behind that is not looked at; what it asked before is still
    answered."""


class _Marker:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NEED_DATA: Final = _Marker("NEED_DATA")
"""More bytes of the client are needed."""

PAUSED: Final = _Marker("PAUSED")
"""A ruling, or the server's answer, is needed before more of the client is looked at."""

Event = (
    RequestReady
    | StatementFinished
    | CommitFailed
    | Ready
    | ParameterChanged
    | Withheld
    | HiddenFinished
    | UpstreamFatal
    | Terminated
    | _Marker
)
