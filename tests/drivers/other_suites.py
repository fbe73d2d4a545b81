"""Suites of drivers in other languages, from their registries."""

import shutil
from pathlib import Path

from tests.drivers.results import from_cargo, from_go, from_junit, from_lines
from tests.drivers.suite import Run, Suite, Target, Workshop

__all__ = ["SUITES"]


# --- Go -------------------------------------------------------------------------------------------------


async def _go_module(shop: Workshop, module: str, version: str) -> None:
    """Download a module with its tests and copy it to ``suite``, writable."""
    environment = {"GOPATH": str(shop.folder / "go"), "GOFLAGS": "-modcacherw"}
    await shop.must("go", "mod", "download", f"{module}@{version}", environment=environment)
    suite = shop.folder / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    shutil.copytree(shop.folder / "go" / "pkg" / "mod" / f"{module}@{version}", suite)
    # Builds the test programs, and runs something else in their place.
    await shop.must("go", "test", "-exec=true", "./...", cwd=suite, environment=environment)


def _go_test(shop: Workshop, target: Target, **more: str) -> Run:
    environment = {
        **target.environment(),
        "GOPATH": str(shop.folder / "go"),
        "GOFLAGS": "-modcacherw",
        **more,
    }
    command = ("go", "test", "-json", "-count=1", "-p=1", "-timeout=10m", "./...")
    return Run(command, from_go, shop.folder / "suite", environment)


async def _prepare_pgx(shop: Workshop) -> None:
    await _go_module(shop, "github.com/jackc/pgx/v5", "v5.12.0")


async def _run_pgx(shop: Workshop, target: Target) -> Run:
    place = f"host={target.host} port={target.port} database={target.database}"
    return _go_test(
        shop,
        target,
        PGX_TEST_DATABASE=f"{place} user=postgres password={target.password}",
        PGX_TEST_TCP_CONN_STRING=f"{place} user=postgres password={target.password}",
        PGX_TEST_SCRAM_PASSWORD_CONN_STRING=f"{place} user=pgx_scram password=secret",
        PGX_TEST_MD5_PASSWORD_CONN_STRING=f"{place} user=pgx_md5 password=secret",
        PGX_TEST_PLAIN_PASSWORD_CONN_STRING=f"{place} user=pgx_pw password=secret sslmode=disable",
        PGX_TEST_TLS_CONN_STRING=f"{place} user=pgx_scram password=secret sslmode=require",
    )


async def _prepare_pq(shop: Workshop) -> None:
    await _go_module(shop, "github.com/lib/pq", "v1.12.3")
    # A tenth of a second is not enough on a busy machine, and the first test that misses it ends the run.
    patient = shop.folder / "suite" / "notify_test.go"
    text = patient.read_text(encoding="utf-8")
    patient.write_text(text.replace("time.After(100 * time.M", "time.After(2000 * time.M"), encoding="utf-8")


async def _run_pq(shop: Workshop, target: Target) -> Run:
    return _go_test(shop, target)


# --- Rust -----------------------------------------------------------------------------------------------

_CRATES = {"tokio-postgres": "0.7.18", "postgres": "0.19.14"}
_CRATE_FEATURES = (
    "array-impls",
    "with-bit-vec-0_9",
    "with-chrono-0_4",
    "with-geo-types-0_7",
    "with-jiff-0_2",
)
_CRATE_FEATURES_REST = ("with-serde_json-1", "with-time-0_3", "with-uuid-1")


def _rust(crate: str) -> Suite:
    async def prepare(shop: Workshop) -> None:
        fetch = shop.folder / "fetch"
        (fetch / "src").mkdir(parents=True, exist_ok=True)
        (fetch / "src" / "lib.rs").touch()
        (fetch / "Cargo.toml").write_text(
            "[package]\nname = 'fetch'\nversion = '0.0.0'\nedition = '2021'\n[workspace]\n"
            f"[dependencies]\n{crate} = '={_CRATES[crate]}'\n",
            encoding="utf-8",
        )
        await shop.must("cargo", "vendor", "--quiet", "--versioned-dirs", "vendor", cwd=fetch)

    async def run(shop: Workshop, target: Target) -> Run:
        # The tests have the port of their server written into them.
        suite = shop.folder / "suite"
        suite.mkdir(exist_ok=True)
        source = shop.folder / "fetch" / "vendor" / f"{crate}-{_CRATES[crate]}"
        shutil.copytree(source, suite, dirs_exist_ok=True)
        for file in suite.rglob("*.rs"):
            text = file.read_text(encoding="utf-8")
            if "5433" in text:
                file.write_text(text.replace("5433", str(target.port)), encoding="utf-8")
        manifest = suite / "Cargo.toml"
        manifest.write_text(manifest.read_text(encoding="utf-8") + "\n[workspace]\n", encoding="utf-8")
        features = ",".join((*_CRATE_FEATURES, *_CRATE_FEATURES_REST))
        command = ("cargo", "test", "--tests", "--no-fail-fast", "--features", features)
        return Run(
            (*command, "--", "--test-threads=2"),
            from_cargo,
            suite,
            {"CARGO_TARGET_DIR": str(shop.folder / "target"), "CARGO_PROFILE_TEST_DEBUG": "0"},
        )

    return Suite(
        name=crate,
        prepare=prepare,
        run=run,
        tools=("cargo",),
        home="rust",
        hba=(
            "host all pass_user 127.0.0.1/32 password",
            "host all md5_user 127.0.0.1/32 md5",
            "host all scram_user 127.0.0.1/32 scram-sha-256",
            "hostssl all ssl_user 127.0.0.1/32 trust",
            "host all postgres 127.0.0.1/32 trust",
        ),
        roles="""
            DROP ROLE IF EXISTS pass_user, md5_user, scram_user, ssl_user;
            CREATE ROLE pass_user PASSWORD 'password' LOGIN;
            SET password_encryption = 'md5'; CREATE ROLE md5_user PASSWORD 'password' LOGIN;
            SET password_encryption = 'scram-sha-256'; CREATE ROLE scram_user PASSWORD 'password' LOGIN;
            CREATE ROLE ssl_user LOGIN;
        """,
    )


