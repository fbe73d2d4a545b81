"""psql, the real one, run as people run it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.demo.server import embedded_bindir

__all__ = ["Psql", "psql"]

_PATIENCE = 20.0


@dataclass(slots=True)
class Psql:
    """A psql that reads its script from a pipe; ``said`` is all it printed, notices and errors in their place."""

    _process: asyncio.subprocess.Process
    said: str = ""

    async def send(self, *lines: str) -> None:
        """Type these lines."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await self._process.stdin.drain()

    async def until(self, text: str) -> str:
        """Read until ``text`` was printed; everything up to then. Raises AssertionError if psql ends before."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            while text not in self.said:
                more = await self._process.stdout.read(4096)
                assert more, f"psql ended without saying {text!r}:\n{self.said}"
                self.said += more.decode()
        return self.said

    async def end(self) -> str:
        """End of input: everything it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        async with asyncio.timeout(_PATIENCE):
            self.said += (await self._process.stdout.read()).decode()
            await self._process.wait()
        return self.said


@asynccontextmanager
async def psql(
    host: str, port: int, database: str, *, user: str = "postgres", options: Sequence[str] = ()
) -> AsyncIterator[Psql]:
    """A psql connected to ``database``; it is gone at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        str(embedded_bindir() / "psql"),
        *("-X", "-A", "-t", f"host={host} port={port} dbname={database} user={user} {' '.join(options)}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Psql(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
