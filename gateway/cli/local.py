"""Commands that need no running gateway: serve, demo, validate, scram-verifier."""

import asyncio
import getpass
import secrets
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.errors import FAILED, USAGE, CliError
from gateway.cli.output import print_json
from gateway.text import one_line

if TYPE_CHECKING:
    from gateway.config import ConfigProblem

__all__ = ["demo", "scram_verifier", "serve", "validate"]

_SALT_BYTES = 16


def serve(options: Namespace) -> int:
    """Run the gateway until it is told to stop."""
    import uvloop

    from gateway.app import serve as run_gateway

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_gateway(options.config))


def demo(options: Namespace) -> int:
    """Run the demonstration."""
    try:
        from gateway.demo.main import run
    except ModuleNotFoundError as error:
        raise CliError(
            f"the demo needs {error.name}: install it with pip install 'holdgate[demo]', or use make demo"
        ) from None
    return run(
        port=options.port,
        admin_port=options.admin_port,
        data=None if options.data is None else Path(options.data),
        tour=options.tour,
    )


def validate(options: Namespace) -> int:
    """Say whether the configuration can be used and its tests pass, and every reason why not."""
    from gateway.cli.policy_tests import run_policy_tests
    from gateway.config import ConfigError, load_config

    try:
        config = load_config(options.config)
    except ConfigError as error:
        return _invalid(error.problems, options)
    failures = run_policy_tests(config)
    if failures:
        return _invalid(failures, options)
    count = len(config.tests)
    if options.json:
        print_json({"valid": True, "problems": [], "policy": config.policy.version, "tests": count})
    else:
        tests = f", {count} {'test' if count == 1 else 'tests'} passed" if count else ""
        print(f"{one_line(options.config)}: valid{tests}")
    return 0


def _invalid(problems: "Sequence[ConfigProblem]", options: Namespace) -> int:
    if options.json:
        listed = [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
            for p in problems
        ]
        print_json({"valid": False, "problems": listed})
    else:
        for problem in problems:
            print(one_line(problem), file=sys.stderr)
    return FAILED


def scram_verifier(options: Namespace) -> None:
    """Print the verifier of a password that is typed twice, or read once from standard input."""
    from protocol.scram import build_verifier

    if options.stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        try:
            password = getpass.getpass("Password: ")
            again = getpass.getpass("Again: ")
        except EOFError:
            raise CliError("no terminal to ask on; use --stdin", USAGE) from None
        if password != again:
            raise CliError("the two passwords differ; try again")
    if not password:
        raise CliError("the password is empty")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise CliError("the password is not UTF-8 text") from None
    print(build_verifier(password, secrets.token_bytes(_SALT_BYTES), options.iterations))
