"""``make bench``: what stands between client and server costs, compared with nothing there and with pgbouncer.

Everything runs on this machine. Each round runs every workload directly, through a gateway with policy, audit and
metrics on, and through pgbouncer in session mode, one right after the other and in another order each round, so that
what else the machine does hits all of them alike. Figures are medians over the rounds; what matters is their ratios.
Without pgbouncer (its path may be given as PGBOUNCER) that column is left out.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.bulk import BULK, bulk
from tests.bench.pooler import pgbouncer, running_pgbouncer
from tests.compiled import install
from tests.support.gateway import GatewayProcess, make_config
from tests.support.memory import children
from tests.support.postgres import Postgres, run_postgres

__all__ = ["Figures", "Way", "Workload", "main", "ratios"]

POLICY: Final[Mapping[str, Any]] = {
    "personal_data": [
        {"relation": "public.pgbench_accounts", "columns": ["filler"], "subject": "aid"},
        {"relation": "public.pgbench_history", "columns": ["filler"], "subject": "aid"},
    ],
    "rules": [
        {"name": "erasure", "when": {"action": "delete", "data": "personal"}, "then": "hold"},
        {"name": "bulk", "when": {"action": "read", "data": "personal", "rows": "> 100"}, "then": "hold"},
    ],
    "defaults": {"otherwise": "allow"},
}

FIXED: Final = "SELECT abalance FROM pgbench_accounts WHERE aid = 1;\n"
"""The same text each time, where ``pgbench -S`` in the simple protocol sends another literal each time."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A way to use a server. ``arguments`` are pgbench's; ``script`` is run instead of what is built in."""

    name: str
    clients: int = 1
    arguments: tuple[str, ...] = ()
    script: str = ""
    bulk: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """One workload on one way: units (transactions, or megabytes) a second, microseconds of the proxy's CPU time for
    each of them, and percentiles of the latency in microseconds (None where they are not taken)."""

    rate: float
    cpu_us: float | None = None
    p50_us: float | None = None
    p95_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the server; ``pid`` is the process in between, which may have children."""

    name: str
    host: str
    port: int
    pid: int | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer workloads and rounds, about two minutes")
    parser.add_argument("--json", type=Path, help="write medians and ratios to this file")
    parser.add_argument("--only", default="", help="only workloads whose name contains this")
    parser.add_argument("--rounds", type=int, help="rounds (5, quick: 3)")
    parser.add_argument("--seconds", type=float, help="seconds a workload runs in each round (5, quick: 1)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the gateway (1)")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's scale (10: a million accounts)")
    parser.add_argument("--compiled", action="store_true", help="the gateway from the wheel of this checkout")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (1.0 if options.quick else 5.0)
    chosen = [one for one in workloads(quick=options.quick) if options.only in one.name]
    if not chosen:
        parser.error(f"no workload has {options.only!r} in its name")
    if pgbouncer() is None:
        print(
            "pgbouncer is not here (Debian: apt-get install pgbouncer; or PGBOUNCER=PATH): left out",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory() as folder:
        package = install(Path(folder)) if options.compiled else None
        if options.compiled and package is None:
            parser.error("nothing was compiled: there is no C compiler, or HOLDGATE_PURE is set")
        taken = asyncio.run(_measure(chosen, rounds, seconds, options.scale, options.workers, package))
    medians = {
        name: {way: median(figures) for way, figures in by_way.items()} for name, by_way in taken.items()
    }
    print(table(medians))
    if options.json is not None:
        report = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "workers": options.workers,
            "compiled": options.compiled,
            "rounds": rounds,
            "seconds": seconds,
            "workloads": {
                name: {way: asdict(figures) for way, figures in by_way.items()}
                for name, by_way in medians.items()
            },
            "ratios": {name: ratios(by_way) for name, by_way in medians.items()},
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def workloads(*, quick: bool) -> list[Workload]:
    """What is measured."""
    counts = (1, 32) if quick else (1, 8, 32, 128)
    found = [
        Workload(f"select, {mode}, {clients}", clients, ("-S", "-M", mode))
        for mode in ("prepared", "extended", "simple")
        for clients in counts
    ]
    found += [Workload(f"select, same text, {clients}", clients, script=FIXED) for clients in counts]
    found += [Workload("TPC-B, 8", 8), Workload("connections, 4", 4, ("-S", "-C"))]
    return found + [Workload(name, bulk=name) for name in BULK]


def median(figures: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    fields: dict[str, float | None] = {}
    for name in Figures.__slots__:
        values = [value for one in figures if (value := getattr(one, name)) is not None]
        fields[name] = statistics.median(values) if values else None
    return replace(figures[0], **fields)  # type: ignore[arg-type]


def ratios(by_way: Mapping[str, Figures]) -> dict[str, float]:
    """The gateway's figures as multiples of what they are compared with, where there is something to compare.

    ``added`` compares latency beyond the direct one.
    """
    found: dict[str, float] = {}
    gateway, direct, pooler = by_way["holdgate"], by_way["direct"], by_way.get("pgbouncer")
    if direct.rate:
        found["rate/direct"] = gateway.rate / direct.rate
    if pooler is not None:
        if pooler.rate:
            found["rate/pgbouncer"] = gateway.rate / pooler.rate
        if gateway.cpu_us and pooler.cpu_us:
            found["cpu/pgbouncer"] = gateway.cpu_us / pooler.cpu_us
        for name in ("p50_us", "p99_us"):
            base, ours, theirs = (getattr(one, name) for one in (direct, gateway, pooler))
            if None not in (base, ours, theirs) and theirs > base:
                found[f"added {name[:3]}/pgbouncer"] = (ours - base) / (theirs - base)
    return {name: round(value, 3) for name, value in found.items()}


def table(medians: Mapping[str, Mapping[str, Figures]]) -> str:
    """The medians for people."""
    lines = [f"{'workload':26}{'way':11}{'a second':>10}{'CPU µs':>8}{'p50 µs':>8}{'p95 µs':>8}{'p99 µs':>8}"]
    for name, by_way in medians.items():
        for way, one in by_way.items():
            cells = "".join(
                f"{'' if value is None else format(value, '.0f'):>8}"
                for value in (one.cpu_us, one.p50_us, one.p95_us, one.p99_us)
            )
            lines.append(f"{name:26}{way:11}{one.rate:10.0f}{cells}")
        compared = ", ".join(f"{what} {value:.2f}" for what, value in ratios(by_way).items())
        lines.append(f"{'':26}{compared}")
    return "\n".join(lines)


def machine() -> dict[str, str | int | float]:
    """What the figures were taken on, and how busy it was otherwise."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


