"""``holdgate totp``: one's authenticator."""

import sys
from argparse import Namespace

from gateway.cli.client import Client, part
from gateway.cli.errors import USAGE, CliError
from gateway.cli.output import print_json
from gateway.text import one_line

__all__ = ["ask_for_code", "enrol", "remove", "reset", "status"]


def status(options: Namespace) -> None:
    """Whether there is one."""
    with Client(options) as client:
        found = client.get("/api/v1/me/totp")
    if options.json:
        print_json(found)
        return
    print(
        "you have an authenticator" if found["enrolled"] else "you have no authenticator: holdgate totp enrol"
    )


def enrol(options: Namespace) -> None:
    """Set one up."""
    with Client(options) as client:
        made = client.post("/api/v1/me/totp", {})
        print(f"Secret: {one_line(made['secret'])}")
        print(f"Or open: {one_line(made['uri'])}", flush=True)
        client.post("/api/v1/me/totp/confirm", {"code": ask_for_code()})
    print("Your authenticator is set up. The code you typed in is used up by it.")


def remove(options: Namespace) -> None:
    """Remove one's own."""
    with Client(options) as client:
        client.post("/api/v1/me/totp/remove", {"code": ask_for_code()})
    print("Your authenticator is removed.")


def reset(options: Namespace) -> None:
    """Remove somebody else's."""
    with Client(options) as client:
        client.delete(f"/api/v1/people/{part(options.user)}/totp")
    print(f"{one_line(options.user)} has no authenticator any more.")


def ask_for_code() -> str:
    """A code, from whoever sits there. It is good once, so it may be seen."""
    print("Code: ", end="", file=sys.stderr, flush=True)
    code = sys.stdin.readline().strip()
    if not code:
        raise CliError("a code is needed", USAGE)
    return code
