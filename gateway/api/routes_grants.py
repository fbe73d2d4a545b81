"""Grants: what somebody may run more of, listed and revoked."""

import re
from typing import Annotated

from fastapi import Depends, FastAPI, Path

from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import GrantIn, GrantOut, GrantsOut, RevokeIn
from gateway.api.services import Services
from gateway.config.units import parse_duration
from gateway.grants import GrantView
from gateway.hold_terms import GrantNotFound, GrantOver, InvalidReason
from gateway.store import GrantTerms

__all__ = ["add_grant_routes", "terms_of"]

_ID = re.compile("G-[0-9A-Z]{26}")


def add_grant_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/grants``."""

    @app.get("/api/v1/grants", tags=["grants"], summary="List grants", dependencies=[Depends(guard)])
    async def grants() -> GrantsOut:
        """All of them, the newest first, whatever became of them."""
        return GrantsOut(grants=[_shown(one) for one in await services.grants.list()])

    @app.post("/api/v1/grants/{grant_id}/revoke", tags=["grants"], summary="Revoke a grant")
    async def revoke(
        grant_id: Annotated[str, Path(description="G- and 26 characters")],
        principal: Annotated[Principal, Depends(guard)],
        body: RevokeIn | None = None,
    ) -> GrantOut:
        """It is of no more use from now on, and what it approved and does not run yet is void. 409 when it
        was revoked before."""
        try:
            if not _ID.fullmatch(grant_id):
                raise GrantNotFound(f"there is no grant {grant_id[:40]!a}")
            return _shown(await services.grants.revoke(grant_id, principal.name, (body or RevokeIn()).reason))
        except GrantNotFound:
            raise Problem(404, "There is no such grant.", kind="no-such-grant") from None
        except InvalidReason as error:
            raise Problem(422, f"The reason is not accepted: {error}.", kind="invalid-request") from None
        except GrantOver as error:
            raise Problem(409, f"{error}.", kind="grant-over") from None


def terms_of(grant: GrantIn) -> GrantTerms:
    """What is to be granted; 422 where the time is none."""
    try:
        seconds = parse_duration(grant.lasts)
    except ValueError as error:
        raise Problem(422, f"grant.for: {error}.", kind="invalid-request") from None
    return GrantTerms(seconds, grant.uses, grant.rows)


def _shown(view: GrantView) -> GrantOut:
    return GrantOut.model_validate(view.to_dict())
