"""Fixtures every test may ask for: a real PostgreSQL, databases in it, and certificates.

One server per test process serves all of its tests; each test that writes gets a database of its own. When a
test fails, the end of the log of every server or gateway it used is added to its report.
"""

import asyncio
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

from tests.support.certificates import Authority
from tests.support.postgres import Postgres, run_postgres, tls_bindir

# How long one example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that serves: uvloop and asyncio's own differ in what they return and forgive."""
    return {"uvloop": _new_loop}


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_stop_when_told)
    return loop


def _stop_when_told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # uvloop runs signal handlers as callbacks: what the one for a test's time limit raises arrives here.
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()
    loop.default_exception_handler(context)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test process. Do not stop it; ask :func:`run_postgres` for one to break."""
    with run_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The name of a fresh copy of the music shop."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[str]:
    """The name of a fresh database with nothing in it."""
    name = postgres.create_database(template=None)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def chinook(postgres: Postgres) -> Iterator[str]:
    """The name of a fresh database with the Chinook sample, if ``HOLDGATE_CHINOOK`` names its script."""
    script = os.environ.get("HOLDGATE_CHINOOK")
    if not script:
        pytest.skip("HOLDGATE_CHINOOK does not name chinook.sql")
    # The script makes and enters a database of its own by psql commands; a test has one already.
    text = Path(script).read_text(encoding="utf-8-sig")
    start = text.index("CREATE TABLE")
    name = postgres.create_database(template=None, sql=text[start:])
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority that tests trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_postgres(authority: Authority) -> Iterator[Postgres]:
    """A server that speaks TLS itself, with a certificate for localhost and 127.0.0.1.

    The embedded server cannot; where no other is installed, the tests that ask for this one are skipped.
    :class:`tests.support.relay.TlsRelay` puts TLS in front of any server, without channel binding.
    """
    bindir = tls_bindir()
    if bindir is None:
        pytest.skip("no PostgreSQL with TLS is installed")
    with run_postgres(bindir=bindir, authority=authority) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            log_text = getattr(value, "log_text", None)
            if callable(log_text):
                report.sections.append((f"log of {name}", str(log_text())))
    return report
