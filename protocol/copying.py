"""Where a COPY from the client stands, and which Syncs the server took no notice of.

While the server reads COPY data it ignores Sync and Flush, and takes anything that is neither those nor COPY
data for a broken connection. So a Sync behind a COPY, sent before the server asked for data or between the
data, gets no answer if the COPY was alive when the server read it, and one if it had failed by then. Nothing
tells which but the number of answers:

* the COPY succeeded: it was alive throughout, none of them counts;
* it failed: they are *doubtful*, and a *fence* (a Close of a name nobody uses, then a Sync) is sent behind
  them. Every ReadyForQuery in front of the fence's CloseComplete is an answer to the client.

Source: ``src/backend/commands/copyfromparse.c`` (CopyGetData) and the documentation, "COPY Operations".
"""

from typing import Final

from . import messages

FENCE: Final = messages.close_statement(messages.OWN_NAME)


class CopyIn:
    """The COPY data of one session."""

    __slots__ = ("doubtful", "fenced", "ignored", "passing", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        """The server asked for data and the client has not ended it."""
        self.ignored = 0
        """Syncs that the server takes no notice of if the COPY succeeds."""
        self.doubtful = 0
        """Syncs around a failed COPY that the server may yet answer."""
        self.fenced = False
        """The fence was sent; until its answer, what the server answers cannot be told apart."""
        self.passing = False
        """Whether the CopyData message under way goes to the server."""

    def started(self, *, wanted: bool, ignored: int) -> None:
        """The server asked for data."""
        self.wanted = wanted
        self.ignored += ignored

    @property
    def undecided(self) -> bool:
        """Whether nothing more of the client may be looked at before the server has answered."""
        return self.fenced or (self.ignored > 0 and not self.wanted)

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
