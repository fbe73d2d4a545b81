"""Who may do what on the management port: one table, nothing else decides.

A role never includes another one's powers over holds: an admin who should also approve needs the role
``approver``. Every role may look.
"""

from typing import Final

from gateway.config import Role

__all__ = ["ACCESS", "PUBLIC", "TOKEN_OR_OPEN", "allowed"]

_ANY: Final = frozenset(Role)
_APPROVER: Final = frozenset({Role.APPROVER})
_AUDIT: Final = frozenset({Role.AUDITOR, Role.ADMIN})
_REVOKER: Final = frozenset({Role.APPROVER, Role.ADMIN})
_ADMIN: Final = frozenset({Role.ADMIN})

ACCESS: Final[dict[tuple[str, str], frozenset[Role]]] = {
    ("GET", "/metrics"): _ANY,
    ("GET", "/api/v1/me"): _ANY,
    ("POST", "/api/v1/logout"): _ANY,
    ("GET", "/api/v1/holds"): _ANY,
    ("GET", "/api/v1/holds/{hold_id}"): _ANY,
    ("POST", "/api/v1/holds/{hold_id}/approve"): _APPROVER,
    ("POST", "/api/v1/holds/{hold_id}/reject"): _APPROVER,
    ("POST", "/api/v1/holds/{hold_id}/review"): _APPROVER,
    ("POST", "/api/v1/holds/{hold_id}/confirm"): _ANY,
    ("POST", "/api/v1/holds/{hold_id}/confirm/passkey"): _ANY,
    ("GET", "/api/v1/reviews"): _ANY,
    ("GET", "/api/v1/queue"): _ANY,
    ("GET", "/api/v1/grants"): _ANY,
    ("POST", "/api/v1/grants/{grant_id}/revoke"): _REVOKER,
    ("GET", "/api/v1/sessions"): _ANY,
    ("DELETE", "/api/v1/sessions/{session_id}"): _ADMIN,
    ("GET", "/api/v1/audit"): _AUDIT,
    ("POST", "/api/v1/check"): _ANY,
    ("GET", "/api/v1/events"): _ANY,
    ("GET", "/api/v1/tokens"): _ADMIN,
    ("POST", "/api/v1/tokens"): _ADMIN,
    ("DELETE", "/api/v1/tokens/{token_id}"): _ADMIN,
    ("GET", "/api/v1/me/totp"): _ANY,
    ("POST", "/api/v1/me/totp"): _ANY,
    ("POST", "/api/v1/me/totp/confirm"): _ANY,
    ("POST", "/api/v1/me/totp/remove"): _ANY,
    ("DELETE", "/api/v1/people/{person}/totp"): _ADMIN,
    ("GET", "/api/v1/me/passkeys"): _ANY,
    ("POST", "/api/v1/me/passkeys"): _ANY,
    ("POST", "/api/v1/me/passkeys/options"): _ANY,
    ("POST", "/api/v1/me/passkeys/proof"): _ANY,
    ("POST", "/api/v1/me/passkeys/{passkey}/remove"): _ANY,
    ("DELETE", "/api/v1/people/{person}/passkeys"): _ADMIN,
    ("POST", "/api/v1/holds/{hold_id}/passkey"): _APPROVER,
    ("GET", "/api/v1/notifications"): _AUDIT,
    ("POST", "/api/v1/notifications/{message_id}/retry"): _ADMIN,
    ("GET", "/api/v1/people"): _ADMIN,
    ("DELETE", "/api/v1/people/{person}"): _ADMIN,
}
"""Method and path of each guarded route, and the roles of which one is needed."""

PUBLIC: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/api/v1/login"),
        ("POST", "/api/v1/login"),
        ("POST", "/api/v1/device"),
        ("POST", "/api/v1/device/token"),
        ("GET", "/oidc/login"),
        ("GET", "/oidc/callback"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/"),
        ("GET", "/holds/{hold_id}"),
        ("GET", "/confirm/{hold_id}"),
        ("POST", "/confirm/{hold_id}"),
        ("GET", "/console/{name}"),
    }
)
"""Routes that anybody may call: health, the description of the API, signing in, the links by
which a hold is confirmed, and the page's own files."""

TOKEN_OR_OPEN: Final = ("GET", "/metrics")
"""The one guarded route that ``admin.open_metrics`` opens."""


def allowed(method: str, path: str, roles: frozenset[Role]) -> bool:
    """Whether somebody with ``roles`` may call this route. A route that is not in the table is closed."""
    needed = ACCESS.get((method, path))
    return needed is not None and not needed.isdisjoint(roles)
