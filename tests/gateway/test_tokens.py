"""Tokens and one-time codes: what opens the management port, and what does not any more."""

import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Role, load_config
from gateway.people import People
from gateway.store import open_store
from gateway.store.sql import SqlStore
from gateway.tokens import Tokens
from tests.gateway.management import SteppedClock, write_config


class Setting:
    """Tokens over a real store, with a configuration that may change and a clock that may move."""

    def __init__(self, store: SqlStore, config: Config) -> None:
        self.store = store
        self.config = config
        self.clock = SteppedClock()
        people = People(store, lambda: self.config, clock=self.clock)
        self.tokens = Tokens(store, lambda: self.config, people, clock=self.clock)

    def change(self, name: str, **changes: Any) -> None:
        """Change a user of the configuration, or remove them."""
        users = dict(self.config.users)
        if changes:
            users[name] = dataclasses.replace(users[name], **changes)
        else:
            del users[name]
        self.config = dataclasses.replace(self.config, users=users)

    async def roles(self, secret: str) -> set[str] | None:
        token = await self.tokens.verify(secret)
        return None if token is None else set(token.roles)


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    config = load_config(write_config(tmp_path))
    store = await open_store(config.store.url)
    yield Setting(store, config)
    await store.close()


async def test_a_token_opens_what_it_was_made_for(setting: Setting) -> None:
    made, secret = await setting.tokens.issue("carol", {Role.APPROVER, Role.VIEWER}, note="for a script")
    assert re.fullmatch(r"hg_[0-9A-Za-z]{38}", secret)
    found = await setting.tokens.verify(secret)
    assert found == made
    assert (found.user, found.note, found.expires_at) == ("carol", "for a script", None)
    assert await setting.roles(secret) == {"approver", "viewer"}


async def test_secrets_are_not_kept(setting: Setting, tmp_path: Path) -> None:
    _, secret = await setting.tokens.issue("carol", {Role.VIEWER})
    code = await setting.tokens.issue_code("carol")
    await setting.store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("holdgate.db*"))
    assert secret.encode() not in kept
    assert secret[3:35].encode() not in kept
    assert code.encode() not in kept


async def test_no_two_are_alike(setting: Setting) -> None:
    secrets = {(await setting.tokens.issue("carol", {Role.VIEWER}))[1] for _ in range(20)}
    assert len(secrets) == 20


async def test_a_mistyped_token_is_told_without_asking_the_store(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("carol", {Role.VIEWER})
    await setting.store.close()
    wrong = [secret[:i] + ("b" if secret[i] == "a" else "a") + secret[i + 1 :] for i in range(3, len(secret))]
    for other in (
        *wrong,
        "",
        "hg_",
        secret[:-1],
        secret + "0",
        secret.upper(),
        f" {secret}",
        "hg_" + "0" * 38,
        "hg_" + "é" * 32 + "000000",
        "x" * 10_000,
        "\ud800",
    ):
        assert await setting.tokens.verify(other) is None


async def test_a_good_looking_token_of_another_gateway_is_nobodys(setting: Setting, tmp_path: Path) -> None:
    other = await open_store(f"sqlite:///{tmp_path / 'other.db'}")
    _, secret = await Tokens(other, lambda: setting.config, People(other, lambda: setting.config)).issue(
        "carol", {Role.VIEWER}
    )
    await other.close()
    assert await setting.tokens.verify(secret) is None


async def test_a_token_expires(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("carol", {Role.VIEWER}, expires_in=timedelta(hours=1))
    setting.clock.ahead = 3599.0
    assert await setting.roles(secret) == {"viewer"}
    setting.clock.ahead = 3601.0
    assert await setting.roles(secret) is None


async def test_a_revoked_token_opens_nothing(setting: Setting) -> None:
    made, secret = await setting.tokens.issue("carol", {Role.VIEWER})
    assert await setting.tokens.revoke(made.id)
    assert await setting.roles(secret) is None
    assert not await setting.tokens.revoke(made.id)
    assert not await setting.tokens.revoke("nobody's")
    assert [token.revoked_at is not None for token in await setting.tokens.list()] == [True]


async def test_a_token_dies_with_its_user(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("carol", {Role.APPROVER})
    setting.change("carol", enabled=False)
    assert await setting.roles(secret) is None
    setting.change("carol", enabled=True)
    assert await setting.roles(secret) == {"approver"}
    # Still a member of a group, but no user any more; then not even that.
    setting.change("carol")
    assert await setting.roles(secret) == {"approver"}
    setting.config = dataclasses.replace(setting.config, groups={})
    assert await setting.roles(secret) is None


async def test_a_token_has_no_roles_that_its_user_has_not(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("carol", {Role.APPROVER, Role.ADMIN, Role.VIEWER})
    assert await setting.roles(secret) == {"approver", "viewer"}
    setting.change("carol", roles=frozenset({Role.VIEWER}))
    assert await setting.roles(secret) == {"viewer"}
    setting.change("carol", roles=frozenset())
    assert await setting.roles(secret) == set()


async def test_where_no_roles_are_written_the_token_has_its_own(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("plain", {Role.AUDITOR})
    assert await setting.roles(secret) == {"auditor"}


async def test_a_machine_needs_no_entry(setting: Setting) -> None:
    _, secret = await setting.tokens.issue("grafana", {Role.VIEWER})
    assert await setting.roles(secret) == {"viewer"}
    # Somebody of that name who is disabled later takes the token with them.
    setting.config = dataclasses.replace(
        setting.config, users={"grafana": dataclasses.replace(setting.config.users["carol"], enabled=False)}
    )
    assert await setting.roles(secret) is None


async def test_a_code_signs_in_once(setting: Setting) -> None:
    code = await setting.tokens.issue_code("carol")
    assert await setting.tokens.redeem_code(code) == "carol"
    assert await setting.tokens.redeem_code(code) is None
    assert await setting.tokens.redeem_code("") is None


async def test_a_code_does_not_wait_for_ever(setting: Setting) -> None:
    code = await setting.tokens.issue_code("carol")
    setting.clock.ahead = 601.0
    assert await setting.tokens.redeem_code(code) is None


@pytest.mark.parametrize("user", ["gone", "stranger"])
async def test_a_code_is_for_somebody_who_may_still_come(setting: Setting, user: str) -> None:
    code = await setting.tokens.issue_code(user)
    assert await setting.tokens.redeem_code(code) is None
