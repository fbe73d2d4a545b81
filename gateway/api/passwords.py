"""Checking a password against the SCRAM verifier of a configured user, off the event loop."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable

from gateway.config import Config
from protocol.scram import DEFAULT_ITERATIONS, Verifier, derive_keys, mock_verifier, parse_verifier

__all__ = ["PasswordCheck"]


class PasswordCheck:
    """``await check(user, password)``: whether this enabled user of the configuration has this password.

    Somebody unknown, disabled or without a verifier costs what most users cost: the same key derivation, with
    as many iterations. ``secret`` (of the gateway) makes the salts of those who do not exist.
    """

    def __init__(self, config: Callable[[], Config], secret: bytes) -> None:
        self._config = config
        self._secret = secret

    async def __call__(self, user: str, password: str) -> bool:
        """The answer; the key derivation runs in a thread."""
        config = self._config()
        known = config.users.get(user)
        if known is not None and known.enabled and known.verifier is not None:
            verifier, real = parse_verifier(known.verifier), True
        else:
            verifier, real = mock_verifier(self._secret, user, _usual_iterations(config)), False
        return await asyncio.to_thread(_matches, password, verifier) and real


def _matches(password: str, verifier: Verifier) -> bool:
    keys = derive_keys(password, verifier.salt, verifier.iterations)
    return hmac.compare_digest(keys.stored_key, verifier.stored_key)


def _usual_iterations(config: Config) -> int:
    counts = Counter(
        parse_verifier(user.verifier).iterations
        for user in config.users.values()
        if user.verifier is not None
    )
    return counts.most_common(1)[0][0] if counts else DEFAULT_ITERATIONS
