"""Signing in through an OpenID provider: out to it, and back with an answer."""

import math
import re
from datetime import timedelta
from html import escape
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from gateway.api.device_flow import DeviceFlow, NotYet
from gateway.api.guard import Guard
from gateway.api.oidc import ATTEMPT_SECONDS, NotSignedIn, Provider, ProviderUnavailable
from gateway.api.problems import Problem
from gateway.api.schemas import DeviceIn, DeviceOut, TokenMade
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note, page
from gateway.people import NotAdmitted, Person
from gateway.text import one_line

__all__ = ["add_oidc_routes"]

_THEN: Final = re.compile(r"/(?:holds/H-[0-9A-Z]{26})?")
"""Where a sign-in may lead to: a page of our own, never an address that somebody wrote into a link."""

_DEVICES: Final = "(device)"
"""Whom attempts are counted for: who it is, is known last."""

_AGAIN: Final = '<p><a href="/">Back to signing in</a></p>'


def add_oidc_routes(app: FastAPI, services: Services, guard: Guard, provider: Provider) -> None:
    """Add ``/oidc/login`` and ``/oidc/callback``, and ``/api/v1/device`` for machines without a browser."""
    devices = DeviceFlow(provider, services.clock)

    @app.post("/api/v1/device", tags=["people"], summary="Begin to sign in on a device", status_code=201)
    async def begin(request: Request) -> DeviceOut:
        """A code to type in at the OpenID provider's page, and a secret to ask for a token with meanwhile."""
        guard.admit(_DEVICES, address_of(request))
        try:
            code = await devices.begin()
        except (NotSignedIn, ProviderUnavailable) as error:
            raise _problem(error) from None
        return DeviceOut(
            device_code=code.secret,
            user_code=code.user_code,
            verification_uri=code.page,
            verification_uri_complete=code.page_with_code,
            expires_in=int(code.lifetime),
            interval=int(code.interval),
        )

    @app.post("/api/v1/device/token", tags=["people"], summary="Sign in on a device", status_code=201)
    async def finish(body: DeviceIn, request: Request) -> TokenMade:
        """A token with all roles of whoever typed the code in, for as long as the provider's word counts. Until they
        have, 400 of the type ``authorization-pending``, which says in ``Retry-After`` when to ask again."""
        address = address_of(request)
        try:
            claims = await devices.finish(body.device_code)
            person = await services.people.admit(claims)
        except NotYet as pending:
            raise Problem(
                400,
                "Nobody has typed the code in yet.",
                kind="authorization-pending",
                headers={"Retry-After": str(math.ceil(pending.wait))},
            ) from None
        except (NotSignedIn, NotAdmitted, ProviderUnavailable) as error:
            note(services, "sign-in failed", "", address, f"device: {error}")
            raise _problem(error) from None
        if not person.roles:
            note(services, "sign-in failed", person.name, address, "no role on the management port")
            raise Problem(
                403, f"{person.name} has no role here. Ask an administrator for one.", kind="no-role"
            )
        oidc = services.config().oidc
        assert oidc is not None, "it has just admitted somebody"
        guard.throttle.succeeded(_DEVICES, address)
        token, secret = await services.tokens.issue(
            person.name, person.roles, note="holdgate login", expires_in=timedelta(seconds=oidc.session)
        )
        note(services, "signed in", person.name, address, "device")
        return TokenMade.model_validate({**token.to_dict(), "secret": secret})

    @app.get("/oidc/login", include_in_schema=False)
    async def to_provider(request: Request, then: str = "/") -> Response:
        try:
            target, browser = await provider.begin(
                then if _THEN.fullmatch(then) else "/", address_of(request)
            )
        except (NotSignedIn, ProviderUnavailable) as error:
            return _refused(error)
        response = RedirectResponse(target, 303)
        # Lax, not strict: the provider's page, not one of ours, sends the browser back.
        response.set_cookie(
            _cookie(guard),
            browser,
            max_age=int(ATTEMPT_SECONDS),
            path="/",
            secure=guard.secure,
            httponly=True,
            samesite="lax",
        )
        return response

    @app.get("/oidc/callback", include_in_schema=False)
    async def from_provider(request: Request) -> Response:
        address = address_of(request)
        answer = dict(request.query_params)
        try:
            if len(answer) != len(request.query_params.multi_items()):
                raise NotSignedIn("the answer says something twice")
            sign_in = await provider.finish(answer, request.cookies.get(_cookie(guard), ""))
            person = await services.people.admit(sign_in.claims)
        except (NotSignedIn, NotAdmitted, ProviderUnavailable) as error:
            note(services, "sign-in failed", "", address, f"single sign-on: {error}")
            response: Response = _refused(error)
        else:
            response = _signed_in(request, address, person, sign_in.then, sign_in.id_token)
        response.delete_cookie(_cookie(guard), path="/", secure=guard.secure, httponly=True, samesite="lax")
        return response

    def _signed_in(request: Request, address: str, person: Person, then: str, id_token: str) -> Response:
        if not person.roles:
            note(services, "sign-in failed", person.name, address, "no role on the management port")
            return page(
                f"<p role='alert'>{escape(person.name)} has no role here. Ask an administrator for one.</p>{_AGAIN}",
                403,
            )
        oidc = services.config().oidc
        assert oidc is not None, "it has just admitted somebody"
        response = RedirectResponse(then, 303)
        guard.sign_in(request, response, person.name, lifetime=oidc.session, id_token=id_token)
        note(services, "signed in", person.name, address, "single sign-on")
        return response


def _refused(error: Exception) -> Response:
    status = 503 if isinstance(error, ProviderUnavailable) else 403
    return page(f"<p role='alert'>You are not signed in: {escape(one_line(error))}.</p>{_AGAIN}", status)


def _problem(error: Exception) -> Problem:
    if isinstance(error, ProviderUnavailable):
        return Problem(503, f"Not signed in: {one_line(error)}.", kind="provider-unavailable")
    return Problem(403, f"Not signed in: {one_line(error)}.", kind="not-signed-in")


def _cookie(guard: Guard) -> str:
    return f"{guard.cookie_name()}-oidc"
