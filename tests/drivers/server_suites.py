"""Tests of PostgreSQL's own that speak the protocol, from its source and its client package."""

import asyncio
import sys
from pathlib import Path

from tests.drivers.results import from_lines
from tests.drivers.suite import CannotRun, Run, Suite, Target, Workshop
from tests.regression.source import FetchError, fetch
from tests.support.postgres import tls_bindir

__all__ = ["SUITES"]

_SCRIPT = Path(__file__).parent / "isolation.py"
_SETTINGS = {
    "lc_messages": "C",
    "timezone": "PST8PDT",
    "datestyle": "Postgres, MDY",
    "intervalstyle": "postgres_verbose",
    "bytea_output": "hex",
}
"""As ``pg_regress`` sets them for its databases."""


def _tester() -> Path:
    bindir = tls_bindir()
    tester = bindir and bindir.parent / "lib" / "pgxs" / "src" / "test" / "isolation" / "isolationtester"
    if tester is None or not tester.exists():
        raise CannotRun("no isolationtester is installed (Debian: in postgresql-client-VERSION)")
    return tester


async def _schedule(shop: Workshop) -> Path:
    version = _tester().relative_to("/usr/lib/postgresql").parts[0]
    try:
        source = await asyncio.to_thread(fetch, f"postgresql-{version}", shop.folder)
    except FetchError as error:
        raise CannotRun(f"PostgreSQL's source: {error}") from None
    return source / "src" / "test" / "isolation" / "isolation_schedule"


async def _prepare(shop: Workshop) -> None:
    await _schedule(shop)


async def _run(shop: Workshop, target: Target) -> Run:
    outputs = shop.fresh(f"outputs-{target.name}")
    command = (sys.executable, _SCRIPT, _tester(), await _schedule(shop), outputs)
    return Run(command, from_lines, shop.folder, {**target.environment(), "PGSSLMODE": "require"})


def _for_this_database(settings: dict[str, str]) -> str:
    each = " ".join(
        f"EXECUTE format('ALTER DATABASE %I SET {name} TO %L', current_database(), '{value}');"
        for name, value in settings.items()
    )
    # A role that one of the tests leaves behind.
    return f"DROP ROLE IF EXISTS regress_temp_grantee; DO $$ BEGIN {each} END $$"


SUITES = (Suite(name="isolation", prepare=_prepare, run=_run, sql=_for_this_database(_SETTINGS)),)
