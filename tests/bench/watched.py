"""A gateway that watches its own event loop: ``python -m tests.bench.watched CONFIG``.

Prints ``ready``, and at each SIGUSR1 the longest turn of the loop since the last one, in milliseconds of its own
CPU time: what anybody else waited for it at least, on a machine that has nothing else to do.
"""

import asyncio
import signal
import sys
import time

import uvloop

from gateway.app import Gateway
from gateway.collector import spare_what_stays
from gateway.config import load_config

__all__ = ["main"]

LOOK_SECONDS = 0.0005


async def main(config: str) -> None:
    """Serve until SIGTERM."""
    gateway = Gateway(load_config(config))
    await gateway.start()
    gateway.front.pool.warm()
    spare_what_stays()
    loop, stopping, asked = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, asked.set)
    watching = asyncio.create_task(_watch(asked))
    print("ready", flush=True)
    await stopping.wait()
    watching.cancel()
    await gateway.stop()


async def _watch(asked: asyncio.Event) -> None:
    longest = 0.0
    before = time.thread_time()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
        if asked.is_set():
            asked.clear()
            print(f"{longest * 1000:.1f}", flush=True)
            longest, before = 0.0, time.thread_time()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
