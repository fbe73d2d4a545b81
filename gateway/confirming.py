"""Whoever asked confirms it, before anybody else is asked: that it is they, and that they mean this statement.

A session that was left open, a stolen password and a script that ran in the wrong place all ask in somebody's name.
What is confirmed is the hold, with the digest of what would run. It is confirmed once, and only while it waits.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.hold_terms import AlreadyResolved, HoldError, NotAllowed
from gateway.people import same_person
from gateway.step_up import Proof
from gateway.store import BREAK_GLASS, BY_GRANT, BY_RULE, Hold, HoldState

__all__ = [
    "BY_LINK",
    "AwaitingConfirmation",
    "NothingToConfirm",
    "ProveIntent",
    "check_confirmable",
    "confirm_link",
    "is_link_of",
    "unconfirmed",
]

BY_LINK: Final = "email"
"""How somebody confirmed by the link that was sent to them."""

ProveIntent = Callable[[Hold], Awaitable[Proof]]
"""Proves that it is whoever asked who confirms. Raises what :data:`gateway.step_up.Prove` does."""


class AwaitingConfirmation(HoldError):
    """Whoever asked has not confirmed it, so nobody is asked to approve it yet."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"{hold.user} has to confirm {hold.id} before it can be approved")
        self.hold = hold


class NothingToConfirm(HoldError):
    """The hold was confirmed before, takes no confirmation, or takes another one."""

    def __init__(self, why: str, hold: Hold) -> None:
        super().__init__(why)
        self.hold = hold


def check_confirmable(hold: Hold, who: str, *, by_link: bool) -> None:
    """Raises :class:`NotAllowed`, :class:`AlreadyResolved` and :class:`NothingToConfirm` where ``who`` cannot confirm
    the hold in this way now."""
    if not same_person(who, hold.user):
        raise NotAllowed(f"only {hold.user}, whose statement it is, can confirm {hold.id}")
    if hold.confirm is None:
        raise NothingToConfirm(f"{hold.id} takes no confirmation", hold)
    if hold.confirmation is not None:
        raise NothingToConfirm(f"{hold.id} is confirmed already", hold)
    if hold.state is not HoldState.PENDING:
        raise AlreadyResolved(hold)
    if (hold.confirm == "email") is not by_link:
        wanted = "the link that was sent by e-mail" if hold.confirm == "email" else "a second factor"
        raise NothingToConfirm(f"{hold.id} is confirmed by {wanted}", hold)


def unconfirmed(hold: Hold) -> str | None:
    """Why an approval of the hold does not count, None where it does: what is asked for was confirmed, or nobody had to
    be asked."""
    if hold.confirm is None or hold.confirmation is not None:
        return None
    if any(one.how in (BREAK_GLASS, BY_GRANT, BY_RULE) for one in hold.decisions):
        return None
    return f"{hold.user} has not confirmed it"


def confirm_link(hold: Hold, public_url: str, key: str) -> str:
    """The link by which whoever asked confirms the hold. It is good for this hold alone, as long as that waits."""
    return f"{public_url}/confirm/{hold.id}?t={_token(hold, key)}"


def is_link_of(hold: Hold, token: str, key: str) -> bool:
    """Whether a link with this token was made for the hold."""
    return hmac.compare_digest(token.encode("utf-8", "backslashreplace"), _token(hold, key).encode())


def _token(hold: Hold, key: str) -> str:
    """A signature over what is confirmed, and by whom. Nothing is stored for it, so that nothing can be stolen: whoever
    has the store has no link."""
    said = "\0".join(("holdgate confirmation", hold.id, hold.user, hold.digest))
    made = hmac.new(key.encode(), said.encode("utf-8", "backslashreplace"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
