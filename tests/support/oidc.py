"""A small OpenID provider on a real socket: discovery, authorization code with PKCE, device flow, keys, signing out.

It does what the standards ask of a provider, checks what they ask of a client, and can be told to do wrong.
Source: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636, RFC 8628, RFC 9207.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html import escape
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

import httpx
import uvicorn
from fastapi import FastAPI, Request
from joserfc import jwt
from joserfc.jwk import Key, RSAKey
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

__all__ = ["CLIENT", "SECRET", "OidcServer", "oidc_server", "sign_in_through", "to_provider"]

CLIENT, SECRET = "holdgate", "a:secret/with+signs"

Claims = dict[str, Any]


@dataclass
class _Grant:
    """What a code or a device code stands for. ``login`` None: nobody said yes so far."""

    query: dict[str, str]
    login: str | None = None
    refused: bool = False


@dataclass
class OidcServer:
    """A running provider. ``people`` maps what somebody types to the claims about them.

    ``change`` is applied to the claims of an ID token before it is signed, ``header`` replaces its header,
    ``signer`` the key it is signed with, ``metadata`` members of what the provider says of itself.
    """

    issuer: str
    people: dict[str, Claims] = field(default_factory=dict)
    public_client: bool = False
    keys: list[Key] = field(default_factory=list)
    published: list[Key] | None = None
    change: Callable[[Claims], Claims] = lambda claims: claims
    header: dict[str, Any] | None = None
    signer: Key | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)
    interval: int = 1
    lifetime: int = 300
    slow_down: bool = False
    device_answer: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, str] = field(
        default_factory=lambda: {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "device_authorization_endpoint": "/device",
            "jwks_uri": "/keys",
            "end_session_endpoint": "/logout",
        }
    )
    grants: dict[str, _Grant] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def rotate(self, key: Key | None = None) -> None:
        """Sign with a new key from now on, and publish no other."""
        self.keys = [key or RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})]

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The key ``oidc`` of a configuration that trusts this provider."""
        settings: dict[str, Any] = {
            "issuer": self.issuer,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "name": "Acme",
            "username": {"claim": "preferred_username", "domains": ["corp.example"]},
            "roles": {"viewer": ["staff"], "approver": ["dpo"]},
        }
        if self.public_client:
            del settings["client_secret"]
        return {**settings, **changes}

    def id_token(self, login: str, nonce: str | None = None) -> str:
        """A token about somebody, as the provider signs it now."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": f"id-of-{login}",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            **({} if nonce is None else {"nonce": nonce}),
            **self.people[login],
        }
        key = self.signer or self.keys[0]
        algorithm = {"RSA": "RS256", "EC": "ES256", "oct": "HS256"}[key.key_type]
        header = (
            {"alg": algorithm, **({"kid": key.kid} if key.kid else {})}
            if self.header is None
            else self.header
        )
        if header["alg"] == "none":
            parts = (header, self.change(claims))
            return ".".join([*(_base64(json.dumps(part).encode()) for part in parts), ""])
        return jwt.encode(header, self.change(claims), key, algorithms=[header["alg"]])

    def say_yes(self, user_code: str, login: str) -> None:
        """What somebody does on the page that a device's code leads to."""
        self._by_user_code(user_code).login = login

    def say_no(self, user_code: str) -> None:
        """The same, refused."""
        self._by_user_code(user_code).refused = True

    def _by_user_code(self, user_code: str) -> _Grant:
        return next(one for one in self.grants.values() if one.query.get("user_code") == user_code)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _application(server: OidcServer) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def counted(request: Request, call_next: Callable[[Request], Any]) -> Response:
        server.requests[request.url.path] += 1
        if request.url.path in server.broken:
            return JSONResponse({"error": "server_error"}, 500)
        answer: Response = await call_next(request)
        return answer

    @app.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, Any]:
        return {
            "issuer": server.issuer,
            **{name: f"{server.issuer}{path}" for name, path in server.offered.items()},
            "authorization_response_iss_parameter_supported": True,
            **server.metadata,
        }

    @app.get("/keys")
    async def keys() -> dict[str, Any]:
        found = server.keys if server.published is None else server.published
        return {"keys": [key.as_dict(private=False) for key in found]}

    @app.get("/authorize")
    async def sign_in_page(request: Request) -> HTMLResponse:
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in request.query_params.items()
        )
        return HTMLResponse(
            f'<form method="post" action="/authorize">{hidden}<input id="login" name="login">'
            '<button id="go">Sign in</button></form>'
        )

    @app.post("/authorize")
    async def authorize(request: Request) -> Response:
        form = await _form(request)
        server.asked.append(form)
        answer = {"state": form["state"], "iss": server.issuer}
        if form["login"] not in server.people:
            answer |= {"error": "access_denied", "error_description": "nobody of that name"}
        else:
            code = secrets.token_urlsafe(16)
            server.grants[code] = _Grant(form, form["login"])
            answer |= {"code": code}
        return RedirectResponse(f"{form['redirect_uri']}?{urlencode(answer)}", 303)

    @app.post("/device")
    async def device(request: Request) -> JSONResponse:
        form = await _form(request)
        if not _is_client(server, request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        code, user_code = secrets.token_urlsafe(24), secrets.token_hex(4).upper()
        server.grants[code] = _Grant({**form, "user_code": user_code})
        return JSONResponse(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": f"{server.issuer}/activate",
                "verification_uri_complete": f"{server.issuer}/activate?code={user_code}",
                "expires_in": server.lifetime,
                "interval": server.interval,
                **server.device_answer,
            }
        )

    @app.post("/token")
    async def token(request: Request) -> JSONResponse:
        form = await _form(request)
        if not _is_client(server, request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "urn:ietf:params:oauth:grant-type:device_code":
            return _by_device(server, form)
        grant = server.grants.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        if (
            form.get("grant_type") != "authorization_code"
            or grant is None
            or grant.login is None
            or grant.query["redirect_uri"] != form.get("redirect_uri")
            or grant.query["code_challenge"] != _base64(hashlib.sha256(verifier.encode()).digest())
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return _tokens(server, grant.login, grant.query["nonce"])

    return app


def _by_device(server: OidcServer, form: dict[str, str]) -> JSONResponse:
    grant = server.grants.get(form.get("device_code", ""))
    if grant is None:
        return JSONResponse({"error": "expired_token"}, 400)
    if grant.refused:
        return JSONResponse({"error": "access_denied"}, 400)
    if grant.login is None:
        return JSONResponse({"error": "slow_down" if server.slow_down else "authorization_pending"}, 400)
    del server.grants[form["device_code"]]
    return _tokens(server, grant.login, None)


def _tokens(server: OidcServer, login: str, nonce: str | None) -> JSONResponse:
    return JSONResponse(
        {"access_token": "not for us", "token_type": "Bearer", "id_token": server.id_token(login, nonce)}
    )


def _is_client(server: OidcServer, request: Request, form: dict[str, str]) -> bool:
    header = request.headers.get("authorization", "")
    if server.public_client:
        return form.get("client_id") == CLIENT and not header
    if header.startswith("Basic "):
        name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, SECRET)
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)


