"""Running a request so that it cannot write: what is sent around its messages, or why that cannot be.

Where the client has a transaction open, what is to run read-only runs in a subtransaction of it that is made
read-only (``SAVEPOINT``, ``SET LOCAL transaction_read_only``) and then released or, where nothing it did may stay,
rolled back. Where it has none, a transaction of the gateway's own is opened around it, and ended behind the
client's Sync.

All of this goes in messages of the extended protocol, also around a Query: should one of them fail, the server
skips what follows up to a Sync, so nothing runs without its enclosure. Everything is sent at once; nobody waits.

Source: PostgreSQL documentation, "Extended Query" (pipelining), reference pages of SAVEPOINT and SET TRANSACTION.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from .request import Delimiter, Execution, Kind, Request, Step
from .tags import TransactionStatus


class Boundary(Enum):
    """What an execution does to the transaction it runs in."""

    NONE = auto()
    OPENS = auto()
    CLOSES = auto()
    KEEPS = auto()
    """It works on savepoints, or ends one transaction and begins the next."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Conduct:
    """What is known of an execution. ``undo``: nothing that it does read-only may stay. ``shares`` is false where
    it may end a transaction of the gateway's, or behaves otherwise inside one; ``takes_data`` where it may read
    COPY data, and the server nothing else until that ends."""

    read_only: bool = False
    undo: bool = False
    boundary: Boundary = Boundary.NONE
    shares: bool = True
    takes_data: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the session stands before a request: its transaction status (None where that cannot be told),
    ``enclosed`` inside a transaction of the gateway's own, ``unsynced`` behind messages without a Sync that did
    more than prepare and describe."""

    status: int | None
    unsynced: bool = False
    enclosed: bool = False


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Statements to send in front of and behind messages of a request, by their indexes.

    ``closing`` ends the transaction that the first of them opens; it goes behind the client's Sync.
    """

    before: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    after: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    closing: bytes = b""


NOTHING_AROUND: Final = Enclosure()
"""The request is sent as it is."""

_SAVEPOINT: Final = b'SAVEPOINT "holdgate read only"'
_READ_ONLY: Final = b"SET LOCAL transaction_read_only = on"
_UNDO: Final = b'ROLLBACK TO SAVEPOINT "holdgate read only"'
_RELEASE: Final = b'RELEASE SAVEPOINT "holdgate read only"'
_ENTER: Final = (_SAVEPOINT, _READ_ONLY)
_BEGIN_READ_ONLY: Final = b"BEGIN READ ONLY"
_BEGIN: Final = b"BEGIN"
_COMMIT: Final = b"COMMIT"
_ROLLBACK: Final = b"ROLLBACK"


class _State(Enum):
    IDLE = auto()
    BLOCK = auto()
    FAILED = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class _Region:
    """Messages ``first`` to ``last`` that run read-only together, beginning in ``state``."""

    first: int
    last: int
    state: _State
    undo: bool = False


def enclose(request: Request, conducts: Mapping[Execution, Conduct], standing: Standing) -> Enclosure | str:
    """What to send around ``request``, or why what is to run read-only cannot be enclosed.

    An execution without a conduct does nothing that matters here (a Bind that plans without running code).
    """
    if request.kind is Kind.BATCH:
        return _Batch(request, conducts, standing).enclosure()
    if standing.enclosed:
        return "it follows a statement of the same series without a Sync"
    (execution,) = request.executions
    conduct = conducts.get(execution, Conduct())
    if not conduct.read_only or standing.status == TransactionStatus.FAILED:
        return NOTHING_AROUND
    if standing.status == TransactionStatus.IN_TRANSACTION:
        # A failed transaction must stay so: the first statement behind the Query fails there, and with it all.
        leave = (_READ_ONLY, _UNDO, _RELEASE) if conduct.undo else (_RELEASE,)
        return Enclosure({0: _ENTER}, {0: leave})
    if standing.unsynced or standing.status != TransactionStatus.IDLE:
        return "it follows messages without a Sync"
    return Enclosure({0: (_BEGIN_READ_ONLY,)}, {0: (_ROLLBACK if conduct.undo else _COMMIT,)})


