"""Whoever asked confirms it: on the page with a second factor, or by the link that they were sent."""

import re
from collections.abc import Awaitable, Callable
from html import escape
from typing import Annotated, Final, TypeVar
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import HTMLResponse

from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.routes_passkeys import no_passkeys_here
from gateway.api.routes_step_up import no_key, step_up_failed, step_up_required
from gateway.api.schemas import HoldOut, OptionsOut, ProofIn
from gateway.api.services import Services
from gateway.api.sign_ins import address_of, note, page
from gateway.confirming import BY_LINK, NothingToConfirm, check_confirmable, is_link_of
from gateway.hold_terms import HoldError
from gateway.holds import AlreadyResolved, Hold, HoldNotFound, NotAllowed
from gateway.passkeys import NoPasskeysHere
from gateway.people import same_person
from gateway.step_up import Proof, StepUpFailed
from gateway.text import visible
from gateway.totp import NoKey

__all__ = ["add_confirm_routes"]

T = TypeVar("T")

HoldId = Annotated[str, Path(max_length=64)]
Shown = Callable[[Hold, Principal], HoldOut]

_ID: Final = re.compile("H-[0-9A-Z]{26}")
_TITLE: Final = "Holdgate: confirm"

_ASK: Final = """<p>Do you, <strong>{user}</strong>, ask for this to run on {database}?</p>
<p class="quiet">It was sent at {opened} from {origin}.</p>
<pre>{sql}</pre>
{values}
<p>Rule {rule}: {reason}.</p>
<form method="post" action="/confirm/{hold}">
<input type="hidden" name="t" value="{token}">
<div class="buttons"><button type="submit" class="primary">Yes, I ask for this</button></div>
</form>
<p class="quiet">It does not run yet: others are asked next. If it was not you, close this page and tell the operator of
the gateway.</p>"""


def add_confirm_routes(app: FastAPI, services: Services, guard: Guard, shown: Shown) -> None:
    """Add ``/api/v1/holds/{hold_id}/confirm``, ``…/confirm/passkey`` and the page behind the link."""

    async def find(hold_id: str) -> Hold:
        try:
            return await services.holds.get(hold_id if _ID.fullmatch(hold_id) else "")
        except HoldNotFound:
            raise Problem(404, "There is no such hold.", kind="no-such-hold") from None

    @app.post("/api/v1/holds/{hold_id}/confirm", tags=["holds"], summary="Confirm that one asks for it")
    async def confirm(
        hold_id: HoldId, body: ProofIn, request: Request, principal: Annotated[Principal, Depends(guard)]
    ) -> HoldOut:
        """With a code of one's authenticator or a passkey, where the rule asks for a second factor; then others are
        asked to approve it. 403 for anybody else's hold, and of the type ``step-up-required`` without a proof; 409
        where there is nothing to confirm (any more)."""

        async def prove(hold: Hold) -> Proof:
            try:
                if body.passkey is not None:
                    signed = await services.passkeys.prove_confirmation(principal.name, hold, body.passkey)
                    return Proof("passkey", signed)
                if body.totp is not None:
                    await services.totp.check(principal.name, body.totp)
                    return Proof("totp")
            except StepUpFailed as error:
                reason = f"{hold.id}: {error}"
                note(services, "step-up failed", principal.name, address_of(request), reason)
                raise
            raise step_up_required(("totp", "passkey"))

        await find(hold_id)
        confirmed = services.holds.confirm(hold_id, who=principal.name, by_link=False, prove=prove)
        return shown(await _confirmed(confirmed, shown, principal), principal)

    @app.post(
        "/api/v1/holds/{hold_id}/confirm/passkey", tags=["holds"], summary="Begin to sign a confirmation"
    )
    async def begin(hold_id: HoldId, principal: Annotated[Principal, Depends(guard)]) -> OptionsOut:
        """PublicKeyCredentialRequestOptionsJSON whose challenge names the hold, its digest and the caller. What the
        browser makes of it goes into ``passkey`` of the confirmation."""
        hold = await find(hold_id)

        async def options() -> OptionsOut:
            check_confirmable(hold, principal.name, by_link=False)
            return OptionsOut(options=await services.passkeys.confirmation_options(principal.name, hold))

        return await _confirmed(options(), shown, principal)

    @app.get("/confirm/{hold_id}", include_in_schema=False)
    async def link(hold_id: HoldId, t: str = "") -> HTMLResponse:
        # Mail scanners fetch every link they see: a GET confirms nothing.
        hold = await _linked(services, hold_id, t)
        if isinstance(hold, HTMLResponse):
            return hold
        return page(_asking(hold, t), title=_TITLE)

    @app.post("/confirm/{hold_id}", include_in_schema=False)
    async def by_link(hold_id: HoldId, request: Request) -> HTMLResponse:
        try:
            guard.same_origin(request)
        except Problem as problem:
            return _alert(problem.detail, 403)
        address = address_of(request)
        tokens = _tokens(await request.body())
        hold = await _linked(services, hold_id, tokens[0] if len(tokens) == 1 else "")
        if isinstance(hold, HTMLResponse):
            if hold.status_code == 403:
                note(services, "confirmation failed", "", address, f"link of {hold_id[:40]!a}")
            return hold
        here = await guard.identify(request)
        if here is not None and not same_person(here.name, hold.user):
            note(services, "confirmation failed", here.name, address, f"link of {hold.user}, {hold.id}")
            return _alert(f"This link is {hold.user}'s, and you are signed in as {here.name}.", 403)

        async def prove(_: Hold) -> Proof:
            return Proof(BY_LINK)

        try:
            await services.holds.confirm(hold.id, who=hold.user, by_link=True, prove=prove)
        except HoldError as error:
            return _alert(f"{str(error)[0].upper()}{str(error)[1:]}.", 409)
        note(services, "confirmed by link", hold.user, address, hold.id)
        return page(
            "<p role='status'>Thank you. Others are asked to approve it now; your session is told what they say.</p>",
            title=_TITLE,
        )


