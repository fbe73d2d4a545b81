"""Signed-in browsers: server-side sessions behind an opaque cookie, and the brake on guessing passwords."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.clock import Clock

__all__ = ["IDLE_SECONDS", "BrowserSession", "BrowserSessions", "Throttle"]

IDLE_SECONDS = 30 * 60.0
LIFETIME_SECONDS = 12 * 3600.0
SESSIONS = 10_000
SESSIONS_PER_USER = 20


@dataclass(slots=True)
class BrowserSession:
    """One browser of ``user``. Times are the clock's monotonic seconds; ``csrf`` is expected in a header.

    ``id_token`` is what the OpenID provider signed them in with, for signing out there; None for other ways.
    """

    user: str
    csrf: str
    opened: float
    seen: float
    lifetime: float = LIFETIME_SECONDS
    id_token: str | None = field(default=None, repr=False)

    def csrf_matches(self, given: str | None) -> bool:
        """Whether the header carried this session's token, compared in constant time."""
        return given is not None and hmac.compare_digest(self.csrf.encode(), given.encode())


class BrowserSessions:
    """The browsers signed in to this gateway, in memory: a restart signs everybody out.

    Sessions are kept under the hash of their cookie, so a dump of this table opens none of them. A session
    ends after 30 minutes without a request, after 12 hours in any case, and when its user opens too many.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, BrowserSession] = OrderedDict()

    def open(
        self, user: str, *, lifetime: float = LIFETIME_SECONDS, id_token: str | None = None
    ) -> tuple[str, BrowserSession]:
        """A new session of at most ``lifetime`` seconds: the value for its cookie, and the session."""
        now = self._clock.monotonic()
        for key in [key for key, session in self._sessions.items() if self._over(session, now)]:
            del self._sessions[key]
        own = [key for key, session in self._sessions.items() if session.user == user]
        for key in own[: max(0, len(own) - SESSIONS_PER_USER + 1)]:
            del self._sessions[key]
        while len(self._sessions) >= SESSIONS:
            self._sessions.popitem(last=False)
        cookie = secrets.token_urlsafe(32)
        session = BrowserSession(
            user, secrets.token_urlsafe(32), now, now, min(lifetime, LIFETIME_SECONDS), id_token
        )
        self._sessions[_key(cookie)] = session
        return cookie, session

    def find(self, cookie: str, *, touch: bool = True) -> BrowserSession | None:
        """The live session of this cookie. ``touch`` counts the call as the user's activity."""
        key = _key(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock.monotonic()
        if self._over(session, now):
            del self._sessions[key]
            return None
        if touch:
            session.seen = now
        return session

    def close(self, cookie: str) -> None:
        """End the session of this cookie, if there is one."""
        self._sessions.pop(_key(cookie), None)

    @staticmethod
    def _over(session: BrowserSession, now: float) -> bool:
        return now - session.seen > IDLE_SECONDS or now - session.opened > session.lifetime


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(slots=True)
class _Attempts:
    count: int
    until: float
    last: float


class Throttle:
    """Slows down guessing: after a few failures each further one doubles the wait, up to five minutes.

    Failures count for a user at an address, so that nobody can lock somebody else out from elsewhere, and
    more generously for the address alone, so that one password tried on every user is slow too. An attempt
    is charged when it begins: many at the same moment gain nothing.
    """

    FREE_FOR_PAIR = 5
    FREE_FOR_ADDRESS = 50
    LONGEST = 300.0
    FORGOTTEN_AFTER = 900.0
    REMEMBERED = 10_000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: OrderedDict[tuple[str | None, str], _Attempts] = OrderedDict()

    def begin(self, user: str, address: str) -> float:
        """Charge an attempt. Returns 0, or the seconds to wait before the next one is looked at."""
        now = self._clock.monotonic()
        keys: tuple[tuple[tuple[str | None, str], int], ...] = (
            ((user, address), self.FREE_FOR_PAIR),
            ((None, address), self.FREE_FOR_ADDRESS),
        )
        wait = max(self._wait(key, now) for key, _ in keys)
        if wait > 0:
            return wait
        for key, free in keys:
            attempts = self._attempts.setdefault(key, _Attempts(0, 0.0, now))
            attempts.count += 1
            attempts.last = now
            if attempts.count >= free:
                attempts.until = now + min(self.LONGEST, 2.0 ** min(attempts.count - free, 16))
            self._attempts.move_to_end(key)
        while len(self._attempts) > self.REMEMBERED:
            self._attempts.popitem(last=False)
        return 0.0

    def succeeded(self, user: str, address: str) -> None:
        """The attempt was a good one: forget this user's failures here, and take it off the address."""
        self._attempts.pop((user, address), None)
        shared = self._attempts.get((None, address))
        if shared is not None:
            shared.count = max(0, shared.count - 1)

    def _wait(self, key: tuple[str | None, str], now: float) -> float:
        attempts = self._attempts.get(key)
        if attempts is None:
            return 0.0
        if now - attempts.last > self.FORGOTTEN_AFTER:
            del self._attempts[key]
            return 0.0
        return max(0.0, attempts.until - now)
