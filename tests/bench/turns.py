"""``make bench-turns``: how long one text keeps the event loop, and so every other session, from going on.

Each text goes through a gateway that watches its own loop (tests.bench.watched); what is held is looked at and
approved on the way. The figure is the longest turn in milliseconds of the loop's own CPU time, which half a
millisecond of other work may be in.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psycopg

from gateway.tasks import spawn
from tests.support.gateway import SHOP_POLICY, ApproverClient, GatewayProcess, make_config, write_config
from tests.support.postgres import Postgres, run_postgres

__all__ = ["TEXTS", "main", "measure"]

_NUMBERS = ", ".join(map(str, range(1_000_000, 1_100_000)))

TEXTS: Mapping[str, str] = {
    "a lookup": "SELECT first_name FROM customer WHERE customer_id = 1",
    "100,000 values in a list": f"SELECT name FROM track WHERE track_id IN ({_NUMBERS})",
    "the same, held": f"DELETE FROM customer WHERE customer_id IN ({_NUMBERS})",
    "a string of 900 kB, held": f"DELETE FROM customer WHERE email = '{'x' * 900_000}'",
    "15,000 conditions, held": f"DELETE FROM customer WHERE false AND {' AND '.join(['(1 = 1)'] * 15_000)}",
    "20,000 rows of VALUES": f"SELECT count(*) FROM (VALUES {', '.join(['(1)'] * 20_000)}) v",
    "brackets 24 deep": f"SELECT {'(' * 24}1{')' * 24}",
    "brackets 5,000 deep": f"SELECT {'(' * 5_000}1{')' * 5_000}",
    "9,900 additions": f"SELECT {'+'.join(['1'] * 9_900)}",
    "comments 20,000 deep": f"SELECT 1 {'/*' * 20_000}{'*/' * 20_000}",
    "1,000 parts of WITH": "WITH "
    + ", ".join(f"c{n} AS (SELECT 1 AS a)" for n in range(1000))
    + " SELECT a FROM c999",
    "999 lookups in one message": ";".join(
        f"SELECT first_name FROM customer WHERE customer_id = {n}" for n in range(999)
    ),
    "999 deletions, held": ";".join(
        f"DELETE FROM customer WHERE customer_id = {n + 10**6}" for n in range(999)
    ),
    "1,000,000 semicolons": ";" * 1_000_000,
    "no SQL": "SELEC " + "x " * 10_000,
}


def main(texts: Mapping[str, str] = TEXTS) -> int:
    """Measure and print the table."""
    with run_postgres() as server, tempfile.TemporaryDirectory() as folder:
        longest = asyncio.run(measure(server, Path(folder), texts))
    print(f"{'text':<30} {'bytes':>9} {'longest turn, ms':>17}")
    for name, milliseconds in longest.items():
        print(f"{name:<30} {len(texts[name]):>9,} {milliseconds:>17.1f}")
    return 0


async def measure(server: Postgres, folder: Path, texts: Mapping[str, str]) -> dict[str, float]:
    """The longest turn for each text, in milliseconds."""
    database = server.create_database()
    inspect = {"databases": {"*": {"inspect": {"user": server.superuser}}}}
    config = make_config(server, SHOP_POLICY, inspect, {"limits": {"statement_bytes": "2MiB"}})
    longest: dict[str, float] = {}
    async with _watched(write_config(folder, config)) as process:
        gateway = GatewayProcess(folder, config)
        approving = spawn(_approve(await gateway.client("carol")), name="approver")
        client = await psycopg.AsyncConnection.connect(
            host="127.0.0.1",
            port=config["listen"]["port"],
            dbname=database,
            user=server.superuser,
            autocommit=True,
        )
        async with client:
            for text in ("SELECT 1", TEXTS["a lookup"], TEXTS["the same, held"]):
                await client.execute(text.encode())
            await _longest(process)
            for name, text in texts.items():
                # What the server refuses has been read as well.
                with contextlib.suppress(psycopg.Error):
                    await client.execute(text.encode())
                longest[name] = await _longest(process)
        approving.cancel()
    return longest


@contextlib.asynccontextmanager
async def _watched(config: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.watched", str(config), stdout=PIPE
    )
    try:
        assert process.stdout is not None, "made with a pipe"
        assert await process.stdout.readline() == b"ready\n", "it says why on standard error"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _longest(process: Process) -> float:
    assert process.stdout is not None, "made with a pipe"
    process.send_signal(signal.SIGUSR1)
    return float(await process.stdout.readline())


async def _approve(approver: ApproverClient) -> None:
    """Look at each hold and let it run."""
    async with approver:
        while True:
            hold = await approver.wait_for_hold(patience=3600)
            await approver.hold(hold["id"])
            await approver.approve(hold["id"])


if __name__ == "__main__":
    sys.exit(main())
