"""The record of what somebody changes on the management port."""

from collections.abc import Mapping

from gateway.api.guard import Principal
from gateway.api.services import Services
from gateway.audit import AuditRecord, Kind

__all__ = ["record_change"]


async def record_change(
    services: Services,
    tag: str,
    principal: Principal,
    reason: str,
    *,
    session_id: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Record that ``principal`` changes something; it is on disk when this returns.

    Raises :class:`gateway.audit.AuditUnavailable`, and then nothing may be changed.
    """
    await services.audit.intent(
        AuditRecord(
            Kind.GATEWAY,
            at=services.clock.now(),
            tag=tag,
            user=principal.name,
            groups=tuple(sorted(principal.groups)),
            session_id=session_id,
            reason=reason,
            details=dict(details or {}),
        )
    )
