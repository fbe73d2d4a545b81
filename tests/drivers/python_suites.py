"""Suites of drivers written in Python, from their source distributions."""

import shutil
from pathlib import Path

from tests.drivers.results import from_junit
from tests.drivers.suite import Run, Suite, Target, Workshop

__all__ = ["SUITES"]

_PYTEST = ("pytest==8.4.2", "pytest-timeout==2.4.0")
_OPTIONS = ("-q", "-o", "addopts=", "-p", "no:cacheprovider", "--timeout=120", "--tb=short")


async def _copy_tests(shop: Workshop, requirement: str, name: str) -> None:
    """The tests of a source distribution without the package beside them: the installed one is to be found."""
    source = await shop.source(requirement)
    target = shop.folder / "suite" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source / name, target)


def _pytest(shop: Workshop, target: Target, *arguments: str | Path, cwd: str = "suite", **more: str) -> Run:
    reports = shop.fresh(f"reports-{target.name}")
    return Run(
        (shop.python, "-m", "pytest", *_OPTIONS, f"--junitxml={reports / 'pytest.xml'}", *arguments),
        lambda _: from_junit(reports),
        shop.folder / cwd,
        {**target.environment(), **more},
    )


# --- asyncpg --------------------------------------------------------------------------------------------

_ASYNCPG = "asyncpg==0.32.0"


async def _prepare_asyncpg(shop: Workshop) -> None:
    await shop.install(_ASYNCPG, *_PYTEST, "distro==1.9.0")
    await _copy_tests(shop, _ASYNCPG, "tests")


async def _run_asyncpg(shop: Workshop, target: Target) -> Run:
    # These two check their sources' style and what their own test server is called.
    others = ("--ignore=tests/test__sourcecode.py", "--ignore=tests/test__environment.py")
    return _pytest(shop, target, "tests", *others)


# --- psycopg2 -------------------------------------------------------------------------------------------

_PSYCOPG2 = "psycopg2-binary==2.9.13"


async def _prepare_psycopg2(shop: Workshop) -> None:
    await shop.install(_PSYCOPG2, *_PYTEST)
    await _copy_tests(shop, _PSYCOPG2, "tests")


async def _run_psycopg2(shop: Workshop, target: Target) -> Run:
    return _pytest(
        shop,
        target,
        "tests",
        PSYCOPG2_TESTDB=target.database,
        PSYCOPG2_TEST_REPL_DSN="",
        PSYCOPG2_TEST_REPL_SLOT=f"slot_{target.name}",
    )


# --- pg8000 ---------------------------------------------------------------------------------------------

_PG8000 = "pg8000==1.31.6"


async def _prepare_pg8000(shop: Workshop) -> None:
    await shop.install(_PG8000, *_PYTEST, "pytest-mock==3.15.1", "pytest-benchmark==5.2.0", "pytz==2025.2")
    await _copy_tests(shop, _PG8000, "test")


async def _run_pg8000(shop: Workshop, target: Target) -> Run:
    # The readme's examples print process ids and times; the rest of what is left out measures speed.
    return _pytest(shop, target, "test", "--ignore=test/test_readme.py", "--benchmark-disable")


# --- SQLAlchemy, over four drivers ------------------------------------------------------------------------

_SQLALCHEMY = "sqlalchemy==2.1.9"
_SQLALCHEMY_TESTS = ("test/dialect/postgresql", "test/dialect/test_suite.py", "test/engine", "test/sql")


async def _prepare_sqlalchemy(shop: Workshop) -> None:
    await shop.install(
        *(f"{_SQLALCHEMY}", "sqlalchemy[asyncio]", "psycopg[binary]==3.3.9", _PSYCOPG2, _ASYNCPG, _PG8000),
        *(*_PYTEST, "pytest-xdist==3.8.0"),
    )
    await shop.source(_SQLALCHEMY)


def _sqlalchemy(dialect: str) -> Suite:
    async def run(shop: Workshop, target: Target) -> Run:
        url = f"postgresql+{dialect}://{target.user}:{target.password}@{target.host}:{target.port}"
        return _pytest(
            shop,
            target,
            *(*_SQLALCHEMY_TESTS, "--dburi", f"{url}/{target.database}", "--backend-only"),
            cwd=_SQLALCHEMY.replace("==", "-"),
        )

    return Suite(
        name=f"sqlalchemy-{dialect.replace('_', '-')}",
        prepare=_prepare_sqlalchemy,
        run=run,
        home="sqlalchemy",
        sql="CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2; SET search_path = public;",
    )


SUITES = (
    Suite(
        name="asyncpg",
        prepare=_prepare_asyncpg,
        run=_run_asyncpg,
        on_purpose={
            "*.test_executemany_server_failure_during_writes": "two hops take up more of what is written "
            "before anybody has to wait, and so before asyncpg looks at the error"
        },
    ),
    Suite(name="psycopg2", prepare=_prepare_psycopg2, run=_run_psycopg2),
    Suite(
        name="pg8000",
        prepare=_prepare_pg8000,
        run=_run_pg8000,
        sql="CREATE EXTENSION IF NOT EXISTS hstore;",
        on_purpose={
            "test.*.test_scram_sha_256_ssl_True": "turns TLS off in the server, not in the gateway",
        },
    ),
    *(_sqlalchemy(dialect) for dialect in ("psycopg", "psycopg_async", "asyncpg", "psycopg2", "pg8000")),
)
