"""The OpenID provider: found by its issuer, asked over HTTP, believed only as far as its signature goes.

Source: OpenID Connect Core 1.0; OpenID Connect Discovery 1.0; RFC 6749 (OAuth 2.0); RFC 7636 (PKCE);
RFC 9207 (issuer in the answer).
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from gateway.api.id_tokens import BadToken, Keys, UnknownKey, read_id_token
from gateway.clock import Clock
from gateway.config import Config, Oidc, is_loopback

__all__ = [
    "ATTEMPT_SECONDS",
    "Known",
    "NotSignedIn",
    "Provider",
    "ProviderUnavailable",
    "SignIn",
    "id_token_of",
    "refusal",
]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0
ANSWER_BYTES: Final = 512 * 1024
METADATA_SECONDS: Final = 3600.0
"""How long what the provider says of itself, keys included, is believed without asking again."""
REFETCH_SECONDS: Final = 30.0
"""How often a token with an unknown key may make us ask for the keys anew: anybody can send one."""
ATTEMPT_SECONDS: Final = 600.0
ATTEMPTS: Final = 10_000
ATTEMPTS_PER_ADDRESS: Final = 100
"""Sign-ins that are under way; whoever begins too many loses their own oldest."""


class NotSignedIn(Exception):
    """Nobody is signed in, and it is not the gateway's fault. The text is one sentence that says why."""


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as one. The text is one sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person's claims, proven; ``id_token`` for signing out there, ``then`` the path that was asked for."""

    claims: Mapping[str, object]
    id_token: str = field(repr=False)
    then: str = "/"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A sign-in that was begun in one browser, of which only that browser knows ``browser``."""

    browser: str
    address: str
    nonce: str
    verifier: str
    then: str
    begun: float
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the provider said of itself, when."""

    oidc: Oidc
    metadata: Mapping[str, Any]
    keys: Keys
    at: float


