"""The command as somebody runs it, in this process or in one of its own."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from gateway.cli import main

__all__ = ["Said", "command", "holdgate"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """One value for each line of the output."""
        return [json.loads(line) for line in self.out.splitlines()]

    def failed(self, code: int = 1) -> str:
        """The one line on stderr that a failure is, without its prefix; nothing is on stdout then."""
        assert self.code == code, self
        assert self.out == "", self
        assert self.err.startswith("holdgate"), self
        assert self.err.endswith("\n"), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("holdgate: ").removesuffix("\n")


def _run(arguments: tuple[str, ...], stdin: str, environment: Mapping[str, str]) -> Said:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDGATE_")}
    given = io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape")), "utf-8", "surrogateescape")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    # Tokens that whoever runs the tests has kept are theirs.
    clean["XDG_CONFIG_HOME"] = os.devnull
    with (
        patch.dict(os.environ, {**clean, **environment}, clear=True),
        patch.object(sys, "stdin", given),
        patch.object(sys, "stdout", out),
        patch.object(sys, "stderr", err),
    ):
        try:
            code = main(arguments)
        except SystemExit as end:
            # The parser's way out.
            code = int(end.code or 0)
        for stream in (out, err):
            stream.flush()
        said = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]
    return Said(code, said[0], said[1])


async def holdgate(*arguments: str, stdin: str = "", **environment: str) -> Said:
    """Run ``holdgate ARGUMENTS`` in a thread of this process, so that what it talks to can go on in the loop."""
    return await asyncio.to_thread(_run, arguments, stdin, environment)


def command(*arguments: str) -> tuple[str, ...]:
    """The words that run ``holdgate ARGUMENTS`` as a process of its own."""
    return (sys.executable, "-m", "gateway.cli", *arguments)
