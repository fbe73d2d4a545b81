"""The outermost layer of the management port: what is true of every request and every response.

Host check against DNS rebinding, a cap on bodies, security headers, and no exception that leaves as anything
but a problem document.
"""

import asyncio
import ipaddress
import logging
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.problems import problem_response
from gateway.config import Config

__all__ = ["BODY_BYTES", "CONTENT_SECURITY_POLICY", "Shield", "host_allowed"]

logger = logging.getLogger(__name__)

HEADER_BYTES = 32 * 1024
BODY_BYTES = 64 * 1024
DISCARDED_BYTES = 16 * BODY_BYTES
"""How much of a body that is too large is read all the same: a client reads no answer while it still writes."""
BODY_SECONDS = 15.0

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: with it browsers send "Origin: null" with the forms of this very site.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)
_HTTPS_HEADERS = ((b"strict-transport-security", b"max-age=31536000"),)


def host_allowed(host: str, config: Config) -> bool:
    """Whether a request for this ``Host`` may be answered.

    An address written as digits is safe: a page that rebinds DNS must use a name. Of names, only the ones
    this gateway is known by are taken: ``localhost``, its address, and that of ``admin.public_url``.
    """
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return True
    public = urlsplit(config.admin.public_url).hostname if config.admin.public_url else None
    return name in {"localhost", config.admin.address.lower(), public}


class _TooLarge(Exception):
    """The body is over the cap."""


class Shield:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, config: Callable[[], Config]) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            # Websockets are not spoken here; a lifespan, where a test client sends one, is the application's.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False
        extra = _HEADERS + (_HTTPS_HEADERS if scope.get("scheme") == "https" else ())

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in extra if name not in present),
                ]
            await send(message)

        async def refuse(status: int, detail: str, kind: str) -> None:
            response = problem_response(status, detail, kind=kind, headers={"connection": "close"})
            await response(scope, receive, guarded_send)

        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            await refuse(431, f"The headers may have at most {HEADER_BYTES} bytes.", "headers-too-large")
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not host_allowed(hosts[0].decode("latin-1"), self._config()):
            await refuse(
                421,
                "This gateway is not known by that name. Use its address, or set admin.public_url.",
                "unknown-host",
            )
            return
        try:
            body = await _read_body(scope, receive)
        except _TooLarge:
            await refuse(413, f"A request body may have at most {BODY_BYTES} bytes.", "body-too-large")
            return
        except TimeoutError:
            await refuse(408, "The request body did not arrive in time.", "body-too-slow")
            return
        if body is None:
            return
        delivered = False

        async def replay() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._app(scope, replay, guarded_send)
        except Exception:
            reference = uuid.uuid4().hex[:12]
            logger.exception("management request failed, reference %s", reference)
            if started:
                raise
            await refuse(
                500, f"The gateway failed on this request; its log says why under {reference}.", "internal"
            )


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, None when the client left before its end. Believes no length: it also counts."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 18 or int(value) > DISCARDED_BYTES):
            raise _TooLarge
    body = bytearray()
    size = 0
    async with asyncio.timeout(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            size += len(piece)
            if size <= BODY_BYTES:
                body += piece
            if size > DISCARDED_BYTES or (size > BODY_BYTES and not message.get("more_body", False)):
                raise _TooLarge
            if not message.get("more_body", False):
                return bytes(body)
