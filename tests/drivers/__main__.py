"""``python -m tests.drivers [SUITE ...]``: run suites directly and through the gateway, and compare."""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.demo.server import SCRAM_HBA
from tests.drivers.comparison import Result, table
from tests.drivers.other_suites import SUITES as OTHERS
from tests.drivers.python_suites import SUITES as PYTHON
from tests.drivers.results import Outcomes
from tests.drivers.server_suites import SUITES as SERVER
from tests.drivers.suite import CannotRun, Suite, Target, Workshop
from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess, make_config
from tests.support.postgres import Postgres, run_postgres, tls_bindir

SUITES = (*PYTHON, *OTHERS, *SERVER)
PASSWORD = "pw"

REPLICATION_HBA = "host replication all 127.0.0.1/32 scram-sha-256"

ALLOW: Mapping[str, Any] = {
    "defaults": {
        "server_files": "allow",
        "guarded_settings": "allow",
        "replication": "allow",
    },
    "limits": {"statement_bytes": "256MiB"},
}
"""What the policy and the limits of the tests do not allow yet."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make drivers", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="print the suites' names")
    parser.add_argument(
        "--folder", type=Path, default=Path(".drivers"), help="downloads and builds are kept here"
    )
    parser.add_argument("--minutes", type=float, default=20, help="limit for one step")
    parser.add_argument(
        "--embedded", action="store_true", help="the embedded server, even if another is installed"
    )
    parser.add_argument(
        "--auth", choices=("passthrough", "gateway"), default="passthrough", help="who checks the password"
    )
    options = parser.parse_args()
    if options.list:
        print("\n".join(suite.name for suite in SUITES))
        return 0
    unknown = set(options.suites) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    chosen = [suite for suite in SUITES if not options.suites or suite.name in options.suites]
    results = asyncio.run(compare_all(chosen, options))
    print(table(results))
    return int(any(result.unexplained() for result in results))


async def compare_all(suites: list[Suite], options: argparse.Namespace) -> list[Result]:
    """Run one suite after the other, all against one server and one gateway."""
    with tempfile.TemporaryDirectory(prefix="holdgate-drivers-") as scratch:
        authority = Authority(Path(scratch))
        with serving(authority, embedded=options.embedded) as postgres:
            async with gateway(Path(scratch), authority, postgres, options.auth) as running:
                results = []
                for suite in suites:
                    print(f"{suite.name} ...", file=sys.stderr, flush=True)
                    result = await compare(suite, options, postgres, running)
                    print(result.report(), end="", flush=True)
                    results.append(result)
                return results


@contextlib.contextmanager
def serving(authority: Authority, *, embedded: bool) -> Iterator[Postgres]:
    """The server: with TLS where one is installed that has it."""
    bindir = None if embedded else tls_bindir()
    with run_postgres(
        bindir=bindir,
        authority=authority if bindir else None,
        settings={"max_wal_senders": "10", "max_replication_slots": "10"},
    ) as postgres:
        postgres.execute(f"ALTER ROLE {postgres.superuser} PASSWORD '{PASSWORD}'")
        yield postgres


@contextlib.asynccontextmanager
async def gateway(
    scratch: Path, authority: Authority, postgres: Postgres, auth: str
) -> AsyncIterator[GatewayProcess]:
    """A gateway that allows everything and offers TLS."""
    certificate = authority.issue("gateway", addresses=("127.0.0.1", "::1"), names=("localhost",))
    tls = {"mode": "prefer", "cert": str(certificate.cert), "key": str(certificate.key)}
    login: dict[str, Any] = {}
    if auth == "gateway":
        verifier = postgres.scalar("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
        login = {
            "users": {"postgres": {"verifier": verifier}},
            "databases": {
                "*": {"auth": "gateway", "login": {"user": postgres.superuser, "password": PASSWORD}}
            },
        }
    folder = scratch / "gateway"
    folder.mkdir()
    config = make_config(postgres, ALLOW, {"listen": {"tls": tls}}, login)
    async with GatewayProcess(folder, config) as running:
        yield running


async def compare(
    suite: Suite, options: argparse.Namespace, postgres: Postgres, running: GatewayProcess
) -> Result:
    """Prepare a suite and run it twice."""
    result = Result(suite)
    missing = [tool for tool in suite.tools if shutil.which(tool) is None]
    if missing:
        result.problem = f"not installed: {', '.join(missing)}"
        return result
    shop = Workshop((options.folder / (suite.home or suite.name)).absolute(), options.minutes)
    try:
        await suite.prepare(shop)
        if suite.roles:
            postgres.execute(suite.roles)
        with postgres.hba(*suite.hba, *SCRAM_HBA, REPLICATION_HBA):
            result.direct = await run(suite, shop, "direct", postgres, postgres)
            result.through = await run(suite, shop, "gateway", running, postgres)
    except CannotRun as problem:
        result.problem = str(problem)
    return result


async def run(
    suite: Suite, shop: Workshop, name: str, end: Postgres | GatewayProcess, postgres: Postgres
) -> Outcomes:
    """One run, in a database of its own. Raises :class:`CannotRun`, also when no test is reported."""
    database = postgres.create_database(template=None, sql=suite.sql or None)
    try:
        tls = end is not postgres or "ssl" in postgres.server.settings
        target = Target(name, end.host, end.port, database, "postgres", PASSWORD, tls)
        step = await suite.run(shop, target)
        _, output = await shop.call(step.command, step.cwd, step.environment)
        (shop.folder / f"{suite.name}-{name}.log").write_text(output, encoding="utf-8")
        outcomes = step.read(output)
        if not outcomes:
            raise CannotRun(f"{name}: no test was reported:\n{output[-2000:]}")
        return outcomes
    finally:
        postgres.drop_database(database)


if __name__ == "__main__":
    sys.exit(main())
