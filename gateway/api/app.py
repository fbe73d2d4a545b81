"""The management port as an application: every route, guarded by one table."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.api.access import ACCESS, PUBLIC
from gateway.api.events import HEARTBEAT_SECONDS, EventStreams
from gateway.api.guard import Guard
from gateway.api.oidc import Provider
from gateway.api.problems import MEDIA_TYPE, Problem, http_error, invalid_request, send_problem, unavailable
from gateway.api.routes_change import add_changing_routes
from gateway.api.routes_confirm import add_confirm_routes
from gateway.api.routes_grants import add_grant_routes
from gateway.api.routes_holds import add_hold_routes, shown_to
from gateway.api.routes_look import add_looking_routes
from gateway.api.routes_notifications import add_notification_routes
from gateway.api.routes_oidc import add_oidc_routes
from gateway.api.routes_passkeys import add_passkey_routes
from gateway.api.routes_people import add_people_routes
from gateway.api.routes_step_up import add_step_up_routes
from gateway.api.schemas import ProblemOut
from gateway.api.services import Services
from gateway.api.shield import Shield
from gateway.audit import AuditUnavailable
from gateway.store import StoreUnavailable

__all__ = ["ManagementApp", "create_app", "installed_version"]

_CONSOLE = {
    "console.css": "text/css",
    "confirm.js": "text/javascript",
    "console.js": "text/javascript",
    "reviews.js": "text/javascript",
    "grants.js": "text/javascript",
    "security.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class ManagementApp(FastAPI):
    """The application, with the event streams that its server closes before it stops."""

    def __init__(self, services: Services, heartbeat: float) -> None:
        super().__init__(
            title="Holdgate",
            version=installed_version(),
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self.streams = EventStreams(services.bus, services.clock, heartbeat)

    def openapi(self) -> dict[str, Any]:
        """The description of every operation, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _describe(self)
        return self.openapi_schema


def create_app(services: Services, *, heartbeat: float = HEARTBEAT_SECONDS) -> ManagementApp:
    """The management port of one gateway; ``heartbeat`` is the seconds between signs of life on event
    streams.

    Raises RuntimeError when the routes and the access table do not name the same things.
    """
    app = ManagementApp(services, heartbeat)
    guard = Guard(services)
    provider = Provider(services.config, services.clock)
    add_people_routes(app, services, guard, provider)
    add_oidc_routes(app, services, guard, provider)
    add_step_up_routes(app, services, guard)
    add_passkey_routes(app, services, guard)
    add_hold_routes(app, services, guard)
    add_grant_routes(app, services, guard)
    add_confirm_routes(app, services, guard, shown_to(services))
    add_looking_routes(app, services, guard, app.streams)
    add_changing_routes(app, services, guard)
    add_notification_routes(app, services, guard)
    _add_console(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    app.add_exception_handler(Problem, send_problem)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(StoreUnavailable, unavailable)
    app.add_exception_handler(AuditUnavailable, unavailable)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_middleware(Shield, config=services.config)
    _compare_with_table(app, guard)
    return app


def installed_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("holdgate")
    except PackageNotFoundError:
        return "unknown"


def _add_console(app: FastAPI) -> None:
    """The page and its files, read once: no path of a request ever becomes a path on the disk."""
    folder = files("gateway") / "console"
    page = (folder / "index.html").read_bytes()
    assets = {name: ((folder / name).read_bytes(), kind) for name, kind in _CONSOLE.items()}

    @app.get("/", include_in_schema=False)
    @app.get("/holds/{hold_id}", include_in_schema=False)
    async def console() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/console/{name}", include_in_schema=False)
    async def console_file(name: str) -> Response:
        found = assets.get(name)
        if found is None:
            raise Problem(404, "There is nothing at this address.")
        return Response(found[0], media_type=found[1])


def _routes(app: FastAPI) -> Iterable[tuple[tuple[str, str], APIRoute]]:
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                yield (method, route.path), route


def _compare_with_table(app: FastAPI, guard: Guard) -> None:
    found = dict(_routes(app))
    if set(found) != set(ACCESS) | PUBLIC:
        raise RuntimeError(f"routes and access table differ: {sorted(set(found) ^ (set(ACCESS) | PUBLIC))}")
    for key, route in found.items():
        guarded = any(dependency.call is guard for dependency in route.dependant.dependencies)
        if guarded is (key in PUBLIC):
            raise RuntimeError(
                f"{key[0]} {key[1]} is {'guarded' if guarded else 'open'}, the table says otherwise"
            )


def _describe(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description="The management port of Holdgate: holds and decisions, sessions, the audit, health.",
        routes=app.routes,
    )
    parts = schema["components"]
    parts["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "For machines and the command line."},
        "browser": {
            "type": "apiKey",
            "in": "cookie",
            "name": "holdgate",
            "description": "For browsers, after login; requests that change something also send "
            "X-CSRF-Token. Over https the cookie is called __Host-holdgate.",
        },
    }
    parts["schemas"]["Problem"] = ProblemOut.model_json_schema()
    parts["responses"] = {
        "Problem": {
            "description": "The request was refused (RFC 9457).",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            roles = ACCESS.get((method.upper(), path))
            # Validation errors leave as problems too, so the framework's own description of them goes.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
            if roles is not None:
                operation["security"] = [{"token": []}, {"browser": []}]
                operation["x-roles"] = sorted(roles)
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    return schema
