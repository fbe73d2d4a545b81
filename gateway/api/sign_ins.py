"""What all ways of signing in share: the page around a message, who asks from where, and the record of it."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from gateway.api.services import Services
from gateway.audit import AuditRecord, Kind

__all__ = ["address_of", "note", "page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/console.css">
</head>
<body>
<main class="narrow">
<h1>Holdgate</h1>
{content}
</main>
</body>
</html>
"""


def page(content: str, status: int = 200, *, title: str = "Holdgate: sign in") -> HTMLResponse:
    """A page of its own; ``content`` is HTML, with what comes from outside escaped."""
    return HTMLResponse(_PAGE.format(content=content, title=title), status)


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client is not None else "local"


def note(services: Services, tag: str, user: str, address: str, reason: str | None = None) -> None:
    """Record that somebody signed in or out, or tried to."""
    services.audit.append(AuditRecord(Kind.GATEWAY, tag=tag, user=user, client_addr=address, reason=reason))
