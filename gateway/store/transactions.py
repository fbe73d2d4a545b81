"""What the parts of the store need of the whole: its transactions."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.outbox import Change

__all__ = ["Transactions"]


class Transactions(ABC):
    """A database in which one part of the storage port is kept. ``_sqlite``: it is a file of one gateway."""

    _sqlite: bool

    @abstractmethod
    def _read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection to read by. Raises ``StoreUnavailable``, here and inside."""

    @abstractmethod
    def _write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction, committed at the end and rolled back by any exception."""

    @property
    @abstractmethod
    def _server_clock(self) -> ColumnElement[int]:
        """Now, in microseconds, as the server of the store has it."""

    @abstractmethod
    async def _advisory(self, connection: AsyncConnection, number: int) -> None:
        """Take turns among gateways for the length of a transaction."""

    @abstractmethod
    async def _announce_one(self, connection: AsyncConnection, change: Change, hold_id: str) -> None:
        """Write the messages that a change of a hold is worth."""

    @abstractmethod
    async def _tell(self, connection: AsyncConnection, event: str, hold_id: str) -> None:
        """Tell the other gateways once the transaction is committed."""
