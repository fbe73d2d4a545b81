"""The conversation with a server from the start-up packet to ReadyForQuery.

Source: PostgreSQL documentation, "Start-up", "SASL Authentication", "Protocol versions".
"""

import asyncio
import hashlib
import hmac
import ssl
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.authn import LoginRefused, new_nonce
from gateway.cancel import CancelTarget
from gateway.config import Database, Login
from gateway.dial import Endpoint
from gateway.link import Link, LinkClosed
from gateway.tls import certificate_binding
from protocol import sqlstate
from protocol.authentication import (
    MAX_PASSWORD_BYTES,
    AuthCode,
    Passthrough,
    decode_authentication,
    md5_password,
    password_message,
    sasl_initial_response,
    sasl_mechanisms,
    sasl_response,
)
from protocol.errors import FrontendViolation, ProtocolViolation, ServerError, UpstreamViolation
from protocol.messages import (
    backend_key_data,
    decode_backend_key_data,
    decode_parameter_status,
    decode_report,
    message,
)
from protocol.scram import SCRAM, SCRAM_PLUS, ScramClient, ScramKeys, derive_keys
from protocol.startup import NEWEST_MINOR, StartupMessage
from protocol.tags import BackendTag, FrontendTag

__all__ = [
    "KeyCache",
    "Kind",
    "RefusedEarly",
    "ServerLogin",
    "UpstreamRefused",
    "UpstreamSession",
    "UpstreamUnavailable",
    "Wish",
]

MAX_LOGIN_MESSAGE: Final = 64 * 1024
MAX_LOGIN_MESSAGES: Final = 1_000
"""What a server may say before it is ready: some fifteen parameters, a key, a few notices."""
_CACHED_KEYS: Final = 256
_UINT32: Final = struct.Struct("!I")

Kind = Literal["connect", "tls", "login", "protocol", "timeout"]


class UpstreamUnavailable(LoginRefused):
    """There is no session with the server. The client learns that, the operator's ``log`` line where and why.

    ``kind`` is the label of the metric that counts it.
    """

    def __init__(self, kind: Kind, database: Database, why: str, *, message: str, hint: str = "") -> None:
        code = sqlstate.CANNOT_CONNECT if kind in ("connect", "tls") else sqlstate.CONNECTION_FAILURE
        super().__init__(
            ServerError(sqlstate=code, message=message, hint=hint, severity="FATAL"),
            log=f"database server {database.host}, port {database.port}: {why}",
        )
        self.kind = kind


class UpstreamRefused(LoginRefused):
    """The server refused the session. ``payload`` is its ErrorResponse, which the client reads unchanged."""

    kind: Final = "login"

    def __init__(self, payload: bytes, database: Database) -> None:
        fields = decode_report(payload)
        report = ServerError(
            sqlstate=fields.get("C", sqlstate.CONNECTION_FAILURE),
            message=fields.get("M", ""),
            severity=fields.get("V", fields.get("S", "FATAL")),
        )
        super().__init__(
            report, log=f"database server {database.host}, port {database.port} refused: {report.message}"
        )
        self.payload = payload

    def encoded(self) -> bytes:
        """The server's own ErrorResponse."""
        return message(BackendTag.ERROR_RESPONSE, self.payload)


