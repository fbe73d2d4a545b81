"""Signing in and out: passwords, one-time links, who am I."""

import asyncio
from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from gateway.api.browser import BrowserSession
from gateway.api.changes import record_change
from gateway.api.guard import Guard, Principal
from gateway.api.oidc import NotSignedIn, Provider, ProviderUnavailable
from gateway.api.problems import Problem
from gateway.api.schemas import LoginIn, MeOut, OidcOut, PeopleOut, PersonOut, SignedOut, WaysOut
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note, page

__all__ = ["add_people_routes"]

PersonName = Annotated[str, Path(max_length=256)]

VERIFYING_AT_ONCE = 4
"""Passwords hashed at the same moment: more would take processors away from the sessions."""

_BUTTON = """<form method="post" action="/login">
<p>This link signs you in on this browser. It works once.</p>
<input type="hidden" name="code" value="{code}">
<button type="submit" class="primary" autofocus>Sign in</button>
</form>"""
_STALE = """<p role="alert">This link was used before, or is too old.</p>
<p><a href="/">Sign in with a password</a>, or ask for a new link.</p>"""


def add_people_routes(app: FastAPI, services: Services, guard: Guard, provider: Provider) -> None:
    """Add ``/api/v1/login``, ``logout``, ``me``, ``people`` and the page behind a sign-in link."""
    verifying = asyncio.Semaphore(VERIFYING_AT_ONCE)

    @app.get("/api/v1/login", tags=["people"], summary="How to sign in")
    async def ways() -> WaysOut:
        """What somebody who is not signed in may choose from."""
        oidc = services.config().oidc
        return WaysOut(
            password=True, oidc=None if oidc is None else OidcOut(name=oidc.label, url="/oidc/login")
        )

    def absent(user: str) -> dict[str, list[str]]:
        found = services.config().stands_in_for(user, services.clock.now())
        return {name: sorted(groups) for name, groups in found.items()}

    @app.post("/api/v1/login", tags=["people"], summary="Sign in with a password")
    async def login(body: LoginIn, request: Request, response: Response) -> MeOut:
        """Open a browser session: a cookie for this browser, and a token to send in ``X-CSRF-Token``."""
        guard.same_origin(request)
        address = address_of(request)
        guard.admit(body.user, address)
        async with verifying:
            known = await services.authenticate(body.user, body.password)
        if not known:
            # The name is as the stranger wrote it; the record shows it whether or not it exists.
            note(services, "sign-in failed", body.user, address)
            raise Problem(401, "The user name or the password is wrong.", kind="wrong-password")
        guard.throttle.succeeded(body.user, address)
        person = await services.people.find(body.user)
        if person is None or not person.roles:
            note(services, "sign-in failed", body.user, address, "no role on the management port")
            raise Problem(403, "You have no role here. Ask an administrator for one.", kind="no-role")
        session = guard.sign_in(request, response, body.user)
        note(services, "signed in", body.user, address, "password")
        return MeOut(
            user=body.user,
            roles=sorted(person.roles),
            groups=sorted(person.groups),
            stands_in_for=absent(body.user),
            csrf_token=session.csrf,
        )

    @app.post(
        "/api/v1/logout",
        tags=["people"],
        summary="Sign out",
        status_code=204,
        response_model=None,
        responses={200: {"model": SignedOut}},
    )
    async def logout(request: Request, principal: Annotated[Principal, Depends(guard)]) -> Response:
        """End this browser's session, or revoke the bearer token that was sent; 200 if the session can be ended at the
        OpenID provider too."""
        session, elsewhere = principal.session, None
        if principal.token_id is not None:
            note(
                services, "token revoked", principal.name, address_of(request), f"token {principal.token_id}"
            )
            await services.tokens.revoke(principal.token_id)
        if session is not None:
            note(services, "signed out", principal.name, address_of(request))
            elsewhere = await _elsewhere(provider, session)
        response = Response(status_code=204)
        if elsewhere is not None:
            response = JSONResponse(SignedOut(provider=elsewhere).model_dump())
        guard.sign_out(request, response)
        return response

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

    @app.get("/api/v1/people", tags=["people"], summary="List people", dependencies=[Depends(guard)])
    async def people() -> PeopleOut:
        """Everybody whom the OpenID provider vouched for, and who they are here."""
        found = await services.people.list()
        return PeopleOut(people=[PersonOut.model_validate(person.to_dict()) for person in found])

    @app.delete("/api/v1/people/{person}", tags=["people"], summary="Let go of a name", status_code=204)
    async def forget(person: PersonName, principal: Annotated[Principal, Depends(guard)]) -> None:
        """Whoever has it loses at once what the provider gave them. The next of the provider's people who comes
        with this name gets it."""
        await record_change(services, "name released", principal, f"of {person}")
        if not await services.people.forget(person):
            raise Problem(404, "Nobody of the provider has this name.", kind="no-such-person")

    @app.get("/login", include_in_schema=False)
    async def sign_in_page(code: str = "") -> HTMLResponse:
        # Chat programs and mail scanners fetch every link they see: a GET must not use the code up.
        if not code:
            return HTMLResponse("", 303, {"location": "/"})
        return page(_BUTTON.format(code=escape(code[:256])))

    @app.post("/login", include_in_schema=False)
    async def sign_in_by_code(request: Request) -> Response:
        try:
            guard.same_origin(request)
        except Problem as problem:
            return page(f"<p role='alert'>{escape(problem.detail)}</p>", 403)
        address = address_of(request)
        codes = _codes(await request.body())
        if guard.throttle.begin("(sign-in link)", address) > 0:
            return page("<p role='alert'>Too many attempts. Wait a while.</p>", 429)
        user = await services.tokens.redeem_code(codes[0]) if len(codes) == 1 else None
        person = None if user is None else await services.people.find(user)
        if user is None or person is None or not person.roles:
            note(services, "sign-in failed", user or "", address, "one-time link")
            return page(_STALE, 403)
        guard.throttle.succeeded("(sign-in link)", address)
        response = RedirectResponse("/", 303)
        guard.sign_in(request, response, user)
        note(services, "signed in", user, address, "one-time link")
        return response


async def _elsewhere(provider: Provider, session: BrowserSession) -> str | None:
    """Where the provider ends what it knows of this browser, if it does and if it can be asked."""
    if session.id_token is None:
        return None
    try:
        return await provider.sign_out_url(session.id_token)
    except (NotSignedIn, ProviderUnavailable):
        return None


def _codes(form: bytes) -> list[str]:
    try:
        return parse_qs(form.decode("ascii"), max_num_fields=8).get("code", [])
    except ValueError:
        return []
