"""A client's session as a way to look at its database's catalog."""

from collections.abc import Sequence

from gateway.asking import AskError, Asking, CannotAsk, Row
from gateway.catalog import AskError as CatalogError
from gateway.catalog.queries import SETTINGS
from protocol.connection import ProxyConnection
from protocol.hidden import Place

__all__ = ["Looking"]


class Looking:
    """See :class:`gateway.catalog.view.Way`."""

    def __init__(self, asking: Asking, core: ProxyConnection) -> None:
        self._asking = asking
        self._core = core

    @property
    def in_transaction(self) -> bool:
        """Whether the session has work that is not committed, a failed transaction included."""
        # What was only prepared and described is no work: a question is a transaction of its own behind it.
        return self._core.in_transaction and self._core.place is not Place.IDLE

    @property
    def open(self) -> bool:
        """Whether the session is where it can be asked."""
        return self._core.place in (Place.IDLE, Place.TRANSACTION)

    async def run(self, queries: Sequence[str]) -> list[list[Row]]:
        """The rows of each query, in a read-only transaction or subtransaction of which nothing remains.

        Raises :class:`gateway.catalog.AskError` with the server's error, and OSError where it cannot be asked.
        """
        try:
            return await self._asking.ask_together(queries, SETTINGS)
        except AskError as error:
            raise CatalogError(error.report.get("C", ""), str(error)) from error
        except CannotAsk as error:
            raise OSError(str(error)) from error
