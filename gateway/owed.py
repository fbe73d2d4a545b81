"""What has happened and the store does not know yet."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store import StoreUnavailable
from gateway.tasks import spawn

__all__ = ["Owed"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Owed:
    """Changes that the store is told of as soon as it answers, tried again every ``retry_seconds``."""

    def __init__(self, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._nothing = asyncio.Event()
        self._nothing.set()
        self.count = 0

    async def nothing(self) -> None:
        """Return once the store knows everything."""
        await self._nothing.wait()

    async def now_or_later(self, action: Callable[[], Awaitable[T]], name: str) -> T | None:
        """Do it, or keep trying in the background and return None."""
        self._begin()
        try:
            result = await action()
        except StoreUnavailable as error:
            logger.error("%s waits for the store: %s", name, error)
            # It is owed all the while: nobody may find nothing owed before the task has begun.
            spawn(self._later(action), name=name)
            return None
        except BaseException:
            self._end()
            raise
        self._end()
        return result

    async def _later(self, action: Callable[[], Awaitable[T]]) -> None:
        try:
            while True:
                await asyncio.sleep(self._retry_seconds)
                try:
                    await action()
                    return
                except StoreUnavailable:
                    continue
        finally:
            self._end()

    def _begin(self) -> None:
        self.count += 1
        self._nothing.clear()

    def _end(self) -> None:
        self.count -= 1
        if not self.count:
            self._nothing.set()
