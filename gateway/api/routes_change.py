"""What administrators change: sessions ended, tokens made and revoked. Each is recorded before it is done."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, Path

from gateway.api.changes import record_change
from gateway.api.guard import Guard, Principal
from gateway.api.problems import Problem
from gateway.api.schemas import TokenIn, TokenMade, TokenOut, TokensOut
from gateway.api.services import Services
from gateway.config import Role

__all__ = ["add_changing_routes"]

Name = Annotated[str, Path(max_length=64)]


def add_changing_routes(app: FastAPI, services: Services, guard: Guard) -> None:
    """Add ``DELETE /api/v1/sessions/{id}`` and ``/api/v1/tokens``."""

    @app.delete("/api/v1/sessions/{session_id}", tags=["sessions"], summary="End a session", status_code=204)
    async def kill(session_id: Name, principal: Annotated[Principal, Depends(guard)]) -> None:
        """The client reads that an administrator ended its session; what it held is abandoned."""
        if not any(session.id == session_id for session in await services.sessions.list()):
            raise Problem(404, "There is no such session.", kind="no-such-session")
        await record_change(
            services, "session killed", principal, f"session {session_id}", session_id=session_id
        )
        if not await services.sessions.kill(session_id, principal.name):
            raise Problem(404, "The session has ended by itself.", kind="no-such-session")

    @app.get("/api/v1/tokens", tags=["tokens"], summary="List tokens", dependencies=[Depends(guard)])
    async def tokens() -> TokensOut:
        """Every token, without its secret."""
        found = await services.tokens.list()
        return TokensOut(tokens=[TokenOut.model_validate(token.to_dict()) for token in found])

    @app.post("/api/v1/tokens", tags=["tokens"], summary="Make a token", status_code=201)
    async def create(body: TokenIn, principal: Annotated[Principal, Depends(guard)]) -> TokenMade:
        """The secret is in this answer and nowhere else. A token that may approve is made only by an approver
        for themself: otherwise an administrator could approve under another name."""
        if Role.APPROVER in body.roles and (
            Role.APPROVER not in principal.roles or body.user != principal.name
        ):
            raise Problem(
                403,
                "A token with the role approver can be made only by an approver, for themself; on the "
                "gateway's own machine, holdgate token create -c FILE makes any.",
                kind="role-missing",
            )
        expires = None if body.expires_seconds is None else timedelta(seconds=body.expires_seconds)
        await record_change(
            services, "token made", principal, f"for {body.user}, roles {', '.join(sorted(body.roles))}"
        )
        token, secret = await services.tokens.issue(
            body.user, frozenset(body.roles), note=body.note, expires_in=expires
        )
        return TokenMade.model_validate({**token.to_dict(), "secret": secret})

    @app.delete("/api/v1/tokens/{token_id}", tags=["tokens"], summary="Revoke a token", status_code=204)
    async def revoke(token_id: Name, principal: Annotated[Principal, Depends(guard)]) -> None:
        """It works no more from now on."""
        await record_change(services, "token revoked", principal, f"token {token_id}")
        if not await services.tokens.revoke(token_id):
            raise Problem(404, "There is no such token, or it was revoked before.", kind="no-such-token")
