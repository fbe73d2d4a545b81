"""The outbox: what was sent to whom by which channel, and what was given up."""

from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query

from gateway.api.changes import record_change
from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import MessageOut, MessagesOut
from gateway.api.services import Services
from gateway.store import MessageState

__all__ = ["add_notification_routes"]

MessageId = Annotated[str, Path(pattern="^[0-9A-Z]{26}$")]


def add_notification_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``/api/v1/notifications``."""

    @app.get(
        "/api/v1/notifications",
        tags=["notifications"],
        summary="List messages",
        dependencies=[Depends(guard)],
    )
    async def messages(
        state: Annotated[MessageState | None, Query(description="Only messages in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[
            str | None, Query(pattern="^[0-9A-Z]{1,26}$", description="`next` of the page before")
        ] = None,
    ) -> MessagesOut:
        """A page of messages, newest first. What they say is not kept."""
        found = await services.outbox.messages(state=state, limit=limit + 1, before=cursor)
        shown = [MessageOut.model_validate(one.to_dict()) for one in found[:limit]]
        return MessagesOut(messages=shown, next=shown[-1].id if len(found) > limit else None)

    @app.post(
        "/api/v1/notifications/{message_id}/retry",
        tags=["notifications"],
        summary="Send a message anew that was given up",
        status_code=204,
    )
    async def retry(message_id: MessageId, principal: Annotated[Principal, Depends(guard)]) -> None:
        """It has all of its attempts again."""
        await record_change(services, "message retried", principal, f"message {message_id}")
        if not await services.outbox.revive_message(message_id):
            raise Problem(404, "There is no such message that was given up.", kind="no-such-message")
