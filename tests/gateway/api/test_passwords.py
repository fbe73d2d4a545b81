"""Checking passwords: right or wrong, and nothing learned from how long it takes."""

import dataclasses
from pathlib import Path

import pytest

import gateway.api.passwords
from gateway.api.passwords import PasswordCheck
from gateway.config import Config, load_config
from protocol.scram import ScramKeys, derive_keys
from tests.gateway.management import PASSWORD, write_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path))


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("carol", PASSWORD, True),
        ("carol", PASSWORD + " ", False),
        ("carol", "", False),
        ("gone", PASSWORD, False),
        ("nopass", PASSWORD, False),
        ("nopass", "", False),
        ("stranger", PASSWORD, False),
        ("\0", PASSWORD, False),
    ],
)
async def test_only_the_right_password_of_somebody_enabled(
    config: Config, user: str, password: str, right: bool
) -> None:
    assert await PasswordCheck(lambda: config, b"secret")(user, password) is right


async def test_everybody_costs_the_same(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[tuple[bytes, int]] = []

    def watched(password: str, salt: bytes, iterations: int) -> ScramKeys:
        spent.append((salt, iterations))
        return derive_keys(password, salt, iterations)

    monkeypatch.setattr(gateway.api.passwords, "derive_keys", watched)
    check = PasswordCheck(lambda: config, b"secret")
    for user in ("carol", "stranger", "gone", "nopass", "stranger"):
        await check(user, "wrong")
    assert [iterations for _, iterations in spent] == [4096] * 5
    # Somebody who does not exist has a salt of their own, always the same.
    assert spent[1] == spent[4]
    assert len({salt for salt, _ in spent}) == 4


async def test_with_nobody_configured_it_costs_what_is_usual(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = dataclasses.replace(config, users={})
    assert not await PasswordCheck(lambda: empty, b"secret")("carol", PASSWORD)


async def test_a_new_verifier_counts_at_once(config: Config) -> None:
    now = config
    check = PasswordCheck(lambda: now, b"secret")
    assert await check("carol", PASSWORD)
    users = {**config.users, "carol": dataclasses.replace(config.users["carol"], verifier=None)}
    now = dataclasses.replace(config, users=users)
    assert not await check("carol", PASSWORD)
