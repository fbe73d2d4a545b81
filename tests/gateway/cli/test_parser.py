"""What can be typed after ``holdgate``, and what is said to what cannot."""

import re
from importlib import import_module
from typing import Any

import pytest

from gateway.cli.parser import build_parser
from tests.gateway.cli.running import holdgate

COMMANDS = {
    "serve": "-c x",
    "demo": "",
    "validate": "-c x",
    "check": "-c x SQL",
    "holds list": "",
    "holds show": "H-1",
    "holds approve": "H-1",
    "holds reject": "H-1 --reason x",
    "holds watch": "",
    "sessions list": "",
    "sessions kill": "S-1",
    "audit tail": "",
    "audit search": "",
    "audit export": "",
    "audit verify": "--file x",
    "scram-verifier": "",
    "token create": "--user u --role viewer",
    "token list": "",
    "token revoke": "T-1",
    "totp status": "",
    "totp enrol": "",
    "totp remove": "",
    "totp reset": "u",
    "login": "",
    "logout": "",
}


@pytest.mark.parametrize(("words", "arguments"), COMMANDS.items())
def test_every_command_that_is_promised_is_there(words: str, arguments: str) -> None:
    options = build_parser().parse_args([*words.split(), *arguments.split()])
    module, _, function = options.run.partition(":")
    assert callable(getattr(import_module(f"gateway.cli.{module}"), function))


@pytest.mark.parametrize("words", ["", "holds", "sessions", "audit", "token", *COMMANDS])
async def test_every_command_explains_itself(words: str) -> None:
    said = await holdgate(*words.split(), "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: holdgate {words}".rstrip())
    assert said.err == ""


async def test_help_names_the_exit_codes() -> None:
    said = await holdgate("--help")
    assert "0 done, 1 failed, 2 wrong usage, 3 hold and 4 deny (check only), 130 interrupted" in said.out


async def test_the_version() -> None:
    said = await holdgate("--version")
    assert re.fullmatch(r"holdgate \d+\.\d+\.\d+\S*\n", said.out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: command; see holdgate --help"),
        (["fly"], "invalid choice: 'fly'"),
        (
            ["holds"],
            "holdgate holds: the following arguments are required: command; see holdgate holds --help",
        ),
        (["holds", "reject", "H-1"], "the following arguments are required: --reason"),
        (["holds", "list", "--stat", "all"], "unrecognized arguments: --stat all"),
        (["holds", "list", "--state", "open"], "invalid choice: 'open'"),
        (["holds", "list", "--limit", "0"], "argument --limit: invalid count value: '0'"),
        (["holds", "list", "--limit", "x"], "invalid count value: 'x'"),
        (["demo", "--port", "70000"], "invalid port value: '70000'"),
        (["demo", "--admin-port", "-1"], "invalid port value: '-1'"),
        (["scram-verifier", "--iterations", "1"], "invalid number of iterations value: '1'"),
        (["token", "create", "--user", "u", "--role", "king"], "invalid choice: 'king'"),
        (["audit", "verify"], "one of the arguments -c/--config --file is required"),
        (["audit", "tail", "-c", "x", "--file", "y"], "not allowed with argument"),
        (["serve"], "the following arguments are required: -c/--config"),
        (["holds", "show", "H-1", "\x1b[2J\n"], r"unrecognized arguments: \x1b[2J"),
        (["\x1b[2J"], "invalid choice: "),
    ],
)
async def test_wrong_usage_is_one_line(words: list[str], says: str) -> None:
    said = (await holdgate(*words)).failed(2)
    assert says in said
    assert re.search(r"; see holdgate[a-z -]* --help$", said)
    assert "\x1b" not in said


def test_no_option_is_taken_for_another() -> None:
    parser: Any = build_parser()
    for group in parser._subparsers._group_actions[0].choices.values():
        assert group.allow_abbrev is False
