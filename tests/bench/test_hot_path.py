"""What a known statement costs, in something that does not depend on what else the machine does: calls.

Processor times vary by a factor of three under load, and so do their ratios; the number of functions called for it
is the same each time. ``make bench`` has the times. Without the short way (gateway/shortcut.py) there are 530 to 690.
"""

import asyncio
import cProfile
import pstats
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.bench.traffic import POLICY
from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres

TRANSACTIONS: Final = 2_000
SCHEMA: Final = "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, filler text, abalance int); " + (
    "INSERT INTO pgbench_accounts SELECT n, 'x', n FROM generate_series(1, 100) n"
)
SCRIPT: Final = "\\set aid random(1, 100)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.create_database(template=None, sql=SCHEMA)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running:
        yield running


async def _pgbench(postgres: Postgres, gateway: RunningGateway, arguments: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        shutil.which("pgbench", path=str(postgres.bindir)) or "pgbench",
        *("-n", "-c", "2", "-t", str(TRANSACTIONS // 2), "-h", gateway.host, "-p", str(gateway.port)),
        *("-U", postgres.superuser, *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.mark.parametrize(("mode", "most"), [("simple", 90), ("extended", 120), ("prepared", 120)])
async def test_calls_for_a_known_statement(
    gateway: RunningGateway, postgres: Postgres, database: str, tmp_path: Path, mode: str, most: int
) -> None:
    script = tmp_path / "script.sql"
    script.write_text(SCRIPT, encoding="ascii")
    arguments = ("-M", mode, "-f", str(script), database)
    profile = cProfile.Profile()
    with profile:
        await _pgbench(postgres, gateway, arguments)
    # The log-ins, and what the gateway does by the clock, are in it as well.
    calls = sum(count for _, count, *_ in pstats.Stats(profile).stats.values())  # type: ignore[attr-defined]
    assert calls / TRANSACTIONS < most
    records = await gateway.recorded(kind="statement")
    assert len([record for record in records if record["tag"] == "SELECT 1"]) == TRANSACTIONS
