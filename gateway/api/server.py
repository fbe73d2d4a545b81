"""The management port's server: uvicorn inside the gateway's own loop."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import quote

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.api.app import ManagementApp, create_app
from gateway.api.services import Services
from gateway.config import AdminTls
from gateway.tasks import spawn

__all__ = ["ManagementServer", "PortUnavailable"]

logger = logging.getLogger(__name__)

_BACKLOG = 128
_GRACE_SECONDS = 3
HEAD_SECONDS = 20.0


class PortUnavailable(OSError):
    """The management port cannot be opened; the text is one line for the operator."""


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a limit it does not have: how long the head of a request may take.

    Without one, idle connections could take up every place there is for those who decide.
    """

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Between two requests nothing need come, and uvicorn's own patience for that is limited.
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._await_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (signals belong to the gateway), with an event for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class ManagementServer:
    """Serves the management port of one gateway.

    ``await start()`` returns when connections are accepted and raises :class:`PortUnavailable` when they
    cannot be; ``await stop()`` ends the event streams, lets running requests finish and closes the port.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._management: ManagementApp = create_app(services)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def app(self) -> FastAPI:
        """The application that is served."""
        return self._management

    @property
    def port(self) -> int:
        """The port that was opened, which matters where the configuration says 0."""
        assert self._socket is not None, "start() comes first"
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where people reach this port: ``admin.public_url``, else the address that was opened."""
        admin = self._services.config().admin
        if admin.public_url is not None:
            return admin.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(admin.address, admin.address)  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if admin.tls else 'http'}://{shown}:{self.port}"

    async def sign_in_link(self, user: str) -> str:
        """A link that signs ``user`` in once, soon, for whoever starts the gateway to hand on."""
        code = await self._services.tokens.issue_code(user)
        return f"{self.url}/login?code={quote(code, safe='')}"

    async def start(self) -> None:
        """Open the port and begin to serve."""
        admin = self._services.config().admin
        context = _tls_context(admin.tls) if admin.tls is not None else None
        self._socket = _bind(admin.address, admin.port)
        config = uvicorn.Config(
            self._management,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            limit_concurrency=1000,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self._task = spawn(self._server.serve([self._socket]), name="api-server")
        listening = spawn(self._server.listening.wait(), name="api-listening")
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._task
        logger.info("management port on %s", self.url)

    async def stop(self) -> None:
        """Close the port. May be called before ``start`` or twice."""
        if self._server is None or self._task is None:
            return
        self._management.streams.close()
        self._server.should_exit = True
        task, self._task = self._task, None
        await task


def _bind(address: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortUnavailable(
            f"admin.address {address} is not an address of this machine: {error.strerror}"
        ) from None
    family, kind, protocol, _, target = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(target)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0).lower()
        raise PortUnavailable(
            f"cannot open the management port {address}:{port}: {why}; set admin.port to a free one"
        ) from None
    opened.setblocking(False)
    return opened


def _tls_context(tls: AdminTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise PortUnavailable(
            f"cannot use the certificate of the management port ({tls.cert}, {tls.key}): {error}"
        ) from None
    return context
