"""Holds: what waits, and the two decisions a person can take."""

import re
from collections.abc import Awaitable
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query

from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import ApproveIn, HoldOut, HoldPage, RejectIn
from gateway.api.services import Services
from gateway.hold_terms import PREVIEWED, MaxRows
from gateway.holds import (
    AlreadyDecided,
    AlreadyResolved,
    Hold,
    HoldNotFound,
    HoldState,
    InvalidCeiling,
    InvalidReason,
    NotAllowed,
)

__all__ = ["add_hold_routes"]

HoldId = Annotated[str, Path(description="H- and 26 characters")]
_ID = re.compile("H-[0-9A-Z]{26}")


def add_hold_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/holds`` and what is below it."""

    @app.get("/api/v1/holds", tags=["holds"], summary="List holds", dependencies=[Depends(guard)])
    async def holds(
        state: Annotated[HoldState | None, Query(description="Only holds in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[
            str | None, Query(pattern="^[0-9A-Z-]{1,64}$", description="`next` of the page before")
        ] = None,
    ) -> HoldPage:
        """A page of holds, newest first."""
        page = await services.holds.list(state, limit, cursor)
        return HoldPage(holds=[_shown(hold) for hold in page.holds], next=page.cursor)

    @app.get("/api/v1/holds/{hold_id}", tags=["holds"], summary="Show a hold", dependencies=[Depends(guard)])
    async def hold(hold_id: HoldId) -> HoldOut:
        """Everything that is known of it."""
        return await _answered(services.holds.get(_id(hold_id)))

    @app.post("/api/v1/holds/{hold_id}/approve", tags=["holds"], summary="Approve a held statement")
    async def approve(
        hold_id: HoldId, principal: Annotated[Principal, Depends(guard)], body: ApproveIn | None = None
    ) -> HoldOut:
        """It runs once, as it was held, as soon as every stage has its people; until then the answer is a hold that
        is still pending. 403 for one's own statement and for whoever is in none of the groups that are asked; 409,
        with the hold, for whoever has approved it before, and when it was decided or nobody waits any more; 422 for a
        number of rows that cannot be enforced. Of several approvals the lowest number of rows counts."""
        body = body or ApproveIn()
        max_rows: MaxRows = body.max_rows if "max_rows" in body.model_fields_set else PREVIEWED
        return await _answered(_decide(services, hold_id, principal, True, body.reason, max_rows))

    @app.post("/api/v1/holds/{hold_id}/reject", tags=["holds"], summary="Reject a held statement")
    async def reject(
        hold_id: HoldId, body: RejectIn, principal: Annotated[Principal, Depends(guard)]
    ) -> HoldOut:
        """It does not run; the requester reads the reason. Refused as an approval would be."""
        return await _answered(_decide(services, hold_id, principal, False, body.reason))


def _decide(
    services: Services,
    hold_id: str,
    principal: Principal,
    approve: bool,
    reason: str,
    max_rows: MaxRows = PREVIEWED,
) -> Awaitable[Hold]:
    return services.holds.decide(
        _id(hold_id),
        who=principal.name,
        who_groups=principal.groups,
        who_roles=principal.roles,
        approve=approve,
        reason=reason,
        how=principal.how,
        absent=services.config().stands_in_for(principal.name, services.clock.now()),
        max_rows=max_rows,
    )


async def _answered(call: Awaitable[Hold]) -> HoldOut:
    """The hold that ``call`` gives, or the problem that its error is."""
    try:
        return _shown(await call)
    except HoldNotFound:
        raise Problem(404, "There is no such hold.", kind="no-such-hold") from None
    except NotAllowed as error:
        raise Problem(403, f"Not allowed: {error}.", kind="decision-not-allowed") from None
    except InvalidReason as error:
        raise Problem(422, f"The reason is not accepted: {error}.", kind="invalid-request") from None
    except InvalidCeiling as error:
        raise Problem(422, f"Not accepted: {error}.", kind="invalid-request") from None
    except AlreadyDecided as error:
        raise Problem(
            409, f"{error}.", kind="already-decided", extra={"hold": error.hold.to_dict()}
        ) from None
    except AlreadyResolved as error:
        raise Problem(
            409,
            f"The hold is already {error.hold.state.value}{_by(error.hold)}.",
            kind="already-resolved",
            extra={"hold": error.hold.to_dict()},
        ) from None


def _id(text: str) -> str:
    """``text`` if a hold could be called so; what could not is not asked of the store."""
    if not _ID.fullmatch(text):
        raise Problem(404, "There is no such hold.", kind="no-such-hold")
    return text


def _by(hold: Hold) -> str:
    return f" by {', '.join(hold.decided_by)}" if hold.decided_by else ""


def _shown(hold: Hold) -> HoldOut:
    return HoldOut.model_validate(hold.to_dict())
