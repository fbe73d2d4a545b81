"""The words of holding: what a session asks for, and how it can be refused."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.store import Grantable, Hold
from rules import NO_MARGIN, UNSAID, Affected, Confirm, Intent, Margin, Stage

__all__ = [
    "PREVIEWED",
    "REASON_LENGTH",
    "AlreadyDecided",
    "AlreadyResolved",
    "ClaimRefused",
    "ConflictingHold",
    "GrantNotFound",
    "GrantOver",
    "HoldError",
    "HoldNotFound",
    "HoldPage",
    "HoldRequest",
    "HoldsFull",
    "InCircle",
    "InvalidCeiling",
    "InvalidGrant",
    "InvalidReason",
    "MaxRows",
    "MustWaitFor",
    "NotAllowed",
    "ReviewClosed",
    "RuleVerdict",
    "StillChecking",
    "checked_reason",
    "chosen",
    "storable",
]

REASON_LENGTH = 2_000

PREVIEWED: Final = "previewed"
"""As many rows as the preview counted, and the margin of the rule; where nothing was counted, any number."""

MaxRows = int | Literal["previewed"] | None
"""What an approver says of rows; None: any number."""

RuleVerdict = Literal["allow", "deny", "ask"]
"""What a rule says by itself once its criteria are checked."""

# Invisible marks that reorder the text around them: what is read would not be what was written.
_REORDERING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """A statement that has to wait, with everything an approver is shown.

    ``parameters`` are display strings, None for NULL; ``expires`` is in seconds; ``digest`` binds the
    approval to what would be forwarded. ``obligations`` bind the statement after the approval. ``recent`` are the
    session's statements before it, ``intent`` is what the requester says of it, and
    ``breaks_glass`` that they may, and want to, let it run without anybody's approval, ``all_met`` that all
    criteria of its rule are. ``check_seconds`` is how long those may be checked that are ``checking``, None where none
    is. ``confirm`` is how whoever asks has to confirm it before people are asked. ``margin`` is by how much it may
    change more rows than were previewed, ``uncounted`` why no number of them can be enforced, and ``grantable`` what
    of it may be granted. ``affected`` is
    whose data it exports and deletes, in the database that ``place`` names for all who reach it.
    """

    user: str
    groups: Sequence[str]
    database: str
    client_addr: str | None
    application_name: str
    session_id: str
    statement_id: str
    sql: str
    parameters: Sequence[str | None] | None
    actions: Sequence[str]
    relations: Sequence[str]
    columns: Sequence[str]
    row_bound: str
    rule: str
    criteria: Sequence[Mapping[str, object]] = ()
    reason: str
    stages: Sequence[Stage] = (Stage(),)
    expires: float
    digest: str
    obligations: Sequence[str] = ()
    intent: Intent = UNSAID
    breaks_glass: bool = False
    all_met: bool = False
    check_seconds: float | None = None
    recent: Sequence[Mapping[str, object]] = ()
    margin: Margin = NO_MARGIN
    uncounted: str | None = None
    grantable: Grantable | None = None
    confirm: Confirm | None = None
    transaction_open_since: datetime | None = None
    place: str = ""
    affected: Sequence[Affected] = ()


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Some holds, newest first, and where the next page begins; no cursor means there is no more."""

    holds: list[Hold]
    cursor: str | None


class HoldError(Exception):
    """A hold could not be opened, decided or used. The message is one sentence for people."""


class HoldsFull(HoldError):
    """As many holds are pending as may be, for this user or for everybody."""


class HoldNotFound(HoldError):
    """There is no hold with this id."""


class AlreadyResolved(HoldError):
    """The hold is no longer pending. ``hold`` says what became of it."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"{hold.id} is {hold.state.value} already")
        self.hold = hold


class AlreadyDecided(HoldError):
    """This person has decided about the hold before, and counts once."""

    def __init__(self, why: str, hold: Hold) -> None:
        super().__init__(why)
        self.hold = hold


class ReviewClosed(HoldError):
    """There is no review of this hold that is open: somebody has closed it, or it ran with an approval."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"no review of {hold.id} is open")
        self.hold = hold


class StillChecking(HoldError):
    """The criteria of the hold are being checked, and nobody is asked yet."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"the criteria of {hold.id} are being checked; decide in a moment")
        self.hold = hold


class InvalidGrant(HoldError, ValueError):
    """This cannot be granted with an approval of this hold."""


class InCircle(HoldError):
    """What waits for room waits for somebody who waits for what its own transaction has."""


class GrantNotFound(HoldError):
    """There is no grant with this id."""


class GrantOver(HoldError):
    """The grant was revoked before."""


class NotAllowed(HoldError):
    """This person may not decide this hold."""


class InvalidReason(HoldError, ValueError):
    """The reason is missing where it is needed, too long, or holds characters that deceive a reader."""


class InvalidCeiling(HoldError, ValueError):
    """The number of rows that the approval is for cannot be enforced."""


class ConflictingHold(HoldError):
    """The hold was not opened: another one concerns the same people."""


class MustWaitFor(HoldError):
    """The approval cannot be used yet: another hold has to end first."""


class ClaimRefused(HoldError):
    """The approval cannot be used: there is none, it was used, or it is for something else."""


def checked_reason(reason: str | None, *, required: bool) -> str:
    """``reason`` without outer white space. Raises :class:`InvalidReason`."""
    text = (reason or "").strip()
    if required and not text:
        raise InvalidReason("a rejection needs a reason")
    if len(text) > REASON_LENGTH:
        raise InvalidReason(f"a reason has at most {REASON_LENGTH} characters")
    for char in text:
        if (unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t") or char in _REORDERING:
            raise InvalidReason("a reason cannot contain control characters")
    return text


def chosen(hold: Hold, max_rows: MaxRows) -> int | None:
    """How many rows an approval of the hold is for, None for any number.

    Raises :class:`InvalidCeiling` where a number cannot be enforced.
    """
    if max_rows == PREVIEWED:
        return hold.proposed_rows
    if max_rows is not None and hold.uncounted is not None:
        raise InvalidCeiling(f"a number of rows cannot be enforced here: {hold.uncounted}")
    return max_rows


def storable(text: str) -> str:
    """``text`` as every database, JSON and HTTP can carry it: lone surrogates and NUL become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
