"""Cancel requests: the keys we hand out, and passing a cancel on to a server.

A client gets the server's own process ID and a secret of ours. A request with a key nobody has is dropped
without an answer, as the server does.

Source: PostgreSQL documentation, "Canceling Requests in Progress", "Message Formats" (BackendKeyData,
CancelRequest).
"""

import asyncio
import hmac
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.dial import Endpoint, open_socket, request_tls
from protocol.startup import cancel_request

__all__ = ["CancelKey", "CancelRegistry", "CancelTarget", "Cancellable", "send_cancel"]

_SHORT: Final = 4
_LONG: Final = 32


class Cancellable(Protocol):
    """A session that can be told to stop what it does."""

    async def cancel(self) -> None:
        """Withdraw what is held, or cancel what runs; return when that is done or was handed on."""


@dataclass(frozen=True, slots=True)
class CancelKey:
    """What a client must show to cancel its session."""

    pid: int
    secret: bytes = field(repr=False)


class CancelRegistry:
    """Which session a key belongs to. Two servers may use the same process ID, so a pid has several
    entries."""

    def __init__(self) -> None:
        self._sessions: dict[int, dict[bytes, Cancellable]] = {}
        self.elsewhere: Callable[[int, bytes], Awaitable[bool]] | None = None
        """Cancels by a key that nobody has here, where other processes may have it."""

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._sessions.values())

    def register(self, pid: int, session: Cancellable, *, minor: int) -> CancelKey:
        """A new key for ``session``: a secret of 4 bytes before protocol 3.2, of 32 since."""
        entries = self._sessions.setdefault(pid, {})
        secret = secrets.token_bytes(_LONG if minor >= 2 else _SHORT)
        while secret in entries:
            secret = secrets.token_bytes(len(secret))
        entries[secret] = session
        return CancelKey(pid, secret)

    def remove(self, key: CancelKey) -> None:
        """Forget a key; one that is not known is fine."""
        entries = self._sessions.get(key.pid)
        if entries is not None:
            entries.pop(key.secret, None)
            if not entries:
                del self._sessions[key.pid]

    def find(self, pid: int, secret: bytes) -> Cancellable | None:
        """The session of a key, compared in constant time with every key of that pid."""
        found: Cancellable | None = None
        for known, session in self._sessions.get(pid, {}).items():
            if hmac.compare_digest(known, secret):
                found = session
        return found

    async def cancel(self, pid: int, secret: bytes) -> bool:
        """Cancel the session of a key; False when nobody has it."""
        if await self.cancel_here(pid, secret):
            return True
        return self.elsewhere is not None and await self.elsewhere(pid, secret)

    async def cancel_here(self, pid: int, secret: bytes) -> bool:
        """Cancel the session of a key if it is of this process."""
        session = self.find(pid, secret)
        if session is None:
            return False
        await session.cancel()
        return True


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Where the server session is, and the key the server gave for it.

    ``context`` and ``server_hostname`` are those its own connection used, None without TLS.
    """

    endpoint: Endpoint
    pid: int
    secret: bytes = field(repr=False)
    context: ssl.SSLContext | None = None
    server_hostname: str | None = None


async def send_cancel(target: CancelTarget, *, timeout: float) -> None:  # noqa: ASYNC109
    """Send a CancelRequest and wait for the server to close the connection, which it does once done.

    Goes to the very address the session is connected to, encrypted as the session is. Raises
    :class:`OSError` (:class:`TimeoutError` is one) and :class:`protocol.errors.UpstreamViolation`.
    """
    async with asyncio.timeout(timeout), open_socket(target.endpoint) as sock:
        if target.context is not None and not await request_tls(sock):
            raise ConnectionError("the server no longer offers TLS")
        if target.endpoint.local:
            reader, writer = await asyncio.open_unix_connection(sock=sock)
        else:
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=target.context, server_hostname=target.server_hostname
            )
        try:
            writer.write(cancel_request(target.pid, target.secret))
            await writer.drain()
            try:
                # Any answer is ignored; a reset instead of an orderly end means the same.
                while await reader.read(1024):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass
        finally:
            writer.transport.abort()
