"""The only place of the gateway that makes asyncio tasks.

A bare ``asyncio.create_task`` may be garbage-collected while it runs, and what it raises is seen only when
somebody awaits it. :func:`spawn` keeps the reference and reports the exception.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

__all__ = ["cancel_all", "complete", "running", "spawn"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_running: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start ``coro`` as a task of the running loop.

    What the task raises is logged once under its name; cancellation is not an error. The caller may await the
    task (and then also receives the exception) or forget it.
    """
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def complete(coro: Coroutine[Any, Any, T], *, name: str) -> T:
    """Await ``coro`` so that it runs to its end even when the caller is cancelled meanwhile.

    For changes that must not stop half-way. What it raises goes to the caller; if nobody waits any more, it
    is logged.
    """
    abandoned = False

    async def run() -> tuple[T, None] | tuple[None, Exception]:
        try:
            return await coro, None
        except Exception as error:
            if abandoned:
                raise
            return None, error

    task = spawn(run(), name=name)
    try:
        value, failure = await asyncio.shield(task)
    except asyncio.CancelledError:
        abandoned = True
        raise
    if failure is not None:
        raise failure
    return cast(T, value)


def running() -> list[asyncio.Task[Any]]:
    """The unfinished tasks that :func:`spawn` started on the running loop, in no particular order."""
    loop = asyncio.get_running_loop()
    return [task for task in _running if task.get_loop() is loop]


async def cancel_all(timeout: float) -> list[str]:  # noqa: ASYNC109 - the limit is reported, not raised
    """Cancel every spawned task of this loop except the caller's own, and wait for them to end.

    Returns the names of the tasks that were still running after ``timeout`` seconds (empty when all ended).
    """
    current = asyncio.current_task()
    victims = [task for task in running() if task is not current]
    for task in victims:
        task.cancel()
    if not victims:
        return []
    _, pending = await asyncio.wait(victims, timeout=timeout)
    for task in pending:
        logger.error("task %s ignored its cancellation for %.1f s", task.get_name(), timeout)
    return sorted(task.get_name() for task in pending)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        logger.error("task %s failed: %s", task.get_name(), error, exc_info=error)
