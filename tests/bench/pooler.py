"""A pgbouncer in session mode to compare with, if there is one."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.postgres import Postgres

__all__ = ["pgbouncer", "running_pgbouncer"]


def pgbouncer() -> str | None:
    """The path of the program: what PGBOUNCER names, or else what is installed."""
    return shutil.which(
        os.environ.get("PGBOUNCER", "pgbouncer"), path=f"{os.environ.get('PATH', '')}:/usr/sbin"
    )


@contextlib.asynccontextmanager
async def running_pgbouncer(program: str, postgres: Postgres, folder: Path) -> AsyncIterator[tuple[int, int]]:
    """Its port and process id, ready inside the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{postgres.superuser}" ""\n', encoding="utf-8")
    lines = [
        "[databases]",
        f"* = host={postgres.host} port={postgres.port}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {users}",
        "pool_mode = session",
        "max_client_conn = 1000",
        "default_pool_size = 250",
        "ignore_startup_parameters = extra_float_digits,options",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file in (folder, users, config):
        file.chmod(0o755)
    # It refuses to run as root.
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        program,
        "-q",
        *account,
        str(config),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, f"{program} ended with {process.returncode}"
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
