"""Authenticators: their secrets, their codes, and who keeps count."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from gateway.config import Config, load_config
from gateway.step_up import StepUpFailed
from gateway.store import open_store
from gateway.store.sql import SqlStore
from gateway.totp import AlreadyEnrolled, NoKey, NotEnrolled, Totp
from tests.gateway.management import SteppedClock

KEY = "0123456789abcdef0123456789abcdef"


class Setting:
    """Authenticators with a clock that can be moved."""

    def __init__(self, store: SqlStore, config: Config, file: Path) -> None:
        self.store = store
        self.config = config
        self.file = file
        self.clock = SteppedClock()
        # In the middle of a step, so that a code does not change while a test looks.
        self.clock.ahead = 15 - self.clock.now().timestamp() % 30
        self.totp = Totp(store, lambda: self.config, clock=self.clock)

    def code(self, secret: str, steps: int = 0) -> str:
        return pyotp.TOTP(secret).generate_otp(int(self.clock.now().timestamp()) // 30 + steps)

    async def enrol(self, user: str = "carol") -> str:
        secret, _ = await self.totp.begin(user)
        await self.totp.confirm(user, self.code(secret))
        self.clock.ahead += 90
        return secret

    def configure(self, key: str | None) -> None:
        store = dataclasses.replace(self.config.store, key=key)
        self.config = dataclasses.replace(self.config, store=store)


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    file = tmp_path / "holdgate.yaml"
    file.write_text(f"databases: {{shop: {{host: db}}}}\nstore: {{url: sqlite:///holdgate.db, key: {KEY}}}\n")
    config = load_config(file)
    store = await open_store(config.store.url)
    try:
        yield Setting(store, config, tmp_path / "holdgate.db")
    finally:
        await store.close()


class TestEnrolling:
    async def test_from_the_secret_to_the_first_code(self, setting: Setting) -> None:
        secret, uri = await setting.totp.begin("carol")
        assert not await setting.totp.enrolled("carol")
        parts = urlsplit(uri)
        assert (parts.scheme, parts.netloc, unquote(parts.path)) == ("otpauth", "totp", "/Holdgate:carol")
        assert parse_qs(parts.query)["secret"] == [secret]
        await setting.totp.confirm("carol", setting.code(secret))
        assert await setting.totp.enrolled("carol")
        with pytest.raises(AlreadyEnrolled):
            await setting.totp.begin("carol")
        with pytest.raises(AlreadyEnrolled):
            await setting.totp.confirm("carol", setting.code(secret))

    async def test_the_first_code_is_used_up_by_it(self, setting: Setting) -> None:
        secret, _ = await setting.totp.begin("carol")
        await setting.totp.confirm("carol", setting.code(secret))
        with pytest.raises(StepUpFailed, match="the code was used before"):
            await setting.totp.check("carol", setting.code(secret))

    async def test_what_is_not_confirmed_proves_nothing(self, setting: Setting) -> None:
        secret, _ = await setting.totp.begin("carol")
        with pytest.raises(NotEnrolled):
            await setting.totp.check("carol", setting.code(secret))
        with pytest.raises(StepUpFailed, match="the code is wrong"):
            await setting.totp.confirm("carol", "000000" if setting.code(secret) != "000000" else "111111")
        with pytest.raises(NotEnrolled):
            await setting.totp.confirm("dave", setting.code(secret))

    async def test_removed_it_is_none(self, setting: Setting) -> None:
        secret = await setting.enrol()
        assert await setting.totp.remove("carol")
        assert not await setting.totp.remove("carol")
        with pytest.raises(NotEnrolled):
            await setting.totp.check("carol", setting.code(secret))


class TestCodes:
    async def test_a_code_is_good_once(self, setting: Setting) -> None:
        secret = await setting.enrol()
        await setting.totp.check("carol", setting.code(secret))
        with pytest.raises(StepUpFailed, match="the code was used before; wait for the next one"):
            await setting.totp.check("carol", setting.code(secret))

    async def test_also_on_another_gateway(self, setting: Setting) -> None:
        secret = await setting.enrol()
        other = Totp(setting.store, lambda: setting.config, clock=setting.clock)
        await other.check("carol", setting.code(secret))
        with pytest.raises(StepUpFailed, match="used before"):
            await setting.totp.check("carol", setting.code(secret))

    async def test_at_the_same_moment_too(self, setting: Setting) -> None:
        secret = await setting.enrol()
        code = setting.code(secret)
        ends = await asyncio.gather(
            *(setting.totp.check("carol", code) for _ in range(5)), return_exceptions=True
        )
        assert sum(end is None for end in ends) == 1

    @pytest.mark.parametrize(("steps", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
    async def test_a_clock_may_be_wrong_by_one_step(self, setting: Setting, steps: int, good: bool) -> None:
        secret = await setting.enrol()
        if good:
            await setting.totp.check("carol", setting.code(secret, steps))
        else:
            with pytest.raises(StepUpFailed, match="the code is wrong"):
                await setting.totp.check("carol", setting.code(secret, steps))

    async def test_after_a_code_of_a_fast_clock_none_of_before_is_good(self, setting: Setting) -> None:
        secret = await setting.enrol()
        await setting.totp.check("carol", setting.code(secret, 1))
        for steps in (-1, 0, 1):
            with pytest.raises(StepUpFailed, match="used before"):
                await setting.totp.check("carol", setting.code(secret, steps))

    async def test_it_may_be_written_in_two_parts(self, setting: Setting) -> None:
        secret = await setting.enrol()
        code = setting.code(secret)
        await setting.totp.check("carol", f" {code[:3]} {code[3:]}\n")

    async def test_of_somebody_else(self, setting: Setting) -> None:
        secret, other = await setting.enrol(), await setting.enrol("dave")
        if setting.code(secret) != setting.code(other):
            with pytest.raises(StepUpFailed, match="the code is wrong"):
                await setting.totp.check("carol", setting.code(other))

    @pytest.mark.parametrize(
        "code", ["", "12345", "1234567", "abcdef", "１２３４５６", "12345\x00", "-12345", "²" * 6]
    )
    async def test_what_is_no_code(self, setting: Setting, code: str) -> None:
        await setting.enrol()
        with pytest.raises(StepUpFailed, match="the code is wrong"):
            await setting.totp.check("carol", code)

    async def test_guessing_is_slow_and_the_right_code_waits_too(self, setting: Setting) -> None:
        secret = await setting.enrol()
        for _ in range(5):
            with pytest.raises(StepUpFailed, match="the code is wrong"):
                await setting.totp.check("carol", "x")
        with pytest.raises(StepUpFailed, match="too many wrong codes") as caught:
            await setting.totp.check("carol", setting.code(secret))
        assert 0 < caught.value.wait <= 1
        setting.clock.ahead += 2
        await setting.totp.check("carol", setting.code(secret))


class TestSecrets:
    async def test_they_are_not_in_the_store(self, setting: Setting) -> None:
        secret = await setting.enrol()
        record = await setting.store.totp("carol")
        assert record is not None
        assert secret not in record.secret
        content = b"".join(one.read_bytes() for one in setting.file.parent.glob("holdgate.db*"))
        assert secret.encode() not in content

    async def test_they_are_sealed_with_the_key(self, setting: Setting) -> None:
        secret = await setting.enrol()
        setting.configure("f" * 32)
        with pytest.raises(NoKey, match=r"set up under another store\.key"):
            await setting.totp.check("carol", setting.code(secret))
        setting.configure(KEY)
        await setting.totp.check("carol", setting.code(secret))

    async def test_one_persons_is_not_anothers(self, setting: Setting) -> None:
        """Whoever can write the store cannot give carol's secret to mallory."""
        await setting.enrol()
        record = await setting.store.totp("carol")
        assert record is not None
        await setting.store.begin_totp(dataclasses.replace(record, user="mallory"))
        with pytest.raises(NoKey):
            await setting.totp.confirm("mallory", "123456")

    async def test_without_a_key_there_are_none(self, setting: Setting) -> None:
        setting.configure(None)
        with pytest.raises(NoKey, match=r"store\.key is not set"):
            await setting.totp.begin("carol")
