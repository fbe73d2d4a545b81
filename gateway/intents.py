"""What a requester says of a statement, and what a session is told of its user's holds.

The reason and the ticket are settings of the session, ``holdgate.reason`` and ``holdgate.ticket``, and so is why it
cannot wait, ``holdgate.break_glass``; that no comment can say, since lines are copied. Nothing of SET,
ROLLBACK and connection options is imitated here: the server is asked at the moment somebody needs to know. What waits
is told by the setting ``holdgate.pending``, which is set just before a session shows it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway import clock
from gateway.asking import AskError, Asking, CannotAsk
from gateway.hold_port import HoldPort
from gateway.hold_terms import storable
from gateway.store import Hold, StoreUnavailable
from protocol.request import Request
from rules import UNSAID, Intent, spoken_in

__all__ = ["Intents"]

_QUESTION: Final = (
    "SELECT pg_catalog.current_setting('holdgate.reason', true), "
    "pg_catalog.current_setting('holdgate.ticket', true), "
    "pg_catalog.current_setting('holdgate.break_glass', true)"
)
_PENDING: Final = b"holdgate.pending"
_SHORT: Final = 1_000
"""Bytes of a text that is looked into for the setting's name; who wants to see it says little else."""
_SQL_WIDTH: Final = 60


class Intents:
    """Reads and sets the settings of one session, whose user is ``user``."""

    def __init__(self, asking: Asking, holds: HoldPort, user: str) -> None:
        self._asking = asking
        self._holds = holds
        self._user = user

    async def of(self, request: Request) -> Intent:
        """What is said of a request: by a comment in front of it, else by the session."""
        texts = (sql for execution in request.executions for sql in execution.sql)
        said = UNSAID
        for sql in texts:
            said = said.over(spoken_in(sql.decode("utf-8", "backslashreplace")))
        try:
            ((reason, ticket, break_glass),) = await self._asking.ask(_QUESTION)
        except (AskError, CannotAsk):
            reason = ticket = break_glass = None
        said = said.over(Intent.of(reason, ticket, break_glass))
        return Intent(*(text and storable(text) for text in (said.reason, said.ticket, said.break_glass)))

    @staticmethod
    def shows_pending(request: Request) -> bool:
        """Whether a request may look at ``holdgate.pending``."""
        return any(
            _PENDING in sql.lower()
            for execution in request.executions
            for sql in execution.sql
            if len(sql) < _SHORT
        )

    async def tell_pending(self) -> None:
        """Set ``holdgate.pending`` to what of the user waits. Where that cannot be, it stays as it was."""
        try:
            holds = await self._holds.pending_of(self._user)
            text = "\n".join(_line(hold, clock.now()) for hold in holds) or "nothing waits for a decision"
        except StoreUnavailable:
            text = "the gateway cannot look it up now"
        quoted = text.replace("'", "''")
        try:
            await self._asking.ask(f"SELECT pg_catalog.set_config('holdgate.pending', '{quoted}', false)")
        except (AskError, CannotAsk):
            return


def _line(hold: Hold, now: datetime) -> str:
    until = hold.good_until or hold.expires_at
    left = max(0, round((until - now).total_seconds()))
    sql = " ".join(hold.sql.split())
    shown = sql if len(sql) <= _SQL_WIDTH else f"{sql[:_SQL_WIDTH]}..."
    line = f"{hold.id} {_waits_for(hold, now)}, rule {hold.rule}, expires in {left} s: {shown}"
    # A question reads the same in every encoding and with every kind of string.
    return line.encode("ascii", "replace").decode().replace("\\", "?")


def _waits_for(hold: Hold, now: datetime) -> str:
    place, standing = hold.queue, hold.standing
    if place is not None:
        return f"is approved and waits for room, place {place.at} of {place.of} of cap {place.cap}"
    groups: Sequence[str] = () if standing is None else standing.groups(now)
    missing = 0 if standing is None else standing.missing
    return f"waits for {missing} of {' or '.join(groups) or 'any approver'}"
