"""Signing in and out: passwords, one-time links, who am I."""

import asyncio
from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.api.guard import Guard, Principal, roles_of
from gateway.api.problems import Problem
from gateway.api.schemas import LoginIn, MeOut
from gateway.api.services import Services
from gateway.audit import AuditRecord, Kind

__all__ = ["add_people_routes"]

VERIFYING_AT_ONCE = 4
"""Passwords hashed at the same moment: more would take processors away from the sessions."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Holdgate: sign in</title>
<link rel="icon" href="/console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/console.css">
</head>
<body>
<main class="narrow">
<h1>Holdgate</h1>
{content}
</main>
</body>
</html>
"""
_BUTTON = """<form method="post" action="/login">
<p>This link signs you in on this browser. It works once.</p>
<input type="hidden" name="code" value="{code}">
<button type="submit" class="primary" autofocus>Sign in</button>
</form>"""
_STALE = """<p role="alert">This link was used before, or is too old.</p>
<p><a href="/">Sign in with a password</a>, or ask for a new link.</p>"""


def add_people_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/login``, ``logout``, ``me`` and the page behind a sign-in link."""
    verifying = asyncio.Semaphore(VERIFYING_AT_ONCE)

    def address_of(request: Request) -> str:
        return request.client.host if request.client is not None else "local"

    def note(tag: str, user: str, address: str, reason: str | None = None) -> None:
        record = AuditRecord(Kind.GATEWAY, tag=tag, user=user, client_addr=address, reason=reason)
        services.audit.append(record)

    def absent(user: str) -> dict[str, list[str]]:
        found = services.config().stands_in_for(user, services.clock.now())
        return {name: sorted(groups) for name, groups in found.items()}

    @app.post("/api/v1/login", tags=["people"], summary="Sign in with a password")
    async def login(body: LoginIn, request: Request, response: Response) -> MeOut:
        """Open a browser session: a cookie for this browser, and a token to send in ``X-CSRF-Token``."""
        guard.same_origin(request)
        address = address_of(request)
        wait = guard.throttle.begin(body.user, address)
        if wait > 0:
            raise Problem(
                429,
                "Too many attempts. Wait, then try again.",
                kind="too-many-attempts",
                headers={"Retry-After": str(int(wait) + 1)},
            )
        async with verifying:
            known = await services.authenticate(body.user, body.password)
        config = services.config()
        if not known:
            # The name is as the stranger wrote it; the record shows it whether or not it exists.
            note("sign-in failed", body.user, address)
            raise Problem(401, "The user name or the password is wrong.", kind="wrong-password")
        guard.throttle.succeeded(body.user, address)
        roles = roles_of(body.user, config)
        if not roles:
            note("sign-in failed", body.user, address, "no role on the management port")
            raise Problem(403, "You have no role here. Ask an administrator for one.", kind="no-role")
        session = guard.sign_in(request, response, body.user)
        note("signed in", body.user, address, "password")
        return MeOut(
            user=body.user,
            roles=sorted(roles),
            groups=sorted(config.groups_of(body.user)),
            stands_in_for=absent(body.user),
            csrf_token=session.csrf,
        )

    @app.post("/api/v1/logout", tags=["people"], summary="Sign out", status_code=204)
    async def logout(
        request: Request, response: Response, principal: Annotated[Principal, Depends(guard)]
    ) -> None:
        """End this browser's session. For a bearer token there is nothing to end: revoke it instead."""
        guard.sign_out(request, response)
        if principal.session is not None:
            note("signed out", principal.name, address_of(request))

    @app.get("/api/v1/me", tags=["people"], summary="Who am I")
    async def me(principal: Annotated[Principal, Depends(guard)]) -> MeOut:
        """The caller, with roles and groups as they are now."""
        return MeOut(
            user=principal.name,
            roles=sorted(principal.roles),
            groups=sorted(principal.groups),
            stands_in_for=absent(principal.name),
            csrf_token=principal.session.csrf if principal.session is not None else None,
        )

    @app.get("/login", include_in_schema=False)
    async def sign_in_page(code: str = "") -> HTMLResponse:
        # Chat programs and mail scanners fetch every link they see: a GET must not use the code up.
        if not code:
            return HTMLResponse("", 303, {"location": "/"})
        return HTMLResponse(_PAGE.format(content=_BUTTON.format(code=escape(code[:256]))))

    @app.post("/login", include_in_schema=False)
    async def sign_in_by_code(request: Request) -> Response:
        try:
            guard.same_origin(request)
        except Problem as problem:
            return HTMLResponse(_PAGE.format(content=f"<p role='alert'>{escape(problem.detail)}</p>"), 403)
        address = address_of(request)
        codes = _codes(await request.body())
        if guard.throttle.begin("(sign-in link)", address) > 0:
            return HTMLResponse(
                _PAGE.format(content="<p role='alert'>Too many attempts. Wait a while.</p>"), 429
            )
        user = await services.tokens.redeem_code(codes[0]) if len(codes) == 1 else None
        if user is None or not roles_of(user, services.config()):
            note("sign-in failed", user or "", address, "one-time link")
            return HTMLResponse(_PAGE.format(content=_STALE), 403)
        guard.throttle.succeeded("(sign-in link)", address)
        response = RedirectResponse("/", 303)
        guard.sign_in(request, response, user)
        note("signed in", user, address, "one-time link")
        return response


def _codes(form: bytes) -> list[str]:
    try:
        return parse_qs(form.decode("ascii"), max_num_fields=8).get("code", [])
    except ValueError:
        return []
