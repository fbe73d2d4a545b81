"""Stores of both kinds, and what is put into them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.store import Decision, Hold, HoldState, TokenRecord, open_store
from gateway.store.sql import SqlStore
from rules import Stage
from tests.support.postgres import Postgres

__all__ = ["NOON", "Place", "approval", "hold", "postgresql_url", "rejection", "sqlite_url", "token"]

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is: any number of gateways may open it."""

    kind: str
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqlStore]:
        store = await open_store(self.url)
        try:
            yield store
        finally:
            await store.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'holdgate.db'}"


def postgresql_url(postgres: Postgres, database: str) -> str:
    return f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{database}"


def hold(number: int = 1, **changes: Any) -> Hold:
    """A pending hold; holds of greater numbers are younger."""
    opened = NOON + timedelta(seconds=number)
    values: dict[str, Any] = {
        "id": f"H-{number:026d}",
        "state": HoldState.PENDING,
        "user": "alice",
        "groups": ("support",),
        "database": "shop",
        "client_addr": "10.0.0.7",
        "application_name": "psql",
        "session_id": "S-1",
        "statement_id": "S-1.1",
        "sql": "DELETE FROM customer WHERE customer_id = $1",
        "parameters": ("5", None),
        "actions": ("delete",),
        "relations": ("public.customer",),
        "columns": ("email",),
        "row_bound": "POINT",
        "rule": "erasure",
        "criteria": ({"criterion": "rows: <= 10", "met": True, "outcome": "met", "why": ""},),
        "reason": "deletes personal data",
        "stages": (Stage(("dpo",)),),
        "transaction_open_since": None,
        "digest": "d" * 64,
        "instance": "one",
        "opened_at": opened,
        "expires_at": opened + timedelta(minutes=15),
    }
    return Hold(**{**values, **changes})


def approval(who: str = "carol", *, at: datetime = NOON + timedelta(minutes=1), reason: str = "") -> Decision:
    return Decision(who, "approve", reason, at, "api")


def rejection(who: str = "dave", *, at: datetime = NOON + timedelta(minutes=1)) -> Decision:
    return Decision(who, "reject", "no ticket", at, "console")


def token(number: int = 1, **changes: Any) -> TokenRecord:
    """A token that does not expire; tokens of greater numbers are younger."""
    values: dict[str, Any] = {
        "id": f"{number:026d}",
        "user": "carol",
        "roles": frozenset({"approver", "viewer"}),
        "note": "for a script",
        "created_at": NOON,
        "expires_at": None,
    }
    return TokenRecord(**{**values, **changes})
