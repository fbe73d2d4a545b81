"""Posting JSON to somebody who may be slow, broken or hostile."""

import email.utils
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from gateway import clock
from gateway.config import is_loopback
from gateway.notify.sender import NotSent
from gateway.text import one_line

__all__ = ["Answer", "Poster", "retry_after", "tls_context"]

ANSWER_BYTES: Final = 64 * 1024
WHY_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the status and the beginning of the body."""

    status: int
    body: bytes

    def json(self) -> Mapping[str, Any]:
        """The body as a JSON object; an empty one where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class Poster:
    """Connections to one address. No redirect is followed: what is sent is for the address that was configured."""

    def __init__(self, url: str, ca: Path | None) -> None:
        host = urlsplit(url).hostname or ""
        self._client = httpx.AsyncClient(
            verify=tls_context(ca) if url.startswith("https:") else False,
            # A proxy of the environment has no business between two programs of one machine.
            trust_env=not is_loopback(host),
            timeout=None,  # noqa: S113 - the caller limits the whole of it
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=10.0),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer, whose status is 2xx. Raises :class:`NotSent`."""
        try:
            async with self._client.stream(
                "POST", url, content=body, headers={"User-Agent": "holdgate", **headers}
            ) as response:
                answer = bytearray()
                async for piece in response.aiter_raw():
                    answer += piece
                    if len(answer) > ANSWER_BYTES:
                        break
                status = response.status_code
                asked = response.headers.get("retry-after")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NotSent(_why(error)) from None
        if 300 <= status < 400:
            raise NotSent(f"HTTP {status}: redirects are not followed; configure the address it leads to")
        if not 200 <= status < 300:
            raise NotSent(f"HTTP {status}", retry_after=retry_after(asked), final=status == 410)
        return Answer(status, bytes(answer[:ANSWER_BYTES]))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """What servers are checked with: the authorities of ``ca``, or the machine's own. Raises :class:`NotSent`."""
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise NotSent(f"the certificates in {ca} cannot be used: {one_line(error, WHY_LENGTH)}") from None


def retry_after(header: str | None) -> float | None:
    """Seconds (RFC 9110, 10.2.3: a number of them, or a date), None where it says nothing that can be read."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - clock.now()).total_seconds())


def _why(error: Exception) -> str:
    """What went wrong in one line; the address, which may be secret, is in none of these texts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {one_line(cause.verify_message, WHY_LENGTH)}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {one_line(cause.reason or 'failed', WHY_LENGTH)}"
        cause = cause.__cause__ or cause.__context__
    return one_line(str(error) or type(error).__name__, WHY_LENGTH)
