"""The storage port: everything the gateway asks of a store, whatever is behind it.

Each method is one transaction, durable when it returns. What changes the state of a hold is a single
conditional change whose row count says who won; nobody reads a state and then writes another.
All methods raise :class:`StoreUnavailable` when the store cannot be reached, is locked or is full.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from gateway.store.concerns import Concern
from gateway.store.grants import GrantRecord
from gateway.store.outbox import OutboxStore
from gateway.store.places import Occupied, Stand
from gateway.store.records import (
    Confirmation,
    Conflict,
    Decision,
    Hold,
    HoldState,
    Outcome,
    PasskeyRecord,
    PersonRecord,
    Review,
    TokenRecord,
    TotpRecord,
)
from rules import Demand

__all__ = [
    "Concern",
    "ConflictFound",
    "GrantStore",
    "HoldLimit",
    "HoldStore",
    "MustWait",
    "PasskeyStore",
    "PeopleStore",
    "PlaceStore",
    "Storage",
    "StoreInUse",
    "StoreUnavailable",
    "TokenStore",
    "TotpStore",
]


class StoreUnavailable(Exception):
    """The store cannot be reached, is locked or is full. Nothing held can be opened or approved meanwhile."""


class StoreInUse(StoreUnavailable):
    """Another gateway runs on this store."""


class HoldLimit(Exception):
    """As many holds are pending as may be. ``user`` says whether that is so for one user or for everybody."""

    def __init__(self, limit: int, user: str | None) -> None:
        super().__init__(
            f"{limit} holds are pending" if user is None else f"{limit} holds of {user} are pending"
        )
        self.limit = limit
        self.user = user


class ConflictFound(Exception):
    """A hold is not opened because of others that concern the same people."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__(", ".join(one.other for one in conflicts))
        self.conflicts = tuple(conflicts)


class MustWait(Exception):
    """An approval cannot be used yet: other holds, by their ids, have to end first."""

    def __init__(self, others: Sequence[str]) -> None:
        super().__init__(", ".join(others))
        self.others = tuple(others)


class HoldStore(Protocol):
    """Holds and the decisions about them."""

    async def add_hold(
        self,
        hold: Hold,
        *,
        limit: int,
        limit_per_user: int,
        announce: bool = True,
        concern: Concern | None = None,
    ) -> Hold:
        """Keep a new pending hold; returns it with its conflicts. Raises :class:`HoldLimit` when that would be one too
        many, and :class:`ConflictFound`. ``announce``: whether anybody is asked about it."""

    async def ticket(
        self,
        hold: Hold,
        *,
        limit: int,
        limit_per_user: int,
        announce: bool = True,
        concern: Concern | None = None,
    ) -> Hold:
        """The ticket of the same user and digest that waits, can be used, or was rejected no longer ago than it could
        have waited; where there is none, ``hold`` is kept and returned. Raises :class:`HoldLimit` and
        :class:`ConflictFound`."""

    async def expire_tickets(self, at: datetime) -> list[Hold]:
        """End every ticket that nobody decided or used in time; those that this call ended."""

    async def hold(self, hold_id: str) -> Hold | None:
        """The hold with its decisions, None when there is none."""

    async def holds(
        self, *, states: Collection[HoldState] | None, limit: int, before: str | None
    ) -> list[Hold]:
        """The newest holds first, in one of ``states`` (None: any), whose id is less than ``before``."""

    async def decide_hold(
        self,
        hold_id: str,
        decision: Decision,
        state: HoldState,
        *,
        votes: int = 0,
        grant: GrantRecord | None = None,
    ) -> bool:
        """Add a decision and bring the hold to ``state``; pending, where more people have to decide.

        ``grant`` comes into being with it.

        False: too late, or not the next one. It has to be pending, not past its expiry at ``decision.at``, and
        have exactly ``votes`` decisions: those that ``state`` was found with.
        """

    async def check_hold(
        self,
        hold_id: str,
        criteria: Sequence[Mapping[str, object]],
        decision: Decision | None,
        state: HoldState,
        *,
        at: datetime,
    ) -> bool:
        """Keep what came of the criteria of a pending hold, and the decision of its rule, if there is one, which brings
        it to ``state``. False: it is not pending any more, or was over at ``at``."""

    async def confirm_hold(self, hold_id: str, confirmation: Confirmation) -> bool:
        """Keep that whoever asked means it. False: the hold is over, takes no confirmation, or has one."""

    async def review_hold(self, hold_id: str, review: Review) -> bool:
        """Close the review of a hold that ran without an approval. False: there is none that is open."""

    async def unreviewed(self) -> list[Hold]:
        """The holds whose review is open, the oldest first."""

    async def end_hold(self, hold_id: str, state: HoldState, at: datetime, reason: str) -> bool:
        """End a hold that is pending or approved and not yet used. False: it had ended, or was used."""

    async def expire_hold(self, hold_id: str, at: datetime) -> bool:
        """End a hold that is still pending as expired. False: it was no longer pending."""

    async def claim_hold(self, hold_id: str, digest: str, at: datetime, *, instance: str) -> bool:
        """Use the approval of this digest at the gateway ``instance``; true exactly once for a hold, and for a ticket
        in its time. Raises :class:`MustWait`."""

    async def waits_for(self, hold_id: str, *, instance: str) -> list[str]:
        """The holds, by their ids, that have to end before this one may run at the gateway ``instance``."""

    async def set_outcome(self, hold_id: str, outcome: Outcome, at: datetime) -> bool:
        """Keep how the released statement ended. False: it was not released, or has an outcome."""

    async def set_impact(self, hold_id: str, impact: Mapping[str, object]) -> bool:
        """Keep the preview of a hold. False: the hold is no longer pending."""

    async def holds_among(self, ids: Collection[str]) -> list[Hold]:
        """Those of ``ids`` that there are, in any state."""

    async def beat(self, instance: str) -> None:
        """Say that a gateway is alive."""

    async def farewell(self, instance: str) -> None:
        """Say that a gateway is not there any more."""

    async def interrupt_silent(self, *, seconds: float, at: datetime, reason: str) -> list[Hold]:
        """Interrupt every open hold of a gateway that has said nothing for ``seconds``, by the store's own clock; the
        holds that this call ended."""

    async def interrupt_holds(self, *, instance: str | None, at: datetime, reason: str) -> list[Hold]:
        """Interrupt every open hold of ``instance`` (None: of whomever) but tickets; those that this call ended."""