class _Batch:
    """Encloses what of a batch is to run read-only."""

    def __init__(self, request: Request, conducts: Mapping[Execution, Conduct], standing: Standing) -> None:
        self._request = request
        self._standing = standing
        self._conducts = conducts
        self._regions: list[_Region] = []
        self._others: dict[int, Conduct] = {}
        """Conducts of what runs as it is, by the index of its Execute or Bind."""

    def enclosure(self) -> Enclosure | str:
        """See ``enclose``."""
        self._find_regions()
        obstacle = self._obstacle()
        if obstacle is not None:
            return obstacle
        if not self._regions or all(region.state is _State.FAILED for region in self._regions):
            return NOTHING_AROUND
        if self._is_whole_series():
            (region,) = self._regions
            return Enclosure({0: (_BEGIN_READ_ONLY,)}, {}, _ROLLBACK if region.undo else _COMMIT)
        obstacle = self._obstacle_to_undoing()
        return obstacle if obstacle is not None else self._by_regions()

    def _find_regions(self) -> None:
        work: dict[int, tuple[Conduct, bool]] = {}
        for execution in self._request.executions:
            conduct = self._conducts.get(execution)
            if conduct is not None:
                work[execution.since] = conduct, False
        for execution in self._request.executions:
            conduct = self._conducts.get(execution)
            if conduct is not None and execution.step is Step.EXECUTE:
                work[execution.at] = conduct, True
        state = _state_of(self._standing)
        region: _Region | None = None
        for index in sorted(work):
            conduct, executes = work[index]
            if conduct.read_only:
                if region is None:
                    region = _Region(index, index, state)
                    self._regions.append(region)
                region.last = index
                region.undo = region.undo or conduct.undo
                continue
            region = None
            self._others[index] = conduct
            if executes:
                state = _after(state, conduct.boundary)

    def _is_whole_series(self) -> bool:
        """Whether one read-only transaction around the whole batch will do."""
        return (
            not self._others
            and self._regions[0].state is _State.IDLE
            and self._request.delimiter is Delimiter.SYNC
            and not self._standing.unsynced
        )

    def _obstacle(self) -> str | None:
        opens_at = next((region.first for region in self._regions if region.state is _State.IDLE), None)
        if opens_at is not None and any(
            conduct.boundary is not Boundary.NONE and index < opens_at
            for index, conduct in self._others.items()
        ):
            # If what stands in front fails, that transaction is open at the Sync, and would be closed as ours.
            return "what stands in front of it in the series may leave a transaction open"
        for region in self._regions:
            if region.state is _State.UNKNOWN:
                return "it cannot be told in what transaction it would run"
        for index, conduct in self._others.items():
            behind = bool(self._regions) and index < self._regions[-1].first
            inside = self._standing.enclosed or (opens_at is not None and index > opens_at)
            if (conduct.takes_data and behind) or (not conduct.shares and inside):
                return "what else is in the same series cannot be in a transaction with it"
        if opens_at is not None and self._request.delimiter is Delimiter.OTHER:
            return "a Query follows it without a Sync"
        return None

    def _obstacle_to_undoing(self) -> str | None:
        """What is undone takes its portal along. Nobody continues an unnamed one: it is gone with the next Bind."""
        for execution in self._request.executions:
            conduct = self._conducts.get(execution, Conduct())
            if conduct.read_only and conduct.undo:
                if execution.step is Step.BIND:
                    return "it is bound here and executed later"
                named = execution.portal is None or execution.portal.name != b""
                if execution.row_limit > 0 and (named or execution.since == execution.at):
                    return "it may stop at its row limit, to be continued later"
        return None

    def _by_regions(self) -> Enclosure:
        before: dict[int, tuple[bytes, ...]] = {}
        after: dict[int, tuple[bytes, ...]] = {}
        opened = self._standing.enclosed
        closing = b""
        for region in self._regions:
            if region.state is _State.FAILED:
                continue
            opens = region.state is _State.IDLE and not opened
            if opens:
                opened, closing = True, _COMMIT
            before[region.first] = ((_BEGIN,) if opens else ()) + _ENTER
            after[region.last] = (_UNDO, _RELEASE) if region.undo else (_RELEASE,)
        return Enclosure(before, after, closing)


def _state_of(standing: Standing) -> _State:
    if standing.status is None:
        return _State.UNKNOWN
    if standing.status == TransactionStatus.IN_TRANSACTION:
        return _State.BLOCK
    return _State.FAILED if standing.status == TransactionStatus.FAILED else _State.IDLE


def _after(state: _State, boundary: Boundary) -> _State:
    """Where an execution leaves the session if it succeeds; if not, nothing behind it is executed."""
    if boundary is Boundary.NONE or state is _State.UNKNOWN:
        return state
    if boundary is Boundary.UNKNOWN:
        return _State.UNKNOWN
    return _State.IDLE if boundary is Boundary.CLOSES else _State.BLOCK
