"""Bearer tokens for scripts and machines, and one-time codes that sign a person in to the console.

Neither is kept: the store has their SHA-256, which is enough for secrets of this length. A token looks like
``hg_`` and 38 letters and digits, of which the last six are a checksum, so that a mistyped one is told from
an unknown one without the store, and scanners for leaked secrets can be sure of a find.
"""

import binascii
import dataclasses
import hashlib
import secrets
import string
from collections.abc import Callable, Collection
from datetime import timedelta

from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config.model import Config, Role
from gateway.ids import Ulids
from gateway.people import People
from gateway.store import TokenRecord, TokenStore

__all__ = ["CODE_LIFETIME", "Tokens"]

CODE_LIFETIME = timedelta(minutes=10)

_PREFIX = "hg_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH = 32
_CHECK_LENGTH = 6


class Tokens:
    """Makes, recognises and revokes tokens. Methods raise ``StoreUnavailable`` when the store does not
    answer.

    ``config`` is asked each time, since it may be loaded anew. A token of somebody known (by ``users``, as a
    member of a group, or to the OpenID provider) dies when that person is disabled or removed or has not been
    vouched for lately, and where their entry lists ``roles``, or the provider's groups give them, it has no
    others. A token for any other name belongs to a machine and stands by itself.
    """

    def __init__(
        self,
        store: TokenStore,
        config: Callable[[], Config],
        people: People,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._config = config
        self._people = people
        self._clock = clock
        self._ids = Ulids(clock)

    async def issue(
        self, user: str, roles: Collection[Role], *, note: str = "", expires_in: timedelta | None = None
    ) -> tuple[TokenRecord, str]:
        """A new token and its secret, which is shown this once."""
        now = self._clock.now()
        token = TokenRecord(
            id=self._ids.next(),
            user=user,
            roles=frozenset(str(role) for role in roles),
            note=note,
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
            person=await self._is_person(user),
        )
        random = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
        secret = f"{_PREFIX}{random}{_checksum(random)}"
        await self._store.add_token(token, _digest(secret))
        return token, secret

    async def verify(self, secret: str) -> TokenRecord | None:
        """The token, with the roles it has now, if it is valid now. Nothing tells why another one is not."""
        if not _well_formed(secret):
            return None
        token = await self._store.token(_digest(secret))
        if token is None or token.revoked_at is not None:
            return None
        if token.expires_at is not None and token.expires_at <= self._clock.now():
            return None
        if token.person and not await self._is_person(token.user):
            return None
        person = await self._people.find(token.user)
        if person is not None and not person.enabled:
            return None
        if person is not None and person.bounded:
            return dataclasses.replace(token, roles=token.roles & person.roles)
        return token

    async def list(self) -> list[TokenRecord]:
        """All tokens, newest first, revoked and expired ones included."""
        return await self._store.tokens()

    async def revoke(self, token_id: str) -> bool:
        """End a token. False: there is none with this id, or it was revoked before."""
        return await self._store.revoke_token(token_id, self._clock.now())

    async def issue_code(self, user: str, *, lifetime: timedelta = CODE_LIFETIME) -> str:
        """A code that signs ``user`` in once, soon."""
        code = secrets.token_urlsafe(32)
        await self._store.add_code(_digest(code), user, self._clock.now() + lifetime)
        return code

    async def redeem_code(self, code: str) -> str | None:
        """The user of a code that was not used and has not expired, and who is still enabled."""
        user = await self._store.use_code(_digest(code), self._clock.now())
        known = None if user is None else self._config().users.get(user)
        return known.name if known is not None and known.enabled else None

    async def _is_person(self, name: str) -> bool:
        if any(name in members for members in self._config().groups.values()):
            return True
        return await self._people.find(name) is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _checksum(random: str) -> str:
    number, text = binascii.crc32(random.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text


def _well_formed(secret: str) -> bool:
    random, check = secret[len(_PREFIX) : -_CHECK_LENGTH], secret[-_CHECK_LENGTH:]
    return (
        secret.isascii()
        and secret.startswith(_PREFIX)
        and len(random) == _SECRET_LENGTH
        and random.isalnum()
        and check == _checksum(random)
    )
