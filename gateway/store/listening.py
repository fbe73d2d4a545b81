"""Hearing of what other gateways change: LISTEN on a connection of its own.

Source: PostgreSQL documentation, "LISTEN" and "NOTIFY". What is sent while nobody listens is lost, so whoever listens
is told of every new beginning, and looks for itself now and then.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["CHANNEL", "listen"]

logger = logging.getLogger(__name__)

CHANNEL: Final = "holdgate"
RETRY_SECONDS: Final = 1.0


async def listen(engine: AsyncEngine, mark: str, heard: Callable[[str, str | None], None]) -> None:
    """Tell ``heard`` of what others than ``mark`` change, until cancelled; see ``Storage.listen``."""
    while True:
        try:
            await _listen_once(engine, mark, heard)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            logger.warning(
                "changes of other gateways are not heard at once: %s", " ".join(str(error).split())
            )
        await asyncio.sleep(RETRY_SECONDS)


async def _listen_once(engine: AsyncEngine, mark: str, heard: Callable[[str, str | None], None]) -> None:
    lost = asyncio.Event()

    def notified(connection: object, pid: int, channel: str, payload: str) -> None:
        sender, _, said = payload.partition(":")
        event, _, hold_id = said.partition(":")
        if sender != mark:
            heard(event, hold_id or None)

    def terminated(connection: object) -> None:
        lost.set()

    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_termination_listener(terminated)
        try:
            await driver.add_listener(CHANNEL, notified)
            heard("reset", None)
            await lost.wait()
        finally:
            driver.remove_termination_listener(terminated)
            await connection.invalidate()