async def _form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


@cache
def _first_key() -> Key:
    """Made once: it takes long."""
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def oidc_server() -> AsyncIterator[OidcServer]:
    """A provider for the length of the block, with an RSA key and a few people."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = OidcServer(f"http://127.0.0.1:{opened.getsockname()[1]}")
        server.rotate(_first_key())
        for name, groups in (("carol", ["dpo", "staff"]), ("zoe", ["dpo", "staff"]), ("noone", [])):
            server.people[name] = {"preferred_username": f"{name}@corp.example", "groups": groups}
        running = _Server(
            uvicorn.Config(_application(server), log_config=None, lifespan="off", access_log=False)
        )
        task = asyncio.ensure_future(running.serve([opened]))
        try:
            yield server
        finally:
            running.should_exit = True
            await task


async def to_provider(caller: httpx.AsyncClient, login: str, *, then: str | None = None) -> str:
    """Begin a sign-in as a browser does, sign in at the provider as ``login``, and return where it sends one back."""
    begun = await caller.get("/oidc/login", params={} if then is None else {"then": then})
    assert begun.status_code == 303, begun.text
    target = begun.headers["location"]
    form = {**dict(parse_qsl(urlsplit(target).query)), "login": login}
    async with httpx.AsyncClient() as browser:
        answer = await browser.post(target.partition("?")[0], data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def sign_in_through(
    caller: httpx.AsyncClient, login: str, *, then: str | None = None
) -> httpx.Response:
    """The whole way: what the gateway answers to a browser that comes back from the provider."""
    return await caller.get(await to_provider(caller, login, then=then))
