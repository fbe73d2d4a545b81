"""Holds: what waits, and the two decisions a person can take."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query, Request

from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.routes_grants import terms_of
from gateway.api.routes_passkeys import no_passkeys_here
from gateway.api.routes_step_up import no_key, step_up_failed, step_up_required
from gateway.api.schemas import (
    ApproveIn,
    HoldOut,
    HoldPage,
    OccupiedOut,
    QueueOut,
    RejectIn,
    ReviewIn,
)
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note
from gateway.confirming import AwaitingConfirmation
from gateway.hold_terms import PREVIEWED, InvalidGrant, MaxRows, ReviewClosed
from gateway.holds import (
    AlreadyDecided,
    AlreadyResolved,
    Hold,
    HoldNotFound,
    HoldState,
    InvalidCeiling,
    InvalidReason,
    NotAllowed,
    StillChecking,
)
from gateway.passkeys import NoPasskeysHere
from gateway.people import same_person
from gateway.step_up import Proof, Prove, StepUpFailed, StepUpRequired, nothing_proven
from gateway.store import GrantTerms
from gateway.totp import NoKey
from gateway.voting import Voter, has_say

__all__ = ["add_hold_routes", "shown_to"]

HoldId = Annotated[str, Path(description="H- and 26 characters")]
_ID = re.compile("H-[0-9A-Z]{26}")


def add_hold_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/holds`` and what is below it."""

    @app.get("/api/v1/holds", tags=["holds"], summary="List holds")
    async def holds(
        principal: Annotated[Principal, Depends(guard)],
        state: Annotated[HoldState | None, Query(description="Only holds in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[
            str | None, Query(pattern="^[0-9A-Z-]{1,64}$", description="`next` of the page before")
        ] = None,
    ) -> HoldPage:
        """A page of holds, newest first."""
        page = await services.holds.list(state, limit, cursor)
        voter = _voter(services, principal)
        return HoldPage(holds=[_shown(hold, voter) for hold in page.holds], next=page.cursor)

    @app.get("/api/v1/holds/{hold_id}", tags=["holds"], summary="Show a hold")
    async def hold(hold_id: HoldId, principal: Annotated[Principal, Depends(guard)]) -> HoldOut:
        """Everything that is known of it."""
        return await _answered(services.holds.get(_id(hold_id)), _voter(services, principal))

    @app.post("/api/v1/holds/{hold_id}/approve", tags=["holds"], summary="Approve a held statement")
    async def approve(
        hold_id: HoldId,
        request: Request,
        principal: Annotated[Principal, Depends(guard)],
        body: ApproveIn | None = None,
    ) -> HoldOut:
        """It runs once, as it was held, as soon as every stage has its people; until then the answer is a hold that
        is still pending. 403 for one's own statement and for whoever is in none of the groups that are asked; 409,
        with the hold, for whoever has approved it before, while its criteria are being checked or whoever
        asked has not confirmed it, and when it was decided
        or nobody waits any more; 422 for a
        number of rows that cannot be enforced, and for a ``grant`` that the rule does not let be given. Of several
        approvals the lowest number of rows counts, and a grant comes into being, in the least of what they say, only if
        all of them grant; ``granted_id`` of the hold then names it. Where the
        stage asks for a proof of who approves, 403 of the type ``step-up-required`` names the ways in ``step_up``."""
        given = body or ApproveIn()
        max_rows: MaxRows = given.max_rows if "max_rows" in given.model_fields_set else PREVIEWED
        prove = _prover(services, principal, given, request)
        grant = None if given.grant is None else terms_of(given.grant)
        decided = _decide(services, hold_id, principal, True, given.reason, max_rows, prove, grant)
        return await _answered(decided, _voter(services, principal))

    @app.post("/api/v1/holds/{hold_id}/reject", tags=["holds"], summary="Reject a held statement")
    async def reject(
        hold_id: HoldId, body: RejectIn, principal: Annotated[Principal, Depends(guard)]
    ) -> HoldOut:
        """It does not run; the requester reads the reason. Refused as an approval would be."""
        decided = _decide(services, hold_id, principal, False, body.reason)
        return await _answered(decided, _voter(services, principal))

    @app.get("/api/v1/reviews", tags=["holds"], summary="List open reviews")
    async def reviews(principal: Annotated[Principal, Depends(guard)]) -> HoldPage:
        """The holds that ran without an approval and that nobody has reviewed yet, the oldest first; all of them."""
        voter = _voter(services, principal)
        found = await services.reviews.unreviewed()
        return HoldPage(holds=[_shown(hold, voter) for hold in found], next=None)

    @app.get("/api/v1/queue", tags=["holds"], summary="Who waits for room", dependencies=[Depends(guard)])
    async def queue() -> QueueOut:
        """What is at work under each cap, over all gateways, and the approved statements that wait until there is
        room."""
        found = await services.holds.occupied()
        return QueueOut(queue=[OccupiedOut.model_validate(one.to_dict()) for one in found])

    @app.post("/api/v1/holds/{hold_id}/review", tags=["holds"], summary="Close a review")
    async def review(
        hold_id: HoldId, body: ReviewIn, principal: Annotated[Principal, Depends(guard)]
    ) -> HoldOut:
        """Say what was found of a statement that ran without an approval. 403 for one's own, and for whoever could
        not have approved it; 409 when no review of it is open."""
        voter = _voter(services, principal)
        return await _answered(services.reviews.close(_id(hold_id), voter, body.note), voter)


def _prover(services: Services, principal: Principal, given: ApproveIn, request: Request) -> Prove:
    """Proves who approves with what came along."""

    async def prove(hold: Hold, ways: Sequence[str]) -> Proof:
        try:
            if "passkey" in ways and given.passkey is not None:
                signed = await services.passkeys.prove_approval(principal.name, hold, given.passkey)
                return Proof("passkey", signed)
            if "totp" in ways and given.totp is not None:
                await services.totp.check(principal.name, given.totp)
                return Proof("totp")
        except StepUpFailed as error:
            note(services, "step-up failed", principal.name, address_of(request), f"{hold.id}: {error}")
            raise
        raise StepUpRequired(hold, ways)

    return prove


def _decide(
    services: Services,
    hold_id: str,
    principal: Principal,
    approve: bool,
    reason: str,
    max_rows: MaxRows = PREVIEWED,
    prove: Prove = nothing_proven,
    grant: GrantTerms | None = None,
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
        prove=prove,
        grant=grant,
    )


async def _answered(call: Awaitable[Hold], voter: Voter) -> HoldOut:
    """The hold that ``call`` gives, as ``voter`` sees it, or the problem that its error is."""
    try:
        return _shown(await call, voter)
    except HoldNotFound:
        raise Problem(404, "There is no such hold.", kind="no-such-hold") from None
    except NotAllowed as error:
        raise Problem(403, f"Not allowed: {error}.", kind="decision-not-allowed") from None
    except StepUpRequired as error:
        raise step_up_required(error.ways) from None
    except StepUpFailed as error:
        raise step_up_failed(error) from None
    except NoKey as error:
        raise no_key(error) from None
    except NoPasskeysHere as error:
        raise no_passkeys_here(error) from None
    except InvalidReason as error:
        raise Problem(422, f"The reason is not accepted: {error}.", kind="invalid-request") from None
    except (InvalidCeiling, InvalidGrant) as error:
        raise Problem(422, f"Not accepted: {error}.", kind="invalid-request") from None
    except ReviewClosed as error:
        raise Problem(409, f"{error}.", kind="review-closed", extra=_with(error.hold, voter)) from None
    except StillChecking as error:
        raise Problem(
            409, f"{error}.", kind="criteria-being-checked", extra=_with(error.hold, voter)
        ) from None
    except AwaitingConfirmation as error:
        raise Problem(
            409, f"{error}.", kind="awaiting-confirmation", extra=_with(error.hold, voter)
        ) from None
    except AlreadyDecided as error:
        raise Problem(409, f"{error}.", kind="already-decided", extra=_with(error.hold, voter)) from None
    except AlreadyResolved as error:
        raise Problem(
            409,
            f"The hold is already {error.hold.state.value}{_by(error.hold)}.",
            kind="already-resolved",
            extra=_with(error.hold, voter),
        ) from None


def _id(text: str) -> str:
    """``text`` if a hold could be called so; what could not is not asked of the store."""
    if not _ID.fullmatch(text):
        raise Problem(404, "There is no such hold.", kind="no-such-hold")
    return text


def _by(hold: Hold) -> str:
    return f" by {', '.join(hold.decided_by)}" if hold.decided_by else ""


def _voter(services: Services, principal: Principal) -> Voter:
    absent = services.config().stands_in_for(principal.name, services.clock.now())
    return Voter(principal.name, principal.groups, principal.roles, absent)


def shown_to(services: Services) -> Callable[[Hold, Principal], HoldOut]:
    """Shows holds to whoever asks for them."""
    return lambda hold, principal: _shown(hold, _voter(services, principal))


def _with(hold: Hold, voter: Voter) -> dict[str, object]:
    return {"hold": _shown(hold, voter).model_dump(mode="json")}


def _shown(hold: Hold, voter: Voter) -> HoldOut:
    cannot: str | None = None
    try:
        has_say(hold, voter)
    except NotAllowed as error:
        cannot = str(error)
    yours = same_person(voter.name, hold.user)
    return HoldOut.model_validate({**hold.to_dict(), "cannot_decide": cannot, "yours": yours})