class GrantStore(Protocol):
    """Grants, and what is used of them."""

    async def grant(self, grant_id: str) -> GrantRecord | None:
        """The grant with this id, whatever became of it."""

    async def grants(self) -> list[GrantRecord]:
        """All of them, the newest first."""

    async def grants_for(self, user: str, shapes: Sequence[str], at: datetime) -> list[GrantRecord]:
        """Those of ``user`` for one of ``shapes`` that are neither over nor revoked, the oldest first."""

    async def use_grant(
        self, grant_id: str, hold_id: str, decisions: Sequence[Decision], at: datetime
    ) -> bool:
        """Use a grant once, and approve a pending hold by it with these decisions, for no more rows than the grant has
        left: those are kept for it until its outcome is known. False: the grant is over, or the hold not pending."""

    async def announce_ready(self, hold_id: str) -> None:
        """People are asked about a pending hold that was not announced when it was opened."""

    async def revoke_grant(self, grant_id: str, who: str, reason: str, at: datetime) -> bool:
        """Let a grant be of no more use. False: there is none, or it was revoked before."""


class PlaceStore(Protocol):
    """Places under caps. An ``entry`` is one statement that runs, or waits to, with all the places it needs. What is in
    front of its last dot is its session, in whose transaction it keeps them."""

    async def line_up(
        self,
        entry: str,
        hold_id: str,
        demands: Sequence[Demand],
        *,
        instance: str,
        since: datetime,
        at: datetime,
        at_once: bool = False,
    ) -> Stand:
        """Queue for all of ``demands``, behind those with an earlier ``since``, in place of what ``entry`` had before;
        ``at_once``: take them whether there is room or not."""

    async def leave(self, entry: str, *, began: bool, at: datetime) -> None:
        """Give everything back, or leave the queue. What ``began`` counts for its span of time all the same."""

    async def stands(self, entries: Sequence[str], at: datetime) -> list[Stand]:
        """Let in whoever there is room for by now, then say how those of ``entries`` stand that are there."""

    async def resize(self, sizes: Mapping[str, tuple[int, float | None]], at: datetime) -> None:
        """From now on these are the caps, each with its ``most`` and ``per``, also for those that wait."""

    async def occupied(self, at: datetime) -> list[Occupied]:
        """Everybody who has a place or waits for one, by cap and key."""

    async def clear_places(self, at: datetime) -> None:
        """Nobody has, or waits for, a place any more."""


