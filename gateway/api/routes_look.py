"""Looking without changing: health, metrics, sessions, the audit, a statement's verdict, events."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Query, Request, Response

from gateway.api.events import EventStreams
from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import (
    AuditPage,
    CheckIn,
    CheckOut,
    HealthOut,
    ReadinessOut,
    SessionOut,
    SessionsOut,
)
from gateway.api.services import Services, SessionView
from gateway.api.verdicts import explanation_to_dict
from gateway.audit import AuditFilter
from gateway.config import Role
from gateway.store import iso

__all__ = ["add_looking_routes"]

Word = Annotated[str | None, Query(max_length=256)]


def add_looking_routes(app: FastAPI, services: Services, guard: Guard, streams: EventStreams) -> None:
    """Add everything that only reads."""

    @app.get("/healthz", tags=["health"], summary="Is the process alive")
    async def healthz() -> HealthOut:
        """Answers as long as the process can answer at all."""
        return HealthOut()

    @app.get("/readyz", tags=["health"], summary="Can the gateway serve")
    async def readyz() -> ReadinessOut:
        """503 with the reasons when statements could not be held, recorded or received now."""
        reasons = list(await services.readiness())
        if reasons:
            raise Problem(503, "; ".join(reasons), kind="not-ready", extra={"reasons": reasons})
        return ReadinessOut()

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        dependencies=[Depends(guard)],
    )
    async def metrics() -> Response:
        """Text format 0.0.4. Open to everybody where ``admin.open_metrics`` says so."""
        body, content_type = await services.metrics()
        return Response(body, headers={"content-type": content_type})

    @app.get("/api/v1/sessions", tags=["sessions"], summary="Client sessions", dependencies=[Depends(guard)])
    async def sessions() -> SessionsOut:
        """Every client session of this gateway, the oldest first."""
        found = sorted(await services.sessions.list(), key=lambda session: session.started_at)
        return SessionsOut(sessions=[_session(session) for session in found])

    @app.get("/api/v1/audit", tags=["audit"], summary="Search the audit", dependencies=[Depends(guard)])
    async def audit(
        kind: Word = None,
        user: Word = None,
        database: Word = None,
        session_id: Word = None,
        hold_id: Word = None,
        verdict: Word = None,
        rule: Word = None,
        action: Word = None,
        relation: Word = None,
        text: Word = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Literal["newest", "oldest"] = "newest",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: Annotated[str | None, Query(max_length=100)] = None,
    ) -> AuditPage:
        """A page of records. ``text`` is looked for in the SQL; times need an offset, such as ``Z``."""
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise Problem(422, f"{name} needs an offset, such as Z", kind="invalid-request")
        wanted = AuditFilter(
            kind=kind,
            user=user,
            database=database,
            session_id=session_id,
            hold_id=hold_id,
            verdict=verdict,
            rule=rule,
            action=action,
            relation=relation,
            text=text,
            since=since,
            until=until,
        )
        try:
            page = await services.audit.search(wanted, cursor=cursor, limit=limit, order=order)
        except ValueError as error:
            raise Problem(422, f"{error}.", kind="invalid-request") from None
        except OSError:
            raise Problem(503, "The audit cannot be read now.", kind="audit-unavailable") from None
        return AuditPage(records=page.records, next=page.cursor)

    @app.post("/api/v1/check", tags=["check"], summary="Judge a statement", dependencies=[Depends(guard)])
    async def check(body: CheckIn) -> CheckOut:
        """The verdict the statement would get, with every effect and why. Nothing is run."""
        explanation = await services.check(body.sql, body.user, body.database)
        return CheckOut.model_validate(explanation_to_dict(explanation))

    @app.get(
        "/api/v1/events",
        tags=["events"],
        summary="What happens, as server-sent events",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(request: Request, principal: Annotated[Principal, Depends(guard)]) -> Response:
        """Each event's data is JSON: ``id``, ``kind``, ``at``, ``data``. ``Last-Event-ID`` continues; after
        ``reset`` read the current state anew; ``signed-out`` is the last event of somebody who may no longer
        look. A comment comes every 15 seconds."""
        if streams.full:
            raise Problem(503, "Too many event streams are open.", kind="too-many-streams")

        async def recheck() -> frozenset[Role] | None:
            # The stream itself is not the user's activity: an unattended page is signed out in time.
            now = await guard.identify(request, touch=False)
            return now.roles if now is not None and now.name == principal.name and now.roles else None

        return streams.response(recheck, request.headers.get("last-event-id"))


def _session(session: SessionView) -> SessionOut:
    return SessionOut(
        id=session.id,
        user=session.user,
        groups=sorted(session.groups),
        database=session.database,
        client_addr=session.client_addr,
        application_name=session.application_name,
        state=session.state,
        started_at=iso(session.started_at) or "",
        transaction_status=session.transaction_status,
        current_sql=session.current_sql,
        hold_id=session.hold_id,
        backend_pid=session.backend_pid,
    )
