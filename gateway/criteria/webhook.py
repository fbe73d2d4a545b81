"""Asking a web service whether a hold may run: allow, deny, or ask people.

What it is sent is signed, so that it knows who asks; what it answers is believed only as far as it is exactly an
answer. Everything else leaves it to people.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from gateway import clock
from gateway.config import WebCheck, is_loopback
from gateway.ids import Ulids
from gateway.signing import signed_headers
from gateway.store import Hold, iso
from gateway.text import one_line
from rules import CriterionOutcome

__all__ = ["WebChecks"]

ANSWER_BYTES: Final = 16 * 1024
WHY_LENGTH: Final = 300

_ANSWERS: Final = {
    "allow": CriterionOutcome.MET,
    "ask": CriterionOutcome.UNMET,
    "deny": CriterionOutcome.DENIED,
}


class WebChecks:
    """Asks web services. What it cannot make sense of is ``unchecked``, with the reason; it raises nothing."""

    def __init__(self) -> None:
        self._ids = Ulids()
        self._contexts: dict[Path | None, ssl.SSLContext] = {}

    async def ask(self, service: WebCheck, hold: Hold) -> tuple[CriterionOutcome, str]:
        """What the service says of a hold, and why. The caller limits the time."""
        at = clock.now()
        body = json.dumps(
            {
                "type": "hold.check",
                "timestamp": iso(at),
                "data": {"check": service.name, "hold": hold.to_dict()},
            },
            separators=(",", ":"),
        ).encode()
        message_id, seconds = f"msg_{self._ids.next()}", int(at.timestamp())
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            # What arrives is as large as what is counted.
            "Accept-Encoding": "identity",
            "User-Agent": "holdgate",
            **signed_headers(service.keys, message_id, seconds, body),
        }
        answer = bytearray()
        try:
            client = await self._client(service)
            async with client, client.stream("POST", service.url, content=body, headers=headers) as response:
                status = response.status_code
                async for piece in response.aiter_raw():
                    answer += piece
                    if len(answer) > ANSWER_BYTES:
                        return _unchecked(f"its answer is larger than {ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return _unchecked(f"it cannot be asked: {_why(error)}")
        if 300 <= status < 400:
            return _unchecked(f"it answered HTTP {status}; redirects are not followed")
        if status != 200:
            return _unchecked(f"it answered HTTP {status}")
        return _read(bytes(answer))

    async def _client(self, service: WebCheck) -> httpx.AsyncClient:
        """Raises OSError, of which ``ssl.SSLError`` is one."""
        parts = urlsplit(service.url)
        context: ssl.SSLContext | bool = False
        if parts.scheme == "https":
            known = self._contexts.get(service.ca)
            if known is None:
                # Reading all authorities of a machine takes the event loop too long.
                known = await asyncio.to_thread(
                    ssl.create_default_context, cafile=None if service.ca is None else str(service.ca)
                )
                self._contexts[service.ca] = known
            context = known
        return httpx.AsyncClient(
            verify=context,
            # A proxy of the environment has no business between two programs of one machine.
            trust_env=not is_loopback(parts.hostname or ""),
            timeout=service.timeout,
            follow_redirects=False,
        )


def _read(answer: bytes) -> tuple[CriterionOutcome, str]:
    try:
        said = json.loads(answer, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return _unchecked("its answer is not JSON that says each thing once")
    decision = said.get("decision") if isinstance(said, dict) else None
    outcome = _ANSWERS.get(decision) if isinstance(decision, str) else None
    if outcome is None:
        return _unchecked("its answer has no decision that is allow, deny or ask")
    reason = said.get("reason")
    if reason is not None and not isinstance(reason, str):
        return _unchecked("the reason in its answer is not text")
    text = one_line(reason or "", WHY_LENGTH)
    if not text and outcome is not CriterionOutcome.MET:
        text = "it leaves it to people" if outcome is CriterionOutcome.UNMET else "it gives no reason"
    return outcome, text


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    """An object none of whose names stands there twice: two readers could take it for two answers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _unchecked(why: str) -> tuple[CriterionOutcome, str]:
    return CriterionOutcome.UNCHECKED, why


def _why(error: Exception) -> str:
    """In one line; the address, which may be secret, is in none of these texts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {one_line(cause.verify_message, WHY_LENGTH)}"
        cause = cause.__cause__ or cause.__context__
    return one_line(str(error) or type(error).__name__, WHY_LENGTH)
