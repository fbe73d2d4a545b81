"""``holdgate totp``, and approving with its codes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from gateway.config import Role
from rules import Stage
from tests.gateway.cli.running import holdgate
from tests.gateway.management import Desk, management

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with management(tmp_path, store={"key": KEY}) as running:
        running.clock.ahead = 15 - running.clock.now().timestamp() % 30
        yield running


async def enrol(desk: Desk, user: str) -> str:
    """The secret of a new authenticator, set up past the command."""
    secret, _ = await desk.totp.begin(user)
    await desk.totp.confirm(user, code(desk, secret))
    desk.clock.ahead += 90
    return secret


def code(desk: Desk, secret: str) -> str:
    return pyotp.TOTP(secret).at(desk.clock.now())


async def test_setting_one_up_takes_its_first_code(desk: Desk) -> None:
    as_carol = {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token("carol")}
    said = await holdgate("totp", "status", **as_carol)
    assert said.out == "you have no authenticator: holdgate totp enrol\n"
    said = await holdgate("totp", "enrol", stdin="000000\n", **as_carol)
    assert said.code in (0, 1)
    lines = said.out.splitlines()
    assert lines[0].startswith("Secret: ")
    assert lines[1].startswith("Or open: otpauth://totp/Holdgate:carol?secret=")
    assert said.err.startswith("Code: ")


async def test_approving_and_removing(desk: Desk) -> None:
    secret = await enrol(desk, "carol")
    token = await desk.token("carol", Role.APPROVER)
    as_carol = {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": token}
    assert (await holdgate("totp", "status", "--json", **as_carol)).json == [{"enrolled": True}]
    hold = await desk.open(stages=(Stage(("dpo",), step_up=("totp",)),))
    assert (
        "a code of your authenticator (totp)"
        in (await holdgate("holds", "approve", hold.id, **as_carol)).failed()
    )
    said = await holdgate("holds", "approve", hold.id, "--totp", code(desk, secret), **as_carol)
    assert said.code == 0, said
    assert "(cli, totp)" in (await holdgate("holds", "show", hold.id, **as_carol)).out
    desk.clock.ahead += 90
    said = await holdgate("totp", "remove", stdin=f"{code(desk, secret)}\n", **as_carol)
    assert (said.code, said.out) == (0, "Your authenticator is removed.\n")


async def test_no_code_is_typed(desk: Desk) -> None:
    await enrol(desk, "carol")
    as_carol = {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token("carol")}
    said = await holdgate("totp", "remove", stdin="", **as_carol)
    assert (said.code, said.err) == (2, "Code: holdgate: a code is needed\n")


async def test_an_administrator_removes_a_lost_one(desk: Desk) -> None:
    await enrol(desk, "carol")
    as_root = {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token("root", Role.ADMIN)}
    said = await holdgate("totp", "reset", "carol", **as_root)
    assert (said.code, said.out) == (0, "carol has no authenticator any more.\n")
    assert (await holdgate("totp", "reset", "carol", **as_root)).failed() == "They have no authenticator."
