"""Where holds, decisions and tokens are kept, behind one port."""

from gateway.store.port import (
    HoldLimit,
    HoldStore,
    PeopleStore,
    Storage,
    StoreInUse,
    StoreUnavailable,
    TokenStore,
)
from gateway.store.records import (
    Decision,
    Hold,
    HoldState,
    Outcome,
    PersonRecord,
    Standing,
    TokenRecord,
    iso,
)
from gateway.store.sql import SqlStore, open_store

__all__ = [
    "Decision",
    "Hold",
    "HoldLimit",
    "HoldState",
    "HoldStore",
    "Outcome",
    "PeopleStore",
    "PersonRecord",
    "SqlStore",
    "Standing",
    "Storage",
    "StoreInUse",
    "StoreUnavailable",
    "TokenRecord",
    "TokenStore",
    "iso",
    "open_store",
]
