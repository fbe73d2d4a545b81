"""The command ``holdgate``.

Only the parser is imported at start; each command imports what it needs when it runs, so that ``--help`` and
a mistyped option answer at once.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from gateway.cli.errors import ABORTED, FAILED, CliError
from gateway.cli.parser import build_parser
from gateway.text import one_line

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done, 1 failed, 2 wrong usage, 130 interrupted; ``check`` also 3 for hold and 4 for deny. What went
    wrong is one line on stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows few letters gets the others as escapes.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    module, _, function = options.run.partition(":")
    try:
        code = getattr(import_module(f"gateway.cli.{module}"), function)(options)
        sys.stdout.flush()
        return int(code or 0)
    except CliError as error:
        print(f"holdgate: {one_line(error)}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return ABORTED
    except BrokenPipeError:
        # Whoever read our output has closed it (head, less): nothing more can be said.
        _drop_output()
        return FAILED
    except OSError as error:
        # Commands say what is wrong with their own files and sockets; what is left is mostly the output.
        _drop_output()
        place = error.filename or "the output"
        print(f"holdgate: {one_line(f'cannot use {place}: {error.strerror or error}')}", file=sys.stderr)
        return FAILED


def _drop_output() -> None:
    """What is still in the buffer would be tried once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