class TokenStore(Protocol):
    """Bearer tokens and one-time codes, known only by their SHA-256."""

    async def add_token(self, token: TokenRecord, digest: str) -> None:
        """Keep a token."""

    async def token(self, digest: str) -> TokenRecord | None:
        """The token with this digest, revoked and expired ones included."""

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""

    async def revoke_token(self, token_id: str, at: datetime) -> bool:
        """Revoke a token. False: unknown or revoked before."""

    async def add_code(self, digest: str, user: str, expires_at: datetime) -> None:
        """Keep a one-time code for signing in."""

    async def use_code(self, digest: str, at: datetime) -> str | None:
        """The user of a code that has not expired; each answers once. Expired ones are forgotten on the way."""


class PeopleStore(Protocol):
    """Who an OpenID provider has vouched for. A name belongs to one of its people, and each has one name."""

    async def person(self, name: str) -> PersonRecord | None:
        """The person of this name."""

    async def people(self) -> list[PersonRecord]:
        """Everybody, by name."""

    async def keep_person(self, person: PersonRecord) -> PersonRecord | None:
        """Keep what was said of somebody now. Returns the one who has this name, or the name that this one has,
        where that is another; nothing is kept then."""

    async def forget_person(self, name: str) -> bool:
        """Let go of a name. False: nobody has it."""


class PasskeyStore(Protocol):
    """Passkeys, and the challenges that are to be signed with them."""

    async def add_passkey(self, record: PasskeyRecord) -> bool:
        """Keep a passkey. False: there is one with this id, whosever."""

    async def passkey(self, passkey_id: str) -> PasskeyRecord | None:
        """The passkey with this id."""

    async def passkeys(self, user: str) -> list[PasskeyRecord]:
        """Those of ``user``, oldest first."""

    async def use_passkey(self, passkey_id: str, sign_count: int, at: datetime) -> bool:
        """Note a use. False: it does not count further than the last one did, where keys count."""

    async def remove_passkey(self, user: str, passkey_id: str) -> bool:
        """Forget one of ``user``. False: there is none."""

    async def add_challenge(self, digest: str, user: str, expires_at: datetime) -> None:
        """Remember a challenge for ``user``."""

    async def use_challenge(self, digest: str, at: datetime) -> str | None:
        """Whose challenge it is; each answers once and none after its time. Old ones are forgotten on the way."""


class TotpStore(Protocol):
    """Authenticators: one for each user, and what was tried with it."""

    async def totp(self, user: str) -> TotpRecord | None:
        """The authenticator of ``user``, confirmed or not."""

    async def begin_totp(self, record: TotpRecord) -> bool:
        """Keep an authenticator that is still to be confirmed, in place of one that was not. False: there is one."""

    async def try_totp(self, user: str, at: datetime) -> datetime | None:
        """Charge an attempt, before it is looked at. Returns when the next one may be made, None if that is now."""

    async def use_totp(self, user: str, step: int, at: datetime) -> bool:
        """Use the code of a time step, which confirms a new authenticator; true once for a step and none before it."""

    async def remove_totp(self, user: str) -> bool:
        """Forget the authenticator of ``user``. False: there is none."""


class Storage(
    HoldStore, GrantStore, PlaceStore, TokenStore, PeopleStore, TotpStore, PasskeyStore, OutboxStore, Protocol
):
    """A whole store."""

    @property
    def shared(self) -> bool:
        """Whether other gateways may use it at the same time."""

    async def acquire(self) -> None:
        """Use the store as a gateway does. Raises :class:`StoreInUse` where it has one already, and is not shared."""

    async def listen(self, heard: Callable[[str, str | None], None]) -> None:
        """Tell ``heard`` of every change of a hold by another gateway, as the word of its event (``opened``,
        ``decided``, ``resolved``, ``queued``, ``released``, ``outcome``) and the hold's id, until cancelled.

        ``("reset", None)`` says that some may have been missed, ``("room", None)`` that somebody got places. A
        store that is not shared has nothing to tell.
        """

    async def close(self) -> None:
        """Let go of everything. No method may be called afterwards."""

    async def ping(self) -> None:
        """Raise :class:`StoreUnavailable` when the store does not answer."""
