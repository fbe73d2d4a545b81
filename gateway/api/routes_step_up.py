"""What somebody proves anew with that it is they who approve: authenticators, set up by their owner."""

import math
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Path, Request

from gateway.api.changes import record_change
from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import CodeIn, TotpMade, TotpOut
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note
from gateway.audit import AuditUnavailable
from gateway.passkeys import NoPasskey
from gateway.step_up import StepUpFailed
from gateway.totp import AlreadyEnrolled, NoKey, NotEnrolled

__all__ = ["add_step_up_routes", "no_key", "step_up_failed", "step_up_required"]

_PROOFS: Final = {"totp": "a code of your authenticator (totp)", "passkey": "your passkey, on the page"}

PersonName = Annotated[str, Path(max_length=256)]


def add_step_up_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/me/totp`` and ``/api/v1/people/{person}/totp``."""

    @app.get("/api/v1/me/totp", tags=["people"], summary="Is there an authenticator")
    async def enrolled(principal: Annotated[Principal, Depends(guard)]) -> TotpOut:
        """Whether the caller can approve where a rule asks for a code."""
        return TotpOut(enrolled=await services.totp.enrolled(principal.name))

    @app.post("/api/v1/me/totp", tags=["people"], summary="Set up an authenticator", status_code=201)
    async def begin(principal: Annotated[Principal, Depends(guard)]) -> TotpMade:
        """A new secret for the caller's app, in this answer and nowhere else; the first code confirms it. 409 if there
        is an authenticator."""
        if await services.passkeys.list(principal.name):
            # Otherwise a browser that was left open could set up another way to approve.
            raise Problem(
                409, "You have a passkey: remove it first, with itself, or use it alone.", kind="enrolled"
            )
        try:
            secret, uri = await services.totp.begin(principal.name)
        except AlreadyEnrolled:
            raise _already() from None
        except NoKey as error:
            raise no_key(error) from None
        return TotpMade(secret=secret, uri=uri)

    @app.post("/api/v1/me/totp/confirm", tags=["people"], summary="Confirm it", status_code=204)
    async def confirm(
        body: CodeIn, request: Request, principal: Annotated[Principal, Depends(guard)]
    ) -> None:
        """With its first code; that code is used up by it."""
        if await services.passkeys.list(principal.name):
            raise Problem(409, "You have a passkey meanwhile; begin again without it.", kind="enrolled")
        try:
            await services.totp.confirm(principal.name, body.code)
        except AlreadyEnrolled:
            raise _already() from None
        except StepUpFailed as error:
            note(services, "step-up failed", principal.name, address_of(request), str(error))
            raise step_up_failed(error) from None
        except NoKey as error:
            raise no_key(error) from None
        try:
            await record_change(services, "authenticator set up", principal, f"of {principal.name}")
        except AuditUnavailable:
            # What could not be recorded did not happen.
            await services.totp.remove(principal.name)
            raise

    @app.post("/api/v1/me/totp/remove", tags=["people"], summary="Remove it", status_code=204)
    async def remove(body: CodeIn, request: Request, principal: Annotated[Principal, Depends(guard)]) -> None:
        """With one of its codes; whoever has lost it asks an administrator."""
        try:
            await services.totp.check(principal.name, body.code)
        except StepUpFailed as error:
            note(services, "step-up failed", principal.name, address_of(request), str(error))
            raise step_up_failed(error) from None
        except NoKey as error:
            raise no_key(error) from None
        await record_change(services, "authenticator removed", principal, f"of {principal.name}")
        await services.totp.remove(principal.name)

    @app.delete("/api/v1/people/{person}/totp", tags=["people"], summary="Remove somebody's", status_code=204)
    async def reset(person: PersonName, principal: Annotated[Principal, Depends(guard)]) -> None:
        """They set up another one. Nobody takes away their own in this way."""
        if person == principal.name:
            raise Problem(403, "Remove your own with one of its codes, or ask another administrator.")
        await record_change(services, "authenticator removed", principal, f"of {person}")
        if not await services.totp.remove(person):
            raise Problem(404, "They have no authenticator.", kind="not-enrolled")


def step_up_required(ways: Sequence[str]) -> Problem:
    """The problem of a proof that is missing."""
    return Problem(
        403,
        f"This takes a proof that it is you: {' or '.join(_PROOFS[way] for way in ways)}.",
        kind="step-up-required",
        extra={"step_up": list(ways)},
    )


def step_up_failed(error: StepUpFailed) -> Problem:
    """The problem of a proof that is none."""
    if isinstance(error, NotEnrolled | NoPasskey):
        return Problem(403, f"Not proven: {error}.", kind="not-enrolled")
    if error.wait > 0:
        return Problem(
            429,
            f"Not proven: {error}.",
            kind="too-many-attempts",
            headers={"Retry-After": str(math.ceil(error.wait))},
        )
    return Problem(403, f"Not proven: {error}.", kind="step-up-failed")


def no_key(error: NoKey) -> Problem:
    """The problem of a gateway that cannot open what it sealed."""
    return Problem(503, f"This gateway cannot use authenticators: {error}.", kind="no-store-key")


def _already() -> Problem:
    return Problem(409, "You have an authenticator. Remove it first, with one of its codes.", kind="enrolled")