# --- Java -----------------------------------------------------------------------------------------------

_PGJDBC = "42.7.7"


async def _prepare_pgjdbc(shop: Workshop) -> None:
    folder = shop.folder / f"postgresql-{_PGJDBC}-jdbc-src"
    repository = f"-Dmaven.repo.local={shop.folder / 'm2'}"
    if not folder.exists():
        await shop.must(
            *("mvn", "-q", "-B", repository, "dependency:copy", "-Dmdep.useBaseVersion=true"),
            *(
                f"-Dartifact=org.postgresql:postgresql:{_PGJDBC}:tar.gz:jdbc-src",
                f"-DoutputDirectory={shop.folder}",
            ),
        )
        shutil.unpack_archive(shop.found("*jdbc-src.tar.gz"), shop.folder, filter="data")
    await shop.must("mvn", "-q", "-B", repository, "test", "-DskipTests", cwd=folder)


async def _run_pgjdbc(shop: Workshop, target: Target) -> Run:
    folder = shop.folder / f"postgresql-{_PGJDBC}-jdbc-src"
    settings = {
        "test.url.PGHOST": target.host,
        "test.url.PGPORT": str(target.port),
        "test.url.PGDBNAME": target.database,
        "user": "test",
        "password": "test",
        "privilegedUser": target.user,
        "privilegedPassword": target.password,
    }
    lines = [f"{key}={value}" for key, value in settings.items()]
    (folder / "build.local.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    reports = folder / "target" / "surefire-reports"
    shutil.rmtree(reports, ignore_errors=True)
    command = ("mvn", "-q", "-B", f"-Dmaven.repo.local={shop.folder / 'm2'}", "surefire:test")
    return Run((*command, "-Dmaven.test.failure.ignore=true"), lambda _: from_junit(reports), folder)


# --- JavaScript -----------------------------------------------------------------------------------------

_NODE_PACKAGES = (
    "pg@8.23.1",
    "pg-cursor@2.22.0",
    "pg-query-stream@4.17.0",
    "pg-copy-streams@7.0.0",
    "postgres@3.4.9",
)
_NODE_SCRIPT = Path(__file__).parent / "node" / "seen.mjs"


async def _prepare_node(shop: Workshop) -> None:
    (shop.folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    await shop.must("npm", "install", "--silent", "--no-audit", "--no-fund", *_NODE_PACKAGES)
    shutil.copy(_NODE_SCRIPT, shop.folder)


async def _run_node(shop: Workshop, target: Target) -> Run:
    environment = {**target.environment(), "NODE_TLS": str(int(target.tls))}
    return Run(("node", "--no-warnings", _NODE_SCRIPT.name), from_lines, shop.folder, environment)


# --- all ------------------------------------------------------------------------------------------------

SUITES = (
    Suite(
        name="pgx",
        prepare=_prepare_pgx,
        run=_run_pgx,
        tools=("go",),
        hba=(
            "host all pgx_md5 127.0.0.1/32 md5",
            "host all pgx_scram 127.0.0.1/32 scram-sha-256",
            "host all pgx_pw 127.0.0.1/32 password",
        ),
        roles="""
            SET password_encryption = 'md5'; CREATE USER pgx_md5 SUPERUSER PASSWORD 'secret';
            SET password_encryption = 'scram-sha-256';
            CREATE USER pgx_pw SUPERUSER PASSWORD 'secret'; CREATE USER pgx_scram SUPERUSER PASSWORD 'secret';
            CREATE USER " tricky, ' } "" \\ test user " SUPERUSER PASSWORD 'secret';
        """,
        sql="CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20,0);",
        on_purpose={
            "*HandlesTimeoutBetweenParseAndDescribe*": "a series goes to the server when it is complete, so "
            "the server's statement_timeout does not run while the client is still writing it",
            "*.TestConnectTLS*": "asks the server whether its own connection is encrypted",
        },
    ),
    Suite(
        name="pq",
        prepare=_prepare_pq,
        run=_run_pq,
        tools=("go",),
        hba=(
            "host all pqgomd5 127.0.0.1/32 md5",
            "host all pqgopassword 127.0.0.1/32 password",
            "host all pqgoscram 127.0.0.1/32 scram-sha-256",
        ),
        roles="""
            CREATE ROLE pqgopassword LOGIN PASSWORD 'wordpass'; CREATE ROLE pqgoscram LOGIN PASSWORD 'wordpass';
            SET password_encryption = 'md5'; CREATE ROLE pqgomd5 LOGIN PASSWORD 'wordpass';
        """,
    ),
    *(_rust(crate) for crate in _CRATES),
    Suite(name="node", prepare=_prepare_node, run=_run_node, tools=("node", "npm")),
    Suite(
        name="pgjdbc",
        prepare=_prepare_pgjdbc,
        run=_run_pgjdbc,
        tools=("mvn", "java"),
        roles="CREATE ROLE test LOGIN SUPERUSER PASSWORD 'test';",
        sql="CREATE EXTENSION hstore; CREATE EXTENSION citext;",
    ),
)
