"""Asking the server which code a statement leads to, where ``databases.*.resolve`` says ``server``.

The statement is parsed and rewritten in the client's own session, where names stand for what they stand for there, in
a read-only transaction or savepoint of which nothing remains. Nothing of it is planned or run. Its tree comes as a
message of the level LOG, which the client does not see.

Source: PostgreSQL documentation, "Error Reporting and Logging" (debug_print_rewritten, log_min_messages).
"""

from collections.abc import Callable
from typing import Final

from gateway.arbiter import Arbiter, Ruling
from gateway.asking import AskError, Asking, CannotAsk
from gateway.catalog import Catalog
from protocol.request import Request, Step
from rules import Decision
from rules.rewritten import UnknownShape, read_rewritten
from rules.settling import may_settle

__all__ = ["Resolving"]

MAX_TEXT: Final = 16 * 1024
"""Bytes of a statement that is asked about: its tree is many times as large."""

_VERSIONS: Final = range(15, 19)
"""Major versions whose trees are known."""

_SHOWN: Final = (
    b"SET LOCAL client_min_messages = log",
    b"SET LOCAL debug_pretty_print = off",
    b"SET LOCAL debug_print_parse = off",
    b"SET LOCAL debug_print_plan = off",
    b"SET LOCAL debug_print_rewritten = on",
)
_UNLOGGED: Final = b"SET LOCAL log_min_messages = panic"
_MAY_HIDE: Final = "SELECT pg_catalog.has_parameter_privilege('log_min_messages', 'SET')::pg_catalog.text"
_ROUTINE: Final = "elog_node_display"
"""The routine of the server that prints trees, and nothing else: no RAISE of somebody's code has its name."""


class Resolving:
    """What one session asks the server about its statements."""

    def __init__(
        self, asking: Asking, arbiter: Arbiter, catalog: Catalog, wanted: Callable[[], bool]
    ) -> None:
        self._asking = asking
        self._arbiter = arbiter
        self._catalog = catalog
        self._wanted = wanted
        self._unlogged: bool | None = None
        """Whether the session may keep the trees out of the server's own log; None before anybody asked."""

    def may_settle(self, request: Request, ruling: Ruling) -> bool:
        """Whether the server may know better of a request that is not allowed."""
        if ruling.decision is Decision.ALLOW or not self._wanted():
            return False
        if len(request.executions) != 1 or len(ruling.ruled) != 1:
            return False
        (one,) = ruling.ruled
        execution = one.execution
        return (
            len(execution.sql) == 1
            and execution.step is not Step.FUNCTION_CALL
            and len(execution.sql[0]) <= MAX_TEXT
            and one.catalog.server_version // 10_000 in _VERSIONS
            and may_settle(one.judgement.facts)
        )

    async def settle(self, request: Request, ruling: Ruling) -> bool:
        """Whether the server's tree says less of such a request than was read of it: the arbiter knows it then, and the
        request is to be ruled on again. Call it only when the server owes nothing."""
        if not self.may_settle(request, ruling):
            return False
        (one,) = ruling.ruled
        execution = one.execution
        statement = execution.portal.statement if execution.portal is not None else None
        try:
            said = await self._tree(execution.sql[0], statement.declared if statement is not None else ())
            tree = read_rewritten(said)
        except (AskError, CannotAsk, UnknownShape):
            return False
        return self._arbiter.settle(one, tree)

    async def _tree(self, sql: bytes, parameter_types: tuple[int, ...]) -> str:
        """The tree's text, empty if there is none. Raises ``AskError`` and ``CannotAsk``."""
        if self._unlogged is None:
            ((answer,),) = await self._asking.ask(_MAY_HIDE)
            self._unlogged = answer == "true"
            if not self._unlogged:
                self._catalog.log_fills()
        hidden = (_UNLOGGED,) if self._unlogged else ()
        notices = await self._asking.analysed((*hidden, *_SHOWN), sql, parameter_types)
        # What follows is that of the statement which ends the transaction.
        return next((detail for routine, detail in notices if routine == _ROUTINE), "")
