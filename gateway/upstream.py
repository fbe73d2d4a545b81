"""Logging in to the server behind: as the gateway itself, or with the client's own exchange passed through.

:meth:`Connector.connect` returns when the server said ReadyForQuery; everything it said since
AuthenticationOk is in the :class:`UpstreamSession`, to be given to the client with our cancel key in place of
the server's.

Source: PostgreSQL documentation, "Start-up", "SSL Session Encryption", "SASL Authentication", "SSL Support"
(sslmode), "Protocol versions".
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, Literal

from gateway.authn import new_nonce, refused_by_violation
from gateway.config import Database, SslMode
from gateway.dial import Endpoint, endpoints, open_socket, request_tls
from gateway.link import Link, LinkClosed
from gateway.login import (
    KeyCache,
    Kind,
    RefusedEarly,
    ServerLogin,
    UpstreamRefused,
    UpstreamSession,
    UpstreamUnavailable,
    Wish,
)
from gateway.tls import TlsError, client_context
from protocol.errors import FrontendViolation, ProtocolViolation
from protocol.startup import StartupMessage

__all__ = ["Connector", "UpstreamRefused", "UpstreamSession", "UpstreamUnavailable"]

LOGIN_SECONDS: Final = 20.0

_Tls = Literal["no", "yes", "if offered"]

_PLANS: Final[dict[SslMode, tuple[_Tls, ...]]] = {
    "disable": ("no",),
    "allow": ("no", "yes"),
    "prefer": ("if offered", "no"),
    "require": ("yes",),
    "verify-ca": ("yes",),
    "verify-full": ("yes",),
}
"""In which order libpq tries, by sslmode."""


class _NoTls(Exception):
    """TLS did not come about; ``allow`` and ``prefer`` do without."""


class Connector:
    """Opens sessions with servers. One for each gateway; it keeps TLS contexts and derived SCRAM keys.

    ``connect_seconds`` bounds the way to one socket, TLS included.
    """

    def __init__(
        self,
        *,
        connect_seconds: float = 10.0,
        nonce: Callable[[], bytes] = new_nonce,
    ) -> None:
        self._connect_seconds = connect_seconds
        self._nonce = nonce
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._keys = KeyCache()

    def forget(self) -> None:
        """Read certificates anew for the next session: the files or the configuration changed."""
        self._contexts.clear()

    async def connect(
        self,
        database: Database,
        startup: StartupMessage,
        *,
        client: Link | None = None,
        role: str | None = None,
        replication: bool = False,
        within: float = LOGIN_SECONDS,
    ) -> UpstreamSession:
        """Log in for a client that sent ``startup``.

        With ``client`` the authentication is passed through between the two, up to and including
        AuthenticationOk, preceded by the one NegotiateProtocolVersion the client may need. Without it the
        gateway logs in itself with ``database.login`` and becomes ``role``. ``replication`` says whether a
        replication session may be asked for. All of it has ``within`` seconds.

        Raises :class:`LoginRefused` (:class:`UpstreamRefused`, :class:`UpstreamUnavailable`), whose
        ``encoded()`` is for the client, and :class:`LinkClosed` when the client is gone.
        """
        login = database.login if client is None else None
        name = database.dbname
        if name is None and client is None:
            name = startup.database
        packet = startup.encode(
            user=login.user if login is not None else None, database=name, role=role, replication=replication
        )
        wish = Wish(database, startup, packet, login, client)
        try:
            async with asyncio.timeout(within):
                return await self._first_that_answers(wish)
        except TimeoutError as error:
            raise self._unavailable(
                "timeout", database, f"no answer to the login within {within:g} s"
            ) from error
        except FrontendViolation as violation:
            raise refused_by_violation(violation) from violation
        except ProtocolViolation as violation:
            # The server's fault, or that of whoever stands between: its words are for the operator only.
            raise self._unavailable("protocol", database, violation.message) from violation
        except TlsError as error:
            raise self._unavailable("tls", database, str(error)) from error

    async def _first_that_answers(self, wish: Wish) -> UpstreamSession:
        try:
            async with asyncio.timeout(self._connect_seconds):
                found = await endpoints(wish.database)
        except OSError as error:
            raise self._unavailable("connect", wish.database, _why(error)) from error
        failed: list[OSError] = []
        for endpoint in found:
            try:
                return await self._by_sslmode(wish, endpoint)
            except LinkClosed:  # of the client: nobody is left to connect for
                raise
            except OSError as error:
                failed.append(error)
        raise self._unavailable("connect", wish.database, "; ".join(dict.fromkeys(map(_why, failed))))

    async def _by_sslmode(self, wish: Wish, endpoint: Endpoint) -> UpstreamSession:
        """Try with and without TLS in the order libpq does. Raises :class:`OSError` when nobody answers.

        Unlike libpq, nothing is tried again after the server asked for a password: what was meant for an
        encrypted connection would be sent over a bare one.
        """
        plan = ("no",) if endpoint.local else _PLANS[wish.database.sslmode]
        failure: RefusedEarly | _NoTls | None = None
        for tls in plan:
            try:
                return await self._attempt(wish, endpoint, tls)
            except _NoTls as error:
                failure = failure or error
            except RefusedEarly as error:
                failure = error
                if tls == "if offered" and not error.encrypted:
                    break
        if isinstance(failure, RefusedEarly):
            raise failure.refused
        raise self._unavailable("tls", wish.database, str(failure))

    async def _attempt(self, wish: Wish, endpoint: Endpoint, tls: _Tls) -> UpstreamSession:
        link, context = await self._open(wish.database, endpoint, tls)
        login = ServerLogin(wish, link, endpoint, context, self._keys, self._nonce)
        try:
            return await login.run()
        except BaseException:
            link.abort()
            raise

    async def _open(
        self, database: Database, endpoint: Endpoint, tls: _Tls
    ) -> tuple[Link, ssl.SSLContext | None]:
        loop = asyncio.get_running_loop()
        context = await self._context(database) if tls != "no" else None
        async with asyncio.timeout(self._connect_seconds), open_socket(endpoint) as sock:
            if context is not None and not await request_tls(sock):
                if tls == "yes":
                    raise _NoTls("the server does not offer TLS")
                context = None
            if endpoint.family == socket.AF_UNIX:
                _, link = await loop.create_unix_connection(Link, sock=sock)
                return link, None
            if context is None:
                _, link = await loop.create_connection(Link, sock=sock)
                return link, None
            try:
                _, link = await loop.create_connection(
                    Link, sock=sock, ssl=context, server_hostname=database.host
                )
            except (ssl.SSLError, ConnectionError) as error:
                raise _NoTls(f"TLS failed: {_why(error)}") from error
            return link, context

    async def _context(self, database: Database) -> ssl.SSLContext:
        key = (database.sslmode, database.sslrootcert, database.sslcert, database.sslkey)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = await asyncio.to_thread(client_context, database)
        return context

    def _unavailable(self, kind: Kind, database: Database, why: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            kind,
            database,
            why,
            message="the gateway could not connect to the database server",
            hint="The gateway's log says why; ask its operator.",
        )


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        verify = getattr(error, "verify_message", "")
        return verify or (error.reason or str(error)).replace("_", " ").lower()
    if error.errno is not None and error.errno in errno.errorcode:
        # asyncio puts "Connect call failed" and the address in its place.
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
