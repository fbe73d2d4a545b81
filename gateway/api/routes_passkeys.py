"""Passkeys: made on the page, used to sign approvals there."""

from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request

from gateway.api.changes import record_change
from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.routes_step_up import no_key, step_up_failed, step_up_required
from gateway.api.schemas import OptionsOut, PasskeyIn, PasskeyOut, PasskeysOut, ProofIn
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note
from gateway.audit import AuditUnavailable
from gateway.holds import HoldNotFound
from gateway.passkeys import NoPasskeysHere
from gateway.step_up import StepUpFailed
from gateway.totp import NoKey

__all__ = ["add_passkey_routes", "no_passkeys_here", "prove_change"]

Name = Annotated[str, Path(max_length=1024)]


def add_passkey_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/me/passkeys``, ``/api/v1/people/{person}/passkeys`` and ``/api/v1/holds/{hold_id}/passkey``."""
    passkeys = services.passkeys

    @app.get("/api/v1/me/passkeys", tags=["people"], summary="List one's passkeys")
    async def listing(principal: Annotated[Principal, Depends(guard)]) -> PasskeysOut:
        """The caller's passkeys, oldest first."""
        found = await passkeys.list(principal.name)
        return PasskeysOut(passkeys=[PasskeyOut.model_validate(one.to_dict()) for one in found])

    @app.post("/api/v1/me/passkeys/options", tags=["people"], summary="Begin to make a passkey")
    async def begin(principal: Annotated[Principal, Depends(guard)]) -> OptionsOut:
        """PublicKeyCredentialCreationOptionsJSON, good once and for five minutes."""
        try:
            return OptionsOut(options=await passkeys.begin(principal.name))
        except NoPasskeysHere as error:
            raise no_passkeys_here(error) from None

    @app.post("/api/v1/me/passkeys/proof", tags=["people"], summary="Begin to prove who one is")
    async def begin_proof(principal: Annotated[Principal, Depends(guard)]) -> OptionsOut:
        """PublicKeyCredentialRequestOptionsJSON, to be signed before a passkey is added or removed."""
        return await _options(passkeys.change_options(principal.name))

    @app.post("/api/v1/holds/{hold_id}/passkey", tags=["holds"], summary="Begin to sign an approval")
    async def begin_approval(hold_id: Name, principal: Annotated[Principal, Depends(guard)]) -> OptionsOut:
        """PublicKeyCredentialRequestOptionsJSON whose challenge names the hold, its digest and the caller. What the
        browser makes of it goes into ``passkey`` of the approval."""
        try:
            hold = await services.holds.get(hold_id if hold_id.isascii() and hold_id.isprintable() else "")
        except HoldNotFound:
            raise Problem(404, "There is no such hold.", kind="no-such-hold") from None
        return await _options(passkeys.approval_options(principal.name, hold))

    @app.post("/api/v1/me/passkeys", tags=["people"], summary="Keep a passkey", status_code=201)
    async def finish(
        body: PasskeyIn, request: Request, principal: Annotated[Principal, Depends(guard)]
    ) -> PasskeyOut:
        """The passkey that the browser made (RegistrationResponseJSON). Who has a passkey or an authenticator already
        proves with it that it is they who add one."""
        try:
            await prove_change(services, principal, body, request)
            made = await passkeys.finish(principal.name, body.label, body.credential)
        except StepUpFailed as error:
            raise step_up_failed(error) from None
        except NoPasskeysHere as error:
            raise no_passkeys_here(error) from None
        details = {"credential_id": made.id, "public_key": made.public_key}
        try:
            await record_change(services, "passkey set up", principal, made.label, details=details)
        except AuditUnavailable:
            # What could not be recorded did not happen.
            await passkeys.remove(principal.name, made.id)
            raise
        return PasskeyOut.model_validate(made.to_dict())

    @app.post(
        "/api/v1/me/passkeys/{passkey}/remove", tags=["people"], summary="Remove a passkey", status_code=204
    )
    async def remove(
        passkey: Name, body: ProofIn, request: Request, principal: Annotated[Principal, Depends(guard)]
    ) -> None:
        """Proven with it, with another one, or with a code of one's authenticator."""
        try:
            await prove_change(services, principal, body, request)
        except StepUpFailed as error:
            raise step_up_failed(error) from None
        details = {"credential_id": passkey}
        await record_change(services, "passkey removed", principal, f"of {principal.name}", details=details)
        if not await passkeys.remove(principal.name, passkey):
            raise Problem(404, "You have no such passkey.", kind="not-enrolled")

    @app.delete(
        "/api/v1/people/{person}/passkeys", tags=["people"], summary="Remove somebody's", status_code=204
    )
    async def reset(person: Name, principal: Annotated[Principal, Depends(guard)]) -> None:
        """All of them; they set up others. Nobody takes away their own in this way."""
        if person == principal.name:
            raise Problem(403, "Remove your own on the page, or ask another administrator.")
        found = await passkeys.list(person)
        if not found:
            raise Problem(404, "They have no passkey.", kind="not-enrolled")
        for one in found:
            details = {"credential_id": one.id}
            await record_change(services, "passkey removed", principal, f"of {person}", details=details)
            await passkeys.remove(person, one.id)


async def prove_change(services: Services, principal: Principal, given: ProofIn, request: Request) -> None:
    """That it is the caller who changes what they prove themself with, if there is something to prove it with.

    A browser that was left open can set up nothing that approves. Raises :class:`Problem` and :class:`StepUpFailed`.
    """
    user = principal.name
    enrolled = await services.totp.enrolled(user)
    keys = await services.passkeys.list(user)
    try:
        if enrolled and given.totp is not None:
            await services.totp.check(user, given.totp)
        elif keys and given.passkey is not None:
            await services.passkeys.prove_change(user, given.passkey)
        elif enrolled or keys:
            ways = [way for way, there in (("totp", enrolled), ("passkey", keys)) if there]
            raise step_up_required(ways)
    except StepUpFailed as error:
        note(services, "step-up failed", user, address_of(request), str(error))
        raise
    except NoKey as error:
        raise no_key(error) from None
    except NoPasskeysHere as error:
        raise no_passkeys_here(error) from None


def no_passkeys_here(error: NoPasskeysHere) -> Problem:
    """The problem of a gateway for which browsers make no passkeys."""
    return Problem(503, f"This gateway cannot use passkeys: {error}.", kind="no-passkeys-here")


async def _options(call: Awaitable[dict[str, Any]]) -> OptionsOut:
    try:
        return OptionsOut(options=await call)
    except StepUpFailed as error:
        raise step_up_failed(error) from None
    except NoPasskeysHere as error:
        raise no_passkeys_here(error) from None
