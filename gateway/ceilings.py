"""Row ceilings: how many rows an approval lets a statement change, and whether that can be enforced."""

from gateway.arbiter import Ruling
from gateway.store import Hold
from protocol import sqlstate
from protocol.ceiling import Ceiling
from protocol.enclosure import Standing
from protocol.errors import ServerError
from protocol.request import Execution, Kind, Request, Step
from protocol.tags import TransactionStatus
from rules import Boundary
from rules.tallies import NotTallied, tallies

__all__ = ["ceiling_of", "uncounted"]


def uncounted(request: Request, ruling: Ruling, standing: Standing) -> str | None:
    """Why the rows that a request changes cannot be counted before they are committed. None: they can."""
    try:
        counted = _counted(request, ruling, standing)
    except NotTallied as why:
        return str(why)
    return None if counted else "it has no DELETE, UPDATE or MERGE"


def ceiling_of(request: Request, ruling: Ruling, standing: Standing, hold: Hold) -> Ceiling | None:
    """What the approval of a hold allows. Raises :class:`NotTallied` where that cannot be enforced."""
    most = hold.max_rows
    if most is None:
        return None
    counted = _counted(request, ruling, standing)

    def refusal(rows: int | None, too_long: bool) -> ServerError:
        if too_long:
            why = "its answer is too long to be held back until its rows are counted"
        elif rows is None:
            why = "it stopped at the row limit of its Execute, where its rows are not counted yet"
        else:
            why = f"it changed {rows} {_rows(rows)}"
        return ServerError(
            sqlstate.PROGRAM_LIMIT_EXCEEDED,
            f"statement undone: {why}, and no more than {most} {_rows(most)} were approved",
            detail=f"Hold {hold.id}, approved by {', '.join(hold.decided_by)}. Nothing that it changed was kept.",
            hint="See what has changed since it was approved. Run again, it is held again.",
        )

    return Ceiling(most, counted, refusal)


def _counted(request: Request, ruling: Ruling, standing: Standing) -> frozenset[Execution]:
    """The executions whose rows are counted. Raises NotTallied."""
    if request.kind is Kind.FUNCTION_CALL:
        raise NotTallied("a FunctionCall does not say how many rows it changed")
    if ruling.read_only or standing.enclosed:
        raise NotTallied("a part of it runs read-only")
    if request.kind is Kind.QUERY and standing.unsynced:
        raise NotTallied("it follows messages without a Sync")
    counted: set[Execution] = set()
    for one in ruling.ruled:
        execution, contained = one.execution, one.containment
        if execution.step is Step.BIND:
            continue
        if len(execution.sql) != 1:
            raise NotTallied("it cannot be told which text is executed")
        if tallies(one.judgement.facts, one.prepared):
            counted.add(execution)
        if contained.takes_data:
            raise NotTallied("it may be a COPY from the client")
        opens = contained.boundary is Boundary.OPENS and request.kind is Kind.BATCH
        if contained.boundary is not Boundary.NONE and not opens:
            raise NotTallied("what else is in it ends a transaction, or sets its savepoints")
        if (
            request.kind is Kind.QUERY
            and standing.status != TransactionStatus.IN_TRANSACTION
            and not contained.shares
        ):
            raise NotTallied("what else is in it behaves otherwise inside a transaction")
    return frozenset(counted)


def _rows(number: int) -> str:
    return "row" if number == 1 else "rows"
