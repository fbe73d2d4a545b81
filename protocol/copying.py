"""Where a COPY from the client stands, and which Syncs the server took no notice of.

While the server reads COPY data it ignores Sync and Flush, and takes anything that is neither those nor COPY
data for a broken connection. What is sent behind a COPY therefore means one thing if the server asks for data
and another if it does not. So behind what may be a COPY nothing more of the client is looked at until the
server has answered: with the request for data, or with all it owes.

What remains open is a Sync behind the COPY in its own request, or between its data: it gets no answer if the
COPY was alive when the server read it, and one if it had failed by then. Nothing tells which but the number of
answers:

* the COPY succeeded: it was alive throughout, none of them counts;
* it failed: they are *doubtful*, and a *fence* (a Close of a name nobody uses, then a Sync) is sent behind
  them. Every ReadyForQuery in front of the fence's CloseComplete is an answer to the client.

Source: ``src/backend/commands/copyfromparse.c`` (CopyGetData) and the documentation, "COPY Operations".
"""

from typing import Final

from . import messages
from .request import Execution

FENCE: Final = messages.close_statement(messages.OWN_NAME)


def may_copy(execution: Execution) -> bool:
    """Whether the server may ask for data: COPY and START_REPLICATION make it do so, and no other spelling
    of these words does."""
    for sql in execution.sql:
        lower = sql.lower()
        if b"copy" in lower or b"replication" in lower:
            return True
    return False


class CopyIn:
    """The COPY data of one session."""

    __slots__ = ("broken", "doubtful", "fenced", "ignored", "passing", "possible", "wanted")

    def __init__(self) -> None:
        self.possible = False
        """Something was sent that may make the server ask for data, and it has not answered yet."""
        self.wanted = False
        """The server asked for data and the client has not ended it."""
        self.broken = False
        """The client sent what the server cannot read inside COPY."""
        self.ignored = 0
        """Syncs that the server takes no notice of if the COPY succeeds."""
        self.doubtful = 0
        """Syncs around a failed COPY that the server may yet answer."""
        self.fenced = False
        """The fence was sent; until its answer, what the server answers cannot be told apart."""
        self.passing = False
        """Whether the CopyData message under way goes to the server."""

    def started(self, *, ignored: int, broken: bool) -> None:
        """The server asked for data."""
        self.possible = False
        self.wanted = True
        self.ignored += ignored
        self.broken = broken

    def ended(self, *, more: bool) -> None:
        """The client ended its data. ``more``: the server may ask again."""
        self.wanted = False
        self.possible = more

    @property
    def at_rest(self) -> bool:
        """Whether there is no COPY, and none that anything is still to come of."""
        return not (
            self.possible or self.wanted or self.broken or self.ignored or self.doubtful or self.fenced
        )

    @property
    def undecided(self) -> bool:
        """Whether nothing more of the client may be looked at before the server has answered."""
        return self.possible or self.fenced or (self.ignored > 0 and not self.wanted)

    def succeeded(self) -> None:
        """The server finished the COPY."""
        self.wanted = False
        self.ignored = 0

    def failed(self) -> None:
        """The server reported an error."""
        self.wanted = False
        self.doubtful += self.ignored
        self.ignored = 0

    def answered(self) -> bool:
        """Whether a ReadyForQuery that nothing else accounts for answers one of the doubtful Syncs."""
        if not self.doubtful:
            return False
        self.doubtful -= 1
        return True

    def fence_passed(self) -> None:
        """The server answered the fence: it owes nothing for what came before."""
        self.doubtful = 0
        self.fenced = False