class Provider:
    """Asks the provider that the configuration names now. One for each management port.

    Methods raise :class:`ProviderUnavailable`, and :class:`NotSignedIn` for what a person or a token did.
    """

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._known: Known | None = None
        self._asked_for_keys = -REFETCH_SECONDS
        self._asking = asyncio.Lock()
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()

    # Authorization code

    async def begin(self, then: str, address: str) -> tuple[str, str]:
        """Begin a sign-in from ``address``: where to send the browser, and the secret that it keeps meanwhile."""
        known = await self.known()
        now = self._clock.monotonic()
        self._make_room(now, address)
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        attempt = _Attempt(
            browser=browser,
            address=address,
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            then=then,
            begun=now,
            redirect_uri=f"{self._config().admin.public_url}/oidc/callback",
        )
        self._attempts[state] = attempt
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
        query = urlencode(
            {
                "response_type": "code",
                "client_id": known.oidc.client_id,
                "redirect_uri": attempt.redirect_uri,
                "scope": " ".join(known.oidc.scopes),
                "state": state,
                "nonce": attempt.nonce,
                "code_challenge": challenge.decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        endpoint = _endpoint(known, "authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}", browser

    async def finish(self, answer: Mapping[str, str], browser: str) -> SignIn:
        """End a sign-in with what the provider sent the browser back with. An answer counts once."""
        attempt = self._attempts.pop(answer.get("state", ""), None)
        if attempt is None or self._clock.monotonic() - attempt.begun > ATTEMPT_SECONDS:
            raise NotSignedIn("this sign-in was used before, or is too old")
        if not hmac.compare_digest(attempt.browser.encode(), browser.encode("utf-8", "surrogateescape")):
            raise NotSignedIn("this sign-in was begun in another browser")
        known = await self.known()
        says_issuer = known.metadata.get("authorization_response_iss_parameter_supported") is True
        if ("iss" in answer or says_issuer) and answer.get("iss") != known.oidc.issuer:
            raise NotSignedIn("the answer is of another provider")
        if "error" in answer:
            raise NotSignedIn(refusal(answer))
        if not answer.get("code"):
            raise NotSignedIn("the provider sent no code")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        status, tokens = await self.post(known, "token_endpoint", form)
        if status != 200:
            raise NotSignedIn(refusal(tokens))
        id_token = id_token_of(tokens)
        return SignIn(await self.verified(id_token, attempt.nonce), id_token, attempt.then)

    async def sign_out_url(self, id_token: str) -> str | None:
        """Where a browser goes to sign out at the provider as well; None when it has no such place."""
        known = await self.known()
        if "end_session_endpoint" not in known.metadata:
            return None
        query = urlencode(
            {
                "id_token_hint": id_token,
                "client_id": known.oidc.client_id,
                "post_logout_redirect_uri": f"{self._config().admin.public_url}/",
            }
        )
        endpoint = _endpoint(known, "end_session_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def _make_room(self, now: float, address: str) -> None:
        """Forget what is too old, and what is too many."""
        for state in [state for state, one in self._attempts.items() if now - one.begun > ATTEMPT_SECONDS]:
            del self._attempts[state]
        own = [state for state, one in self._attempts.items() if one.address == address]
        for state in own[: max(0, len(own) - ATTEMPTS_PER_ADDRESS + 1)]:
            del self._attempts[state]
        while len(self._attempts) >= ATTEMPTS:
            self._attempts.popitem(last=False)

    # What is known of it

    async def verified(self, id_token: str, nonce: str | None) -> Mapping[str, object]:
        """The claims of the token; where its key is unknown, the keys are asked for once more, but not often."""
        known = await self.known()
        try:
            try:
                return read_id_token(id_token, known.keys, known.oidc, now=self._clock.now(), nonce=nonce)
            except UnknownKey:
                known = await self.known(older_than=known)
                return read_id_token(id_token, known.keys, known.oidc, now=self._clock.now(), nonce=nonce)
        except BadToken as error:
            raise NotSignedIn(f"the ID token is not accepted: {error}") from None

    async def known(self, older_than: Known | None = None) -> Known:
        """What is known of the provider. ``older_than`` asks for something newer than that, if it may be asked."""
        async with self._asking:
            oidc = self._config().oidc
            if oidc is None:
                raise NotSignedIn("single sign-on is not set up here")
            known, now = self._known, self._clock.monotonic()
            if known is not None and known.oidc == oidc:
                if known is older_than:
                    if now - self._asked_for_keys < REFETCH_SECONDS:
                        return known
                elif now - known.at < METADATA_SECONDS:
                    return known
            self._asked_for_keys = now
            try:
                self._known = await _discover(oidc, now)
            except ProviderUnavailable:
                logger.warning("the provider %s cannot be used now", oidc.issuer)
                raise
            return self._known

    async def post(self, known: Known, name: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        """Ask an endpoint as the client we are (RFC 6749, 2.3.1): its status and its answer."""
        oidc = known.oidc
        body, headers = {**form, "client_id": oidc.client_id}, {}
        if oidc.client_secret is not None:
            offered = known.metadata.get("token_endpoint_auth_methods_supported")
            if isinstance(offered, list) and "client_secret_basic" not in offered:
                body["client_secret"] = oidc.client_secret
            else:
                pair = urlencode({oidc.client_id: oidc.client_secret}).replace("=", ":", 1)
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await _ask(_endpoint(known, name), form=body, headers=headers)


async def _discover(oidc: Oidc, now: float) -> Known:
    """Source: OpenID Connect Discovery 1.0, 4."""
    status, metadata = await _ask(f"{oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
    if status != 200:
        raise ProviderUnavailable(f"the provider {oidc.issuer} says nothing of itself ({status})")
    if metadata.get("issuer") != oidc.issuer:
        raise ProviderUnavailable(
            "the provider calls itself otherwise than oidc.issuer; write it letter for letter"
        )
    known = Known(oidc, metadata, Keys({"keys": []}), now)
    status, document = await _ask(_endpoint(known, "jwks_uri"))
    try:
        if status != 200:
            raise ValueError(f"status {status}")
        return Known(oidc, metadata, Keys(document), now)
    except ValueError as error:
        raise ProviderUnavailable(f"the provider's keys cannot be read: {error}") from None


def _endpoint(known: Known, name: str) -> str:
    url = known.metadata.get(name)
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not isinstance(url, str) or not host:
        raise ProviderUnavailable(f"the provider has no {name}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ProviderUnavailable(f"the provider's {name} is not an https address")
    return url


async def _ask(
    url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON object of the answer; no redirect is followed, and no answer may be large or slow.

    Raises :class:`ProviderUnavailable`.
    """
    host = urlsplit(url).hostname or ""
    answer = bytearray()
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            # A proxy of the environment has no business between two programs of one machine.
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=not is_loopback(host)) as client,
            client.stream(
                "GET" if form is None else "POST",
                url,
                data=None if form is None else dict(form),
                headers={"Accept": "application/json", **(headers or {})},
            ) as response,
        ):
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > ANSWER_BYTES:
                    raise ProviderUnavailable("the provider's answer is too large")
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
        raise ProviderUnavailable(f"the provider does not answer: {type(error).__name__}") from None
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        if status == 200:
            raise ProviderUnavailable("the provider's answer is not a JSON object")
        document = {}
    return status, document


def id_token_of(tokens: Mapping[str, Any]) -> str:
    """The ID token in an answer of the token endpoint. Raises :class:`NotSignedIn`."""
    token = tokens.get("id_token")
    if not isinstance(token, str) or not token:
        raise NotSignedIn("the provider gave no ID token")
    return token


def refusal(answer: Mapping[str, Any]) -> str:
    """The provider's own words on why not."""
    code, text = answer.get("error"), answer.get("error_description")
    words = [word for word in (code, text) if isinstance(word, str) and word]
    return f"the provider refused: {': '.join(words) or 'it does not say why'}"[:300]
