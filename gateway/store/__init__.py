"""Where holds, decisions and tokens are kept, behind one port."""

from typing import TYPE_CHECKING

from gateway.store.grants import Grantable, GrantRecord, GrantTerms
from gateway.store.outbox import Announce, Change, Message, MessageState, Note, OutboxStore
from gateway.store.places import Occupied, Place, Stand
from gateway.store.port import (
    Concern,
    ConflictFound,
    GrantStore,
    HoldLimit,
    HoldStore,
    MustWait,
    PasskeyStore,
    PeopleStore,
    PlaceStore,
    Storage,
    StoreInUse,
    StoreUnavailable,
    TokenStore,
    TotpStore,
)
from gateway.store.records import (
    BREAK_GLASS,
    BY_GRANT,
    BY_RULE,
    Confirmation,
    Conflict,
    Decision,
    Hold,
    HoldState,
    Outcome,
    PasskeyRecord,
    PersonRecord,
    Review,
    Standing,
    TokenRecord,
    TotpRecord,
    iso,
)

if TYPE_CHECKING:
    from gateway.store.sql import SqlStore

__all__ = [
    "BREAK_GLASS",
    "BY_GRANT",
    "BY_RULE",
    "Announce",
    "Change",
    "Concern",
    "Confirmation",
    "Conflict",
    "ConflictFound",
    "Decision",
    "GrantRecord",
    "GrantStore",
    "GrantTerms",
    "Grantable",
    "Hold",
    "HoldLimit",
    "HoldState",
    "HoldStore",
    "Message",
    "MessageState",
    "MustWait",
    "Note",
    "Occupied",
    "OutboxStore",
    "Outcome",
    "PasskeyRecord",
    "PasskeyStore",
    "PeopleStore",
    "PersonRecord",
    "Place",
    "PlaceStore",
    "Review",
    "Stand",
    "Standing",
    "Storage",
    "StoreInUse",
    "StoreUnavailable",
    "TokenRecord",
    "TokenStore",
    "TotpRecord",
    "TotpStore",
    "iso",
    "open_store",
]


async def open_store(url: str) -> "SqlStore":
    """Open the store at ``url`` and bring its schema up to date.

    Raises :class:`StoreUnavailable` with one line that says what is wrong.
    """
    # The libraries behind it take half a second and 40 MiB, and a worker process needs none of them.
    from gateway.store.sql import open_store as open_sql_store

    return await open_sql_store(url)
