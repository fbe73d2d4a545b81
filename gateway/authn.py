"""Who is this client? SCRAM against configured verifiers, TLS client certificates, trust on loopback.

What a client reads when it is turned away is what the server would have said, and tells nothing about which
users exist: a user who is unknown, disabled, or has no verifier goes through the same exchange as one with a
wrong password.

Source: PostgreSQL documentation, "Password Authentication", "Certificate Authentication", "Trust
Authentication", "SASL Authentication".
"""

import base64
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.config import User, is_loopback
from gateway.link import Link
from gateway.tls import common_name
from protocol import sqlstate
from protocol.authentication import (
    MAX_SASL_BYTES,
    AuthCode,
    authentication_sasl,
    decode_sasl_initial,
)
from protocol.errors import ProtocolViolation, ServerError
from protocol.messages import authentication, error_response
from protocol.scram import (
    DEFAULT_ITERATIONS,
    SCRAM,
    SCRAM_PLUS,
    ScramServer,
    Verifier,
    mock_verifier,
    parse_verifier,
)
from protocol.startup import StartupMessage

__all__ = ["Authenticator", "Identity", "LoginRefused", "new_nonce", "no_rule", "refused_by_violation"]

_NONCE_BYTES: Final = 18


class LoginRefused(Exception):
    """The session does not come to be: ``report`` is for the client, ``log`` a line for the operator."""

    def __init__(self, report: ServerError, log: str = "") -> None:
        super().__init__(log or report.message)
        self.report = report
        self.log = log or report.message

    def encoded(self) -> bytes:
        """The ErrorResponse for the client."""
        return error_response(self.report)


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated client."""

    user: str
    method: Literal["scram", "cert", "trust", "passthrough"]


def new_nonce() -> bytes:
    """A SCRAM nonce: 18 random bytes in base64, as the server's and libpq's."""
    return base64.b64encode(secrets.token_bytes(_NONCE_BYTES))


def no_rule(startup: StartupMessage, peer: str | None, *, encrypted: bool, hint: str = "") -> LoginRefused:
    """The refusal of a connection that is not allowed in this form, in the words of a server whose
    pg_hba.conf has no line for it."""
    place = f'host "{peer}"' if peer is not None else 'host "[local]"'
    who = f'user "{startup.user}", database "{startup.database}"'
    how = "SSL encryption" if encrypted else "no encryption"
    return LoginRefused(
        ServerError(
            sqlstate=sqlstate.INVALID_AUTHORIZATION,
            message=f"no pg_hba.conf entry for {place}, {who}, {how}",
            hint=hint,
            severity="FATAL",
        )
    )


def refused_by_violation(violation: ProtocolViolation) -> LoginRefused:
    """What a client that broke the protocol while logging in is told."""
    return LoginRefused(
        ServerError(
            sqlstate=violation.sqlstate,
            message=violation.message,
            detail=violation.detail,
            hint=getattr(violation, "hint", ""),
            severity="FATAL",
        )
    )


class Authenticator:
    """Checks clients against the configured users. One for each configuration.

    ``binding``  hash of the listener's certificate, see :class:`gateway.tls.ServerTls`.
    ``secret``   what mock salts are made from; it must stay the same over a reload, or asking twice tells who
                 exists.
    """

    def __init__(
        self,
        users: Mapping[str, User],
        *,
        binding: bytes | None = None,
        secret: bytes,
        nonce: Callable[[], bytes] = new_nonce,
    ) -> None:
        self._users = users
        self._binding = binding
        self._secret = secret
        self._nonce = nonce
        self._verifiers: dict[str, Verifier] = {
            name: parse_verifier(user.verifier) for name, user in users.items() if user.verifier is not None
        }
        counts = Counter(verifier.iterations for verifier in self._verifiers.values())
        self._mock_iterations = counts.most_common(1)[0][0] if counts else DEFAULT_ITERATIONS

    async def authenticate(self, link: Link, startup: StartupMessage) -> Identity:
        """Authenticate the client behind ``link`` up to and including AuthenticationOk.

        Raises :class:`LoginRefused`, whose ``encoded()`` the client is still to be sent, and
        :class:`gateway.link.LinkClosed`. Sets no deadline of its own.
        """
        identity = self._without_password(link, startup)
        if identity is not None:
            link.write(authentication(AuthCode.OK))
            return identity
        try:
            final = await self._scram(link, startup)
        except ProtocolViolation as violation:
            raise refused_by_violation(violation) from violation
        if final is None:
            raise LoginRefused(
                ServerError(
                    sqlstate=sqlstate.INVALID_PASSWORD,
                    message=f'password authentication failed for user "{startup.user}"',
                    severity="FATAL",
                ),
                log=f"login as {startup.user!r} refused: {self._why(startup.user)}",
            )
        link.write(authentication(AuthCode.SASL_FINAL, final) + authentication(AuthCode.OK))
        return Identity(startup.user, "scram")

    def check_enabled(self, user: str) -> None:
        """For passthrough, where the server knows the password: refuse a user who is disabled here.

        Raises :class:`LoginRefused`. A user who is not configured passes.
        """
        known = self._users.get(user)
        if known is not None and not known.enabled:
            raise LoginRefused(
                ServerError(
                    sqlstate=sqlstate.INVALID_AUTHORIZATION,
                    message=f'role "{user}" is not permitted to log in',
                    severity="FATAL",
                ),
                log=f"login as {user!r} refused: the user is disabled in the configuration",
            )

    def _without_password(self, link: Link, startup: StartupMessage) -> Identity | None:
        user = self._users.get(startup.user)
        if user is None or not user.enabled:
            return None
        if user.cert is not None and link.tls is not None and common_name(link.tls) == user.cert:
            return Identity(user.name, "cert")
        if user.trust and (link.peername is None or is_loopback(link.peername)):
            return Identity(user.name, "trust")
        return None

    def _why(self, name: str) -> str:
        user = self._users.get(name)
        if user is None:
            return "the user is not configured"
        if not user.enabled:
            return "the user is disabled in the configuration"
        return "wrong password" if user.verifier is not None else "the user has no verifier"

    async def _scram(self, link: Link, startup: StartupMessage) -> bytes | None:
        user = self._users.get(startup.user)
        verifier = self._verifiers.get(startup.user)
        doomed = user is None or not user.enabled or verifier is None
        if verifier is None:
            verifier = mock_verifier(self._secret, startup.user, self._mock_iterations)
        binding = self._binding if link.tls is not None else None
        link.write(authentication_sasl((SCRAM,) if binding is None else (SCRAM_PLUS, SCRAM)))
        mechanism, data = decode_sasl_initial(await _sasl_response(link))
        exchange = ScramServer(
            verifier, mechanism=mechanism, nonce=self._nonce(), binding=binding, doomed=doomed
        )
        if data is None:
            link.write(authentication(AuthCode.SASL_CONTINUE))
            data = await _sasl_response(link)
        link.write(authentication(AuthCode.SASL_CONTINUE, exchange.begin(data)))
        return exchange.finish(await _sasl_response(link))


async def _sasl_response(link: Link) -> bytes:
    return await link.read_response(MAX_SASL_BYTES, "SASL")
