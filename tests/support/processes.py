"""Other processes, seen by their ids."""

import asyncio
import os
import signal
from pathlib import Path

__all__ = ["alive", "children", "gone", "runs", "stopped"]


def alive(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def runs(pid: int) -> bool:
    """Whether the process lives; one that only waits to be reaped, by whoever that is, does not."""
    return _state(Path(f"/proc/{pid}/stat")) not in ("", "Z", "X")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text(encoding="ascii").split()]
    return [child for child in found if runs(child)]


async def stopped(pid: int) -> None:
    """Stop a process, and return when each of its threads has stopped: a signal takes effect when it likes."""
    os.kill(pid, signal.SIGSTOP)
    while any(_state(thread) != "T" for thread in Path(f"/proc/{pid}/task").glob("*/stat")):
        await asyncio.sleep(0.001)


async def gone(*pids: int) -> None:
    """Until none of them runs."""
    while any(map(runs, pids)):
        await asyncio.sleep(0.01)


def _state(stat: Path) -> str:
    try:
        text = stat.read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]
