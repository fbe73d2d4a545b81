"""Who is calling, and may they: the one dependency of every guarded route."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.api.access import TOKEN_OR_OPEN, allowed
from gateway.api.browser import LIFETIME_SECONDS, BrowserSession, BrowserSessions, Throttle
from gateway.api.problems import Problem
from gateway.api.services import Services
from gateway.config import Role

__all__ = ["CSRF_HEADER", "Guard", "Principal", "route_path"]

CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was recognised.

    ``how`` is the way they came: ``console`` (a browser), ``api`` (a token), ``cli`` (a token, sent by what
    says that it is the command line).
    """

    name: str
    roles: frozenset[Role]
    groups: frozenset[str]
    how: str
    session: BrowserSession | None = None
    token_id: str | None = None


class Guard:
    """Recognises callers and checks roles.

    A bearer token carries its own roles and dies with its user; a browser has whatever roles the
    configuration gives its user now, so that taking a role away works at the next request.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.browsers = BrowserSessions(services.clock)
        self.throttle = Throttle(services.clock)

    async def __call__(self, request: Request) -> Principal:
        """The caller of a guarded route. Raises a 401 or 403 :class:`Problem`."""
        method, path = request.method, route_path(request.scope["route"])
        if (method, path) == TOKEN_OR_OPEN and self._services.config().admin.open_metrics:
            return Principal("", frozenset(), frozenset(), "open")
        principal = await self.identify(request)
        if principal is None:
            raise Problem(
                401,
                "Sign in, or send a bearer token.",
                kind="not-signed-in",
                headers={"WWW-Authenticate": 'Bearer realm="holdgate"'},
            )
        if principal.session is not None and method not in _SAFE:
            self.same_origin(request)
            if not principal.session.csrf_matches(request.headers.get(CSRF_HEADER)):
                raise Problem(
                    403, f"The {CSRF_HEADER} header is missing or old. Reload the page.", kind="csrf"
                )
        if not allowed(method, path, principal.roles):
            raise Problem(403, "Your roles do not allow this.", kind="role-missing")
        return principal

    async def identify(self, request: Request, *, touch: bool = True) -> Principal | None:
        """Whoever sends this request; a bearer token is looked at before a cookie. None: nobody we know."""
        config = self._services.config()
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, secret = header.partition(" ")
            if scheme.lower() != "bearer":
                return None
            token = await self._services.tokens.verify(secret.strip())
            if token is None:
                return None
            roles = frozenset(Role(role) for role in token.roles)
            by_command = request.headers.get("user-agent", "").startswith("holdgate-cli/")
            person = await self._services.people.find(token.user)
            groups = config.groups_of(token.user) if person is None else person.groups
            how = "cli" if by_command else "api"
            return Principal(token.user, roles, groups, how, token_id=token.id)
        session = self.browsers.find(request.cookies.get(self.cookie_name(), ""), touch=touch)
        if session is None:
            return None
        person = await self._services.people.find(session.user)
        if person is None or not person.enabled or not person.roles:
            return None
        return Principal(person.name, person.roles, person.groups, "console", session)

    def same_origin(self, request: Request) -> None:
        """Refuse a state-changing request that another site's page sent. Raises a 403 :class:`Problem`."""
        origin = request.headers.get("origin")
        if origin is not None:
            admin = self._services.config().admin
            here = {request.headers.get("host", "")}
            if admin.public_url:
                here.add(urlsplit(admin.public_url).netloc)
            if urlsplit(origin).netloc not in here:
                raise Problem(403, "This request came from the page of another site.", kind="cross-origin")
        elif request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Problem(403, "This request came from the page of another site.", kind="cross-origin")

    def admit(self, user: str, address: str) -> None:
        """Charge an attempt to sign in. Raises a 429 :class:`Problem` while there were too many."""
        wait = self.throttle.begin(user, address)
        if wait > 0:
            raise Problem(
                429,
                "Too many attempts. Wait, then try again.",
                kind="too-many-attempts",
                headers={"Retry-After": str(int(wait) + 1)},
            )

    def sign_in(
        self,
        request: Request,
        response: Response,
        user: str,
        *,
        lifetime: float = LIFETIME_SECONDS,
        id_token: str | None = None,
    ) -> BrowserSession:
        """Open a browser session for ``user`` and put its cookie on ``response``; an older session ends."""
        self.browsers.close(request.cookies.get(self.cookie_name(), ""))
        cookie, session = self.browsers.open(user, lifetime=lifetime, id_token=id_token)
        response.set_cookie(
            self.cookie_name(), cookie, path="/", secure=self.secure, httponly=True, samesite="strict"
        )
        return session

    def sign_out(self, request: Request, response: Response) -> None:
        """End the browser session of this request and take its cookie away."""
        self.browsers.close(request.cookies.get(self.cookie_name(), ""))
        response.delete_cookie(
            self.cookie_name(), path="/", secure=self.secure, httponly=True, samesite="strict"
        )

    def cookie_name(self) -> str:
        """Over https the name carries the browser's own promise that no other host set the cookie."""
        return "__Host-holdgate" if self.secure else "holdgate"

    @property
    def secure(self) -> bool:
        """Whether browsers reach this port over https, so that cookies may ask for it."""
        admin = self._services.config().admin
        return admin.tls is not None or (admin.public_url or "").startswith("https://")


def route_path(route: BaseRoute) -> str:
    """The path of a route as it was declared, with its parameters' names: the key into the access table."""
    return str(getattr(route, "path", ""))