# --- measuring -------------------------------------------------------------------------------------------


async def _measure(
    chosen: Sequence[Workload], rounds: int, seconds: float, scale: int, workers: int, package: Path | None
) -> dict[str, dict[str, list[Figures]]]:
    # Settled by a database of its own: the sample's tables would only be in the way.
    with (
        run_postgres(settings={"max_connections": "300"}) as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        await _pgbench(postgres, postgres.host, postgres.port, ["-i", "-q", "-s", str(scale)])
        async with _ways(postgres, Path(folder), workers, package) as ways:
            taken: dict[str, dict[str, list[Figures]]] = {
                one.name: {way.name: [] for way in ways} for one in chosen
            }
            for number in range(rounds):
                for workload in chosen:
                    turn = number % len(ways)
                    for way in (*ways[turn:], *ways[:turn]):
                        figures = await _run(postgres, workload, way, seconds, Path(folder))
                        taken[workload.name][way.name].append(figures)
            return taken


@contextlib.asynccontextmanager
async def _ways(
    postgres: Postgres, folder: Path, workers: int, package: Path | None
) -> AsyncIterator[list[Way]]:
    async with contextlib.AsyncExitStack() as stack:
        ways = [Way("direct", postgres.host, postgres.port)]
        config = make_config(postgres, POLICY, {"listen": {"workers": workers}})
        # Without the folder that is worked in, the package is found where it was unpacked.
        environment = {} if package is None else {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
        process = GatewayProcess(folder, config, environment=environment, patience=60)
        gateway = await stack.enter_async_context(process)
        ways.append(Way("holdgate", gateway.host, gateway.port, gateway.pid))
        if (program := pgbouncer()) is not None:
            port, pid = await stack.enter_async_context(running_pgbouncer(program, postgres, folder))
            ways.append(Way("pgbouncer", "127.0.0.1", port, pid))
        yield ways


async def _run(postgres: Postgres, workload: Workload, way: Way, seconds: float, folder: Path) -> Figures:
    if workload.bulk:
        before = cpu_seconds(way.pid)
        rows = 2_000_000 if seconds >= 5 else 200_000
        megabytes, took = await asyncio.to_thread(bulk, workload.bulk, way.host, way.port, rows)
        return _figures(megabytes, took, before, way)
    with tempfile.TemporaryDirectory(dir=folder) as logs:
        arguments = [
            "-n",
            "-T",
            format(max(1, round(seconds))),
            "-c",
            str(workload.clients),
            *workload.arguments,
        ]
        if workload.script:
            script = Path(logs, "script.sql")
            script.write_text(workload.script, encoding="ascii")
            arguments += ["-f", str(script)]
        alone = workload.clients == 1
        if alone:
            arguments += ["-l", "--log-prefix", str(Path(logs, "log"))]
        before = cpu_seconds(way.pid)
        output = await _pgbench(postgres, way.host, way.port, arguments)
        if "tps = " not in output:
            # pgbench says nothing of a run in which not one transaction ended, as on a machine that is busy otherwise.
            return Figures(0.0)
        rate = _number(output, "tps = ")
        count = _number(output, "number of transactions actually processed: ")
        figures = _figures(count, count / rate, before, way)
        return replace(figures, **_percentiles(Path(logs))) if alone else figures


def _figures(units: float, took: float, before: float, way: Way) -> Figures:
    spent = cpu_seconds(way.pid) - before
    return Figures(units / took, None if way.pid is None else spent / units * 1e6)


async def _pgbench(postgres: Postgres, host: str, port: int, arguments: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        shutil.which("pgbench", path=str(postgres.bindir)) or "pgbench",
        *arguments,
        "postgres",
        env={
            **os.environ,
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": postgres.superuser,
            "PGSSLMODE": "disable",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"pgbench {' '.join(arguments)}: {errors.decode(errors='replace')[-2000:]}")
    return output.decode()


def _number(output: str, label: str) -> float:
    return float(output.rpartition(label)[2].split()[0].split("/")[0])


def _percentiles(logs: Path) -> dict[str, float]:
    # One line a transaction; the third word is its latency in microseconds.
    taken = sorted(
        float(line.split()[2])
        for log in logs.glob("log.*")
        for line in log.read_text(encoding="ascii").splitlines()
    )
    return {f"p{part}_us": taken[min(len(taken) * part // 100, len(taken) - 1)] for part in (50, 95, 99)}


def cpu_seconds(pid: int | None) -> float:
    """User and system time that a process and its children have used, all of their threads together; 0 for no
    process."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds, children(pid)))


if __name__ == "__main__":
    sys.exit(main())
