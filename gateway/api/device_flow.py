"""Signing in on a machine without a browser: a code is shown there and typed in elsewhere.

The gateway is the provider's client, so that its secret stays here; the command that asks keeps the device code,
which is worth nothing to anybody else. Source: RFC 8628 (OAuth 2.0 Device Authorization Grant).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.api.oidc import NotSignedIn, Provider, ProviderUnavailable, id_token_of, refusal
from gateway.clock import Clock
from gateway.config import is_loopback

__all__ = ["DeviceCode", "DeviceFlow", "NotYet"]

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
USUAL_INTERVAL: Final = 5.0
LONGEST_INTERVAL: Final = 60.0
LONGEST_LIFETIME: Final = 1800.0
CODES: Final = 1_000


class NotYet(Exception):
    """Nobody has typed the code in so far; ``wait`` is how many seconds to wait before asking again."""

    def __init__(self, wait: float) -> None:
        super().__init__("nobody has typed the code in yet")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device is given: a code to show, the page to type it in at, and a secret to ask with.

    ``page`` has the code in it where the provider has such an address. ``lifetime`` and ``interval`` are in seconds.
    """

    secret: str
    user_code: str
    page: str
    page_with_code: str | None
    lifetime: float
    interval: float


@dataclass(slots=True)
class _Asked:
    """A device that waits. ``next`` is when it may ask again."""

    until: float
    interval: float
    next: float


class DeviceFlow:
    """The devices that wait for somebody, in this process. Nothing but what was begun here reaches the provider,
    and not more often than it allows.

    Methods raise :class:`~gateway.api.oidc.ProviderUnavailable` and :class:`~gateway.api.oidc.NotSignedIn`.
    """

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    async def begin(self) -> DeviceCode:
        """Begin a sign-in on a device."""
        known = await self._provider.known()
        if "device_authorization_endpoint" not in known.metadata:
            raise NotSignedIn("the provider offers no codes for devices; sign in on the page")
        form = {"scope": " ".join(known.oidc.scopes)}
        status, answer = await self._provider.post(known, "device_authorization_endpoint", form)
        if status != 200:
            raise NotSignedIn(refusal(answer))
        code = DeviceCode(
            secret=_text(answer, "device_code"),
            user_code=_text(answer, "user_code"),
            page=_page(answer, "verification_uri"),
            page_with_code=_page(answer, "verification_uri_complete")
            if answer.get("verification_uri_complete")
            else None,
            lifetime=min(_seconds(answer, "expires_in", LONGEST_LIFETIME), LONGEST_LIFETIME),
            interval=min(_seconds(answer, "interval", USUAL_INTERVAL), LONGEST_INTERVAL),
        )
        now = self._clock.monotonic()
        for key in [key for key, one in self._asked.items() if one.until <= now]:
            del self._asked[key]
        while len(self._asked) >= CODES:
            self._asked.popitem(last=False)
        self._asked[_key(code.secret)] = _Asked(now + code.lifetime, code.interval, now)
        return code

    async def finish(self, secret: str) -> Mapping[str, object]:
        """The claims of whoever typed the code in. Raises :class:`NotYet` too."""
        key, now = _key(secret), self._clock.monotonic()
        asked = self._asked.get(key)
        if asked is None or asked.until <= now:
            raise NotSignedIn("this code is too old, or was used before; begin again")
        if now < asked.next:
            raise NotYet(asked.next - now)
        asked.next = now + asked.interval
        known = await self._provider.known()
        form = {"grant_type": GRANT, "device_code": secret}
        status, answer = await self._provider.post(known, "token_endpoint", form)
        if status == 200:
            self._asked.pop(key, None)
            # No page of ours has sent a nonce along: the device code stands for it.
            return await self._provider.verified(id_token_of(answer), nonce=None)
        if answer.get("error") == "slow_down":
            asked.interval += USUAL_INTERVAL
            asked.next = now + asked.interval
        if answer.get("error") in ("authorization_pending", "slow_down"):
            raise NotYet(asked.interval)
        self._asked.pop(key, None)
        raise NotSignedIn(refusal(answer))


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 4096:
        raise ProviderUnavailable(f"the provider gave no {name}")
    return value


def _page(answer: Mapping[str, Any], name: str) -> str:
    """The address of a page that people will be told to open."""
    url = _text(answer, name)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise ProviderUnavailable(f"the provider's {name} is not an https address")
    return url


def _seconds(answer: Mapping[str, Any], name: str, usual: float) -> float:
    value = answer.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        return usual
    return float(value)
