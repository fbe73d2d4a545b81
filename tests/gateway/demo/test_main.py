"""The demonstration as somebody runs it: a process of its own, a terminal's signals, a taken port."""

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.ports import free_port

_PATIENCE = 25.0
_PROGRAM = """\
import sys
from pathlib import Path
from gateway.demo.main import run
data, port, admin_port, tour = sys.argv[1:]
sys.exit(run(
    data=Path(data) if data else None,
    port=int(port) if port else None,
    admin_port=int(admin_port) if admin_port else None,
    tour=bool(tour),
))
"""


@dataclass
class Demo:
    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    text: str = ""

    async def read_until(self, words: str) -> str:
        """Everything printed so far, once it contains ``words``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            while words not in self.text:
                line = await self.process.stdout.readline()
                assert line, f"it ended:\n{self.text}"
                self.text += line.decode()
        return self.text

    async def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        async with asyncio.timeout(_PATIENCE):
            return await self.process.wait()


async def _start(
    data: Path | str, port: int | str, admin_port: int | str, *, tour: bool = False
) -> asyncio.subprocess.Process:
    arguments = [str(data), str(port), str(admin_port), "yes" if tour else ""]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory for the demonstration that the server's account can reach, for root's sake."""
    home = Path(tempfile.mkdtemp(prefix="holdgate-demo-"))
    home.chmod(0o711)
    yield home / "demo"
    shutil.rmtree(home)


@asynccontextmanager
async def _running(data: Path) -> AsyncIterator[Demo]:
    port, admin_port = free_port(), free_port()
    demo = Demo(await _start(data, port, admin_port), port, admin_port)
    try:
        await demo.read_until("Configuration:")
        yield demo
    finally:
        if demo.process.returncode is None:
            await demo.interrupt()


async def _refused(data: Path, port: int | str, admin_port: int | str) -> str:
    process = await _start(data, port, admin_port)
    async with asyncio.timeout(_PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 1
    return output.decode().strip()


async def test_the_tour_goes_as_it_should() -> None:
    process = await _start("", "", "", tour=True)
    async with asyncio.timeout(_PATIENCE):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    for words in ("DELETE 1", "rejected by carol", "the session goes on", "their chain is whole"):
        assert words in text


async def test_what_it_prints_works(data: Path) -> None:
    async with _running(data) as demo:
        text = demo.text
        command = re.search(r"psql -h (\S+) -p (\d+) -U (\S+) (\S+)", text)
        assert command is not None
        host, port, user, database = command.groups()
        where = f"host={host} port={port} user={user} dbname={database}"
        async with await psycopg.AsyncConnection.connect(where) as connection:
            cursor = await connection.execute("SELECT email FROM customer WHERE customer_id = 5")
            assert len(await cursor.fetchall()) == 1

        link = re.search(r"http://\S+/login\?code=\S+", text)
        tokens = re.findall(r"HOLDGATE_TOKEN=(\S+)", text)
        assert link is not None
        async with httpx.AsyncClient(follow_redirects=True) as browser:
            assert "Sign in" in (await browser.get(link[0])).text
            code = link[0].partition("code=")[2]
            url = f"http://127.0.0.1:{demo.admin_port}"
            assert (await browser.post(f"{url}/login", data={"code": code})).status_code == 200
            assert (await browser.get(f"{url}/api/v1/me")).json()["user"] == "carol"
        async with httpx.AsyncClient(base_url=url) as machine:
            for token, name in zip(tokens, ("carol", "olga"), strict=True):
                me = await machine.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
                assert me.json()["user"] == name


async def test_interrupted_it_stops_everything_and_starts_again(data: Path) -> None:
    async with _running(data) as demo:
        other = free_port()
        assert "another demo runs in" in await _refused(data, other, free_port())
        assert await demo.interrupt() == 0
        for port in (demo.port, demo.admin_port):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
    async with _running(data) as demo:
        assert "Sample data is in place" not in demo.text


async def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await _refused(tmp_path / "a", port, free_port())
        assert said == f"holdgate demo: port {port} is taken; stop what listens there, or say --port N"
        said = await _refused(tmp_path / "b", free_port(), port)
        assert said == f"holdgate demo: port {port} is taken; stop what listens there, or say --admin-port N"
