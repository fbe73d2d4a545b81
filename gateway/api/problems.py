"""Errors of the management port as RFC 9457 problem details.

Every refusal, the framework's own included, leaves as ``application/problem+json`` with ``type``, ``title``,
``status`` and ``detail``. Nothing of the inside is shown: no trace, no repeated input.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.audit import AuditUnavailable

__all__ = [
    "MEDIA_TYPE",
    "Problem",
    "http_error",
    "invalid_request",
    "problem_response",
    "send_problem",
    "unavailable",
]

MEDIA_TYPE = "application/problem+json"

_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not answer to this method.",
}


class Problem(HTTPException):
    """A request is refused with ``status``; ``detail`` tells a person what to do, ``extra`` is added."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind
        self.extra = dict(extra or {})


def problem_response(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Response:
    """The response for a problem. ``kind`` is a word that a script may compare; it stays as it is."""
    body: dict[str, object] = {
        "type": "about:blank" if kind is None else f"urn:holdgate:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    for name, value in (extra or {}).items():
        body.setdefault(name, value)
    return Response(
        json.dumps(body),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


async def send_problem(request: Request, error: Exception) -> Response:
    """Handler of :class:`Problem`."""
    assert isinstance(error, Problem)
    return problem_response(
        error.status_code, error.detail, kind=error.kind, headers=error.headers, extra=error.extra
    )


async def http_error(request: Request, error: Exception) -> Response:
    """Handler of what the framework itself refuses: unknown address, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    detail = _DETAILS.get(error.status_code, "The request could not be read.")
    return problem_response(error.status_code, detail, headers=error.headers)


async def unavailable(request: Request, error: Exception) -> Response:
    """Handler of a store that does not answer and an audit that cannot be written: nothing was done."""
    kind, what = (
        ("audit-unavailable", "This cannot be recorded now, so it was not done.")
        if isinstance(error, AuditUnavailable)
        else ("store-unavailable", "The store does not answer.")
    )
    return problem_response(503, f"{what} Try again later.", kind=kind, headers={"Retry-After": "5"})


async def invalid_request(request: Request, error: Exception) -> Response:
    """Handler of a request that does not fit its schema: 422 with every field that is wrong.

    The values are not repeated: one of them may be a password.
    """
    assert isinstance(error, RequestValidationError)
    faults: Sequence[Mapping[str, object]] = error.errors()
    errors = [{"field": _field(fault.get("loc")), "message": str(fault.get("msg", ""))} for fault in faults]
    named = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors[:3])
    return problem_response(
        422, f"The request is not valid. {named}", kind="invalid-request", extra={"errors": errors}
    )


def _field(location: object) -> str:
    if not isinstance(location, tuple | list):
        return ""
    return ".".join(str(part) for part in location if part != "body") or "body"
