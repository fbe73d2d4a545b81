"""Codes from an authenticator app: time-based one-time passwords (RFC 6238), each good once.

The secret is sealed in the store with ``store.key``; what was used and what was tried is counted there, so that a
code is good once over all gateways of a store, and guessing is slow over all of them.
"""

import base64
import hmac
import os
from collections.abc import Callable
from typing import Final

import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config import Config
from gateway.step_up import StepUpFailed
from gateway.store import TotpRecord, TotpStore

__all__ = ["AlreadyEnrolled", "NoKey", "NotEnrolled", "Totp"]

DRIFT_STEPS: Final = 1
"""How many time steps of 30 seconds the clock of somebody's telephone may be wrong, either way."""
STEP_SECONDS: Final = 30
DIGITS: Final = 6
_NONCE_BYTES: Final = 12


class AlreadyEnrolled(Exception):
    """There is an authenticator, which has to be removed before another one comes."""


class NotEnrolled(StepUpFailed):
    """There is no authenticator to compare with."""


class NoKey(Exception):
    """``store.key`` is not set, or is another one than what the secret was sealed with."""


class Totp:
    """The authenticators. Methods raise ``StoreUnavailable`` when the store does not answer."""

    def __init__(
        self, store: TotpStore, config: Callable[[], Config], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    async def enrolled(self, user: str) -> bool:
        """Whether ``user`` has an authenticator that was confirmed."""
        record = await self._store.totp(user)
        return record is not None and record.confirmed_at is not None

    async def begin(self, user: str) -> tuple[str, str]:
        """A new authenticator for ``user``, which the first code confirms: its secret in base32, and an address that
        an app reads (https://github.com/google/google-authenticator/wiki/Key-Uri-Format).

        Raises :class:`AlreadyEnrolled` and :class:`NoKey`.
        """
        secret = pyotp.random_base32()
        record = TotpRecord(user, self._seal(user, secret), self._clock.now())
        if not await self._store.begin_totp(record):
            raise AlreadyEnrolled(f"{user} has an authenticator already")
        uri = pyotp.TOTP(secret).provisioning_uri(name=user, issuer_name="Holdgate")
        return secret, uri

    async def confirm(self, user: str, code: str) -> None:
        """The first code of a new authenticator. Raises :class:`StepUpFailed` and :class:`NoKey`."""
        record = await self._store.totp(user)
        if record is None:
            raise NotEnrolled("there is no new authenticator to confirm; begin again")
        if record.confirmed_at is not None:
            raise AlreadyEnrolled(f"{user} has an authenticator already")
        await self._use(record, code)

    async def check(self, user: str, code: str) -> None:
        """Use a code of ``user``. Raises :class:`StepUpFailed` and :class:`NoKey`."""
        record = await self._store.totp(user)
        if record is None or record.confirmed_at is None:
            raise NotEnrolled("you have no authenticator; set one up first")
        await self._use(record, code)

    async def remove(self, user: str) -> bool:
        """Forget the authenticator of ``user``. False: there is none."""
        return await self._store.remove_totp(user)

    async def _use(self, record: TotpRecord, code: str) -> None:
        secret = self._unseal(record)
        now = self._clock.now()
        until = await self._store.try_totp(record.user, now)
        if until is not None:
            raise StepUpFailed("too many wrong codes; wait, then try again", (until - now).total_seconds())
        given = "".join(code.split())
        step = _step(secret, given, int(now.timestamp()) // STEP_SECONDS)
        if step is None:
            raise StepUpFailed("the code is wrong; compare the clock of your telephone")
        if not await self._store.use_totp(record.user, step, now):
            raise StepUpFailed("the code was used before; wait for the next one")

    def _key(self) -> bytes:
        key = self._config().store.key
        if key is None:
            raise NoKey("store.key is not set, with which the secrets of authenticators are sealed")
        return HKDF(SHA256(), 32, salt=None, info=b"holdgate totp v1").derive(key.encode())

    def _seal(self, user: str, secret: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        # The name goes along, so that nobody who can write the store gives one person's secret to another.
        sealed = AESGCM(self._key()).encrypt(nonce, secret.encode(), user.encode())
        return base64.b64encode(nonce + sealed).decode()

    def _unseal(self, record: TotpRecord) -> str:
        sealed = base64.b64decode(record.secret)
        try:
            secret = AESGCM(self._key()).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], record.user.encode()
            )
        except InvalidTag:
            raise NoKey(
                "the authenticator was set up under another store.key; remove it and set it up anew"
            ) from None
        return secret.decode()


def _step(secret: str, code: str, now: int) -> int | None:
    """The time step whose code this is, the latest if several are. All are compared, and in constant time."""
    found = None
    if len(code) == DIGITS and code.isascii() and code.isdecimal():
        one_time = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS)
        for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
            if hmac.compare_digest(one_time.generate_otp(step), code):
                found = step
    return found
