"""The command as a process: what a shell, a pipe and a terminal see of it."""

import asyncio
import os
import sys

import pytest

from tests.gateway.cli.running import Said, command, holdgate
from tests.gateway.management import Desk


async def run(*arguments: str, **environment: str) -> Said:
    """A process of its own."""
    return await run_into(None, *arguments, **environment)


async def run_into(stdout: int | None, *arguments: str, **environment: str) -> Said:
    """A process of its own that writes into a file descriptor; None: what it writes is read."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error", **environment},
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, (out or b"").decode("utf-8", "backslashreplace"), err.decode())


async def environment(desk: Desk) -> dict[str, str]:
    return {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token("vic")}


async def test_it_runs_as_a_module_and_says_how_it_ended(desk: Desk) -> None:
    assert (await run("--version")).code == 0
    assert (await run("fly")).failed(2).startswith("argument command: invalid choice: 'fly'")
    said = await run("holds", "show", "H-1", **await environment(desk))
    assert said.failed(1) == "There is no such hold."


async def test_a_reader_that_leaves_early_is_no_failure_to_speak_of(desk: Desk) -> None:
    for _ in range(3):
        await desk.open(sql="x" * 100_000)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        said = await run_into(writing, "holds", "list", "--json", **await environment(desk))
    finally:
        os.close(writing)
    assert (said.code, said.err) == (1, "")


@pytest.mark.parametrize("words", [("holds", "list", "--json"), ("holds", "list")])
async def test_an_output_that_cannot_be_written_is_one_line(desk: Desk, words: tuple[str, ...]) -> None:
    await desk.open()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        said = await run_into(full, *words, **await environment(desk))
    finally:
        os.close(full)
    assert said.failed() == "cannot use the output: No space left on device"


async def test_a_terminal_that_knows_few_letters_gets_escapes(desk: Desk) -> None:
    await desk.open(sql="SELECT 'ü漢'")
    said = await run("holds", "list", PYTHONIOENCODING="ascii", **await environment(desk))
    assert (said.code, said.err) == (0, "")
    assert r"SELECT '\xfc\u6f22'" in said.out


async def test_an_argument_that_is_no_text_is_shown_as_an_escape(desk: Desk) -> None:
    arguments = [os.fsdecode(argument) for argument in (b"holds", b"show", b"\xff\x1b[2J")]
    said = await run(*arguments, **await environment(desk))
    assert said.failed() == "There is no such hold."
    hold = await desk.open()
    said = await run("holds", "approve", hold.id, "--reason", os.fsdecode(b"\xff"), **await environment(desk))
    assert said.failed(2) == "an argument is not UTF-8 text"
    said = await run("validate", "-c", os.fsdecode(b"/no\xff\x1b[2J\nwhere"))
    assert said.code == 1
    assert said.err == "/no\\udcff\\x1b[2J where: cannot read: No such file or directory\n"


async def test_nothing_is_said_with_a_trace(desk: Desk) -> None:
    for words in (
        ("audit", "tail", "--file", "/"),
        ("audit", "verify", "--file", "/nowhere"),
        ("token", "list", "-c", "/nowhere"),
        ("check", "-c", "/", "SELECT 1"),
        ("serve", "-c", "/"),
        ("holds", "list", "--server", "http://127.0.0.1:1"),
    ):
        said = await run(*words, HOLDGATE_TOKEN="hg_x")
        assert said.code in (1, 2)
        assert said.err.startswith("holdgate: ")
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err


async def test_the_environment_stands_in_for_the_options(desk: Desk) -> None:
    token = await desk.token("vic")
    said = await holdgate("sessions", "list", "--server", desk.url, "--token", token)
    assert said.code == 0
    # What is typed counts more.
    said = await holdgate(
        *("sessions", "list", "--server", desk.url, "--token", token),
        HOLDGATE_SERVER="http://127.0.0.1:1",
        HOLDGATE_TOKEN="hg_wrong",
    )
    assert said.code == 0


def test_the_script_is_installed() -> None:
    assert os.access(os.path.join(os.path.dirname(sys.executable), "holdgate"), os.X_OK)