@dataclass(slots=True)
class UpstreamSession:
    """A server session that is ready.

    ``messages``    (tag, payload) of all the server said since AuthenticationOk, ReadyForQuery last.
    ``parameters``  its ParameterStatus values.
    ``minor``       the protocol version to speak with the client, which decides the length of its cancel key.
    ``cancel``      where to cancel it; None when the server gave no key.
    """

    link: Link
    endpoint: Endpoint
    minor: int
    messages: list[tuple[int, bytes]] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    cancel: CancelTarget | None = None

    def greeting(self, secret: bytes | None) -> bytes:
        """The messages for the client, with ``secret`` in place of the server's; None leaves the key out."""
        parts: list[bytes] = []
        for tag, payload in self.messages:
            if tag != BackendTag.BACKEND_KEY_DATA:
                parts.append(message(tag, payload))
            elif secret is not None and self.cancel is not None:
                parts.append(backend_key_data(self.cancel.pid, secret))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session is wanted for; see :meth:`Connector.connect`."""

    database: Database
    startup: StartupMessage
    packet: bytes
    login: Login | None
    client: Link | None


class RefusedEarly(Exception):
    """The server refused before it asked the client for anything: another sslmode may still be tried."""

    def __init__(self, refused: UpstreamRefused, *, encrypted: bool) -> None:
        super().__init__(str(refused))
        self.refused = refused
        self.encrypted = encrypted


class KeyCache:
    """SCRAM keys by what they are made from. PBKDF2 runs in a thread, once for each password and salt.

    The password itself is not kept, only an HMAC of it under a key of this process.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bytes, int], ScramKeys] = OrderedDict()
        self._turn = asyncio.Lock()
        self._mark = new_nonce()

    async def keys(self, password: str, salt: bytes, iterations: int) -> ScramKeys:
        """The keys, derived if they are not known."""
        digest = hmac.new(self._mark, password.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
        entry = (digest, salt, iterations)
        async with self._turn:
            keys = self._known.get(entry)
            if keys is None:
                keys = await asyncio.to_thread(derive_keys, password, salt, iterations)
                self._known[entry] = keys
                if len(self._known) > _CACHED_KEYS:
                    self._known.popitem(last=False)
            self._known.move_to_end(entry)
        return keys


class ServerLogin:
    """The conversation with one server from the start-up packet to ReadyForQuery."""

    def __init__(
        self,
        wish: Wish,
        link: Link,
        endpoint: Endpoint,
        context: ssl.SSLContext | None,
        keys: KeyCache,
        nonce: Callable[[], bytes],
    ) -> None:
        self._wish = wish
        self._link = link
        self._endpoint = endpoint
        self._context = context
        self._keys = keys
        self._nonce = nonce
        self._watch = Passthrough()
        self._scram: ScramClient | None = None
        self._signed = False
        self._asked = False
        self._newest = NEWEST_MINOR
        self._count = 0

    async def run(self) -> UpstreamSession:
        self._link.write(self._wish.packet)
        early = await self._authenticate()
        startup, client = self._wish.startup, self._wish.client
        session = UpstreamSession(
            link=self._link,
            endpoint=self._endpoint,
            minor=startup.minor if client is None else min(startup.minor, self._newest),
            messages=early,
        )
        while True:
            tag, payload = await self._read()
            if tag == BackendTag.ERROR_RESPONSE:
                raise UpstreamRefused(payload, self._wish.database)
            session.messages.append((tag, payload))
            if tag == BackendTag.PARAMETER_STATUS:
                name, value = decode_parameter_status(payload)
                session.parameters[name] = value
            elif tag == BackendTag.BACKEND_KEY_DATA:
                pid, secret = decode_backend_key_data(payload)
                hostname = self._wish.database.host if self._context is not None else None
                session.cancel = CancelTarget(self._endpoint, pid, secret, self._context, hostname)
            elif tag == BackendTag.READY_FOR_QUERY:
                if payload != b"I":
                    raise UpstreamViolation("the server begins a session inside a transaction")
                return session
            elif tag != BackendTag.NOTICE_RESPONSE:
                raise UpstreamViolation(f"unexpected message type {tag} after authentication")

    async def _read(self) -> tuple[int, bytes]:
        self._count += 1
        if self._count > MAX_LOGIN_MESSAGES:
            raise UpstreamViolation("the server does not become ready")
        try:
            return await self._link.read_message(MAX_LOGIN_MESSAGE)
        except LinkClosed:
            raise UpstreamViolation("the server closed the connection during the login") from None

    async def _authenticate(self) -> list[tuple[int, bytes]]:
        """Go on until AuthenticationOk; returns the notices that came before it."""
        notices: list[tuple[int, bytes]] = []
        negotiated = False
        while True:
            tag, payload = await self._read()
            if tag == BackendTag.AUTHENTICATION:
                if self._wish.client is not None:
                    done = await self._pass_through(self._wish.client, payload)
                else:
                    done = await self._answer(payload)
                if done:
                    return notices
            elif tag == BackendTag.ERROR_RESPONSE:
                raise self._refused(payload)
            elif tag == BackendTag.NEGOTIATE_PROTOCOL_VERSION and not negotiated and not self._asked:
                negotiated = True
                self._newest = self._negotiated(payload)
            elif tag == BackendTag.NOTICE_RESPONSE:
                notices.append((tag, payload))
            else:
                raise UpstreamViolation(f"expected authentication request from server, but received {tag}")

    def _negotiated(self, payload: bytes) -> int:
        """The newest minor version the server speaks. No option was asked for, so it may name none."""
        if len(payload) != 8 or payload[4:] != bytes(4):
            raise UpstreamViolation("the server rejects protocol options that were not asked for")
        newest: int = _UINT32.unpack_from(payload)[0] & 0xFFFF
        if newest >= self._wish.startup.minor:
            raise UpstreamViolation("the server negotiates a protocol version that is not older")
        return newest

    def _refused(self, payload: bytes) -> Exception:
        database = self._wish.database
        refused = UpstreamRefused(payload, database)
        if not self._asked:
            return RefusedEarly(refused, encrypted=self._context is not None)
        if self._wish.client is None and refused.report.sqlstate == sqlstate.INVALID_PASSWORD:
            # The client's own password was right: told otherwise, it would be looked for at the wrong place.
            return self._cannot_log_in(refused.report.message)
        return refused

    def _cannot_log_in(self, why: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            "login",
            self._wish.database,
            f"the gateway could not log in: {why}",
            message="the gateway could not log in to the database server",
            hint="The login configured for this database is not accepted; ask the operator of the gateway.",
        )

    # The client's own exchange -------------------------------------------------------------------------

    async def _pass_through(self, client: Link, payload: bytes) -> bool:
        if not self._asked:
            self._asked = True
            negotiation = self._wish.startup.negotiation(self._newest)
            if negotiation is not None:
                client.write(negotiation)
        request = self._watch.from_server(payload)
        if self._watch.cleartext and client.tls is not None and not self._confidential:
            raise self._cannot_send_cleartext()
        client.write(request)
        if self._watch.awaiting_client:
            try:
                answer = await client.read_response(MAX_PASSWORD_BYTES, "password")
            except ProtocolViolation as violation:
                raise FrontendViolation(violation.message, sqlstate=violation.sqlstate) from None
            self._link.write(self._watch.from_client(FrontendTag.PASSWORD, answer))
        return self._watch.done

    @property
    def _confidential(self) -> bool:
        return self._context is not None or self._endpoint.private

    def _cannot_send_cleartext(self) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            "login",
            self._wish.database,
            "it asks for the password in clear text over a connection without TLS; set sslmode: require or "
            "stricter, or use scram-sha-256 there",
            message="the database server asks for the password in clear text over an unencrypted connection",
            hint="The operator of the gateway can set sslmode for this database.",
        )

    # The gateway's own login ---------------------------------------------------------------------------

    async def _answer(self, payload: bytes) -> bool:
        request = decode_authentication(payload)
        if request.code == AuthCode.OK:
            if self._scram is not None and not self._signed:
                raise UpstreamViolation("the server ended SCRAM without proving that it knows the password")
            return True
        self._asked = True
        login = self._wish.login
        if login is None or login.password is None:
            raise self._cannot_log_in("it asks for a password and none is configured")
        if request.code == AuthCode.CLEARTEXT_PASSWORD:
            if self._context is None:
                raise self._cannot_send_cleartext()
            self._link.write(password_message(login.password.encode("utf-8", "surrogateescape")))
        elif request.code == AuthCode.MD5_PASSWORD:
            self._link.write(password_message(md5_password(login.user, login.password, request.data)))
        elif request.code == AuthCode.SASL and self._scram is None:
            self._begin_scram(sasl_mechanisms(request.data))
        elif request.code == AuthCode.SASL_CONTINUE and self._scram is not None and not self._scram.salt:
            self._scram.challenge(request.data)
            keys = await self._keys.keys(login.password, self._scram.salt, self._scram.iterations)
            self._link.write(sasl_response(self._scram.final(keys)))
        elif request.code == AuthCode.SASL_FINAL and self._scram is not None:
            self._scram.verify(request.data)
            self._signed = True
        else:
            raise self._cannot_log_in(f"it asks for {request.code.name}, which the gateway cannot do here")
        return False

    def _begin_scram(self, mechanisms: tuple[str, ...]) -> None:
        binding = None
        if self._link.tls is not None:
            certificate = self._link.tls.getpeercert(binary_form=True)
            binding = certificate_binding(certificate) if certificate else None
        plus = SCRAM_PLUS in mechanisms
        if SCRAM not in mechanisms and not (plus and binding is not None):
            raise self._cannot_log_in(f"it offers none of the SASL mechanisms known here: {mechanisms}")
        self._scram = ScramClient(nonce=self._nonce(), plus=plus, binding=binding)
        self._link.write(sasl_initial_response(self._scram.mechanism, self._scram.first()))
