"""Signing in through an OpenID provider: out to it, and back with an answer."""

import re
from html import escape
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from gateway.api.guard import Guard
from gateway.api.oidc import ATTEMPT_SECONDS, NotSignedIn, Provider, ProviderUnavailable
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note, page
from gateway.people import NotAdmitted, Person
from gateway.text import one_line

__all__ = ["add_oidc_routes"]

_THEN: Final = re.compile(r"/(?:holds/H-[0-9A-Z]{26})?")
"""Where a sign-in may lead to: a page of our own, never an address that somebody wrote into a link."""

_AGAIN: Final = '<p><a href="/">Back to signing in</a></p>'


def add_oidc_routes(app: FastAPI, services: Services, guard: Guard, provider: Provider) -> None:
    """Add ``/oidc/login`` and ``/oidc/callback``."""

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


def _cookie(guard: Guard) -> str:
    return f"{guard.cookie_name()}-oidc"
