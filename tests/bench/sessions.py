"""``make bench-sessions``: what a session costs the gateway in memory while it does nothing, and while it is held.

Each kind is measured in a gateway process of its own, with policy, audit and metrics on, as the resident memory
that ``--sessions`` further sessions add to those that are there. Clients and server are real, except for ``--many``
idle sessions in two workers: so many real server processes would not fit beside the gateway, and a stand-in says
hello in their place.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess, make_config
from tests.support.memory import children, resident
from tests.support.postgres import run_postgres
from tests.support.wire import B, E, P, Q, RawClient, S

__all__ = ["Measured", "main", "measure"]

WARM_UP = 100
"""Sessions opened before anything is measured: what the first of them need, all share."""

AT_ONCE = 20
"""Connections opened side by side: more would make the server's processes wait for one another."""

HELD = "DELETE FROM pg_class WHERE false"

_POLICY: Mapping[str, Any] = {
    "rules": [{"name": "deletions", "when": {"action": "delete"}, "then": "hold"}],
    "limits": {"sessions": 50_000, "pending_holds": 5_000, "pending_holds_per_user": 5_000},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """``sessions`` of one kind, and the bytes each of them added to the gateway."""

    kind: str
    sessions: int
    bytes_each: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="make bench-sessions")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions of each kind (default 1000)")
    parser.add_argument(
        "--many", type=int, default=0, help="idle sessions in two workers and front of a stand-in, too"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    measured = asyncio.run(_measure_all(options.sessions, options.many))
    for one in measured:
        print(f"{one.kind:<12} {one.sessions:>6} sessions {one.bytes_each / 1024:>8.1f} KiB each")
    if options.json is not None:
        figures = {one.kind: {"sessions": one.sessions, "bytes_each": one.bytes_each} for one in measured}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


async def measure(
    kind: str, sessions: int, config: Mapping[str, Any], context: ssl.SSLContext | None = None
) -> Measured:
    """Open so many sessions of a kind (``held`` sends a statement that is held) and weigh the gateway."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        async with GatewayProcess(Path(folder), config, patience=60) as gateway:

            async def open_one() -> None:
                client = await RawClient.connect(gateway.host, gateway.port, context=context)
                stack.callback(client.abort)
                if kind != "idle, many":
                    # A session that never did anything is no session.
                    await client.exchange(
                        P("SELECT relname FROM pg_class WHERE oid = $1"), B(["1"]), E(), S()
                    )
                if kind == "held":
                    await client.send(Q(HELD))
                    notice = await client.read()
                    assert notice.tag == "N", notice

            await _open(open_one, min(WARM_UP, sessions))
            before = _weighed(gateway.pid)
            await _open(open_one, sessions)
            each = (_weighed(gateway.pid) - before) / sessions
            # Thousands of farewells would take longer than all that was measured.
            await gateway.kill()
            return Measured(kind, sessions, each)


def _weighed(pid: int) -> int:
    """The memory of a gateway where sessions are: of the process itself and of its workers."""
    workers = [
        child
        for child in children(pid)
        if b"gateway.workers" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    ]
    return sum(map(resident, (pid, *workers)))


async def _open(open_one: Callable[[], Awaitable[None]], count: int) -> None:
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await open_one()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _measure_all(sessions: int, many: int) -> list[Measured]:
    measured: list[Measured] = []
    room = str(sessions + WARM_UP + 50)
    with (
        run_postgres(settings={"max_connections": room}) as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        authority = Authority(Path(folder))
        issued = authority.issue("localhost", addresses=["127.0.0.1"])
        tls = {"listen": {"tls": {"mode": "require", "cert": str(issued.cert), "key": str(issued.key)}}}
        context = ssl.create_default_context(cafile=str(authority.cert))
        measured.append(await measure("idle", sessions, make_config(postgres, _POLICY)))
        measured.append(await measure("idle, TLS", sessions, make_config(postgres, _POLICY, tls), context))
        measured.append(await measure("held", sessions, make_config(postgres, _POLICY)))
        if many:
            async with _stand_in() as port:
                there = {
                    "databases": {"*": {"host": "127.0.0.1", "port": port}},
                    "listen": {"workers": 2},
                    "limits": _POLICY["limits"],
                }
                measured.append(await measure("idle, many", many, make_config(postgres, there)))
    return measured


@contextlib.asynccontextmanager
async def _stand_in() -> AsyncIterator[int]:
    """The port of a stand-in for a server, in a process of its own: it has as many files open as we do."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.stand_in"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    sys.exit(main())