async def _confirmed(call: Awaitable[T], shown: Shown, principal: Principal) -> T:
    """What ``call`` gives, or the problem that its error is."""
    try:
        return await call
    except NotAllowed as error:
        raise Problem(403, f"Not allowed: {error}.", kind="confirmation-not-allowed") from None
    except NothingToConfirm as error:
        hold = shown(error.hold, principal).model_dump(mode="json")
        raise Problem(409, f"{error}.", kind="nothing-to-confirm", extra={"hold": hold}) from None
    except AlreadyResolved as error:
        hold = shown(error.hold, principal).model_dump(mode="json")
        raise Problem(409, f"{error}.", kind="already-resolved", extra={"hold": hold}) from None
    except StepUpFailed as error:
        raise step_up_failed(error) from None
    except NoKey as error:
        raise no_key(error) from None
    except NoPasskeysHere as error:
        raise no_passkeys_here(error) from None


async def _linked(services: Services, hold_id: str, token: str) -> Hold | HTMLResponse:
    """The hold that a link confirms, or the page that says why it does not."""
    key = services.config().store.key
    hold: Hold | None = None
    if _ID.fullmatch(hold_id):
        try:
            hold = await services.holds.get(hold_id)
        except HoldNotFound:
            hold = None
    if hold is None or key is None or not is_link_of(hold, token, key):
        # Of a hold that is not there as of a wrong signature: whoever guesses learns nothing.
        return _alert("This link is not good. Was it copied in full?", 403)
    try:
        check_confirmable(hold, hold.user, by_link=True)
    except HoldError as error:
        return _alert(f"{str(error)[0].upper()}{str(error)[1:]}. Nothing was changed.", 409)
    if hold.expires_at <= services.clock.now():
        return _alert(f"{hold.id} is expired. Nothing was changed.", 409)
    return hold


def _asking(hold: Hold, token: str) -> str:
    def text(value: str) -> str:
        return escape(visible(value))

    values = "".join(
        f"<li>{'NULL' if value is None else text(value)}</li>" for value in hold.parameters or ()
    )
    origin = ", ".join(filter(None, (hold.client_addr or "this machine", hold.application_name)))
    return _ASK.format(
        user=text(hold.user),
        database=text(hold.database),
        opened=hold.opened_at.strftime("%Y-%m-%d %H:%M UTC"),
        origin=text(origin),
        sql=text(hold.sql),
        values=f'<ol class="values">{values}</ol>' if values else "",
        rule=text(hold.rule),
        reason=text(hold.reason),
        hold=hold.id,
        token=escape(token),
    )


def _alert(text: str, status: int) -> HTMLResponse:
    return page(f"<p role='alert'>{escape(visible(text))}</p>", status, title=_TITLE)


def _tokens(form: bytes) -> list[str]:
    try:
        return parse_qs(form.decode("ascii"), max_num_fields=8).get("t", [])
    except ValueError:
        return []
