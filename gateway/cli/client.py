"""The management port as a command sees it."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlsplit

import httpx

from gateway.cli.errors import USAGE, CliError
from gateway.cli.kept_tokens import kept_token
from gateway.text import one_line

__all__ = ["DEFAULT_SERVER", "Client", "ConnectionLost", "Refusal", "ServerEvent", "part", "server_of"]

DEFAULT_SERVER = "http://127.0.0.1:7433"
_SECONDS = 15.0
_SILENCE_SECONDS = 40.0
"""Event streams send a sign of life every 15 seconds."""


class ConnectionLost(Exception):
    """The stream of events ended; it can be taken up again."""


class ServerEvent:
    """One server-sent event: its id, its kind, and its data as text."""

    __slots__ = ("data", "id", "kind")

    def __init__(self, event_id: str, kind: str, data: str) -> None:
        self.id, self.kind, self.data = event_id, kind, data


class Client:
    """Talks to one management port. Every failure is a :class:`CliError` of one line.

    The token is the one of ``options``, of the environment, or the one that ``holdgate login`` kept; ``anonymous``
    sends none.
    """

    def __init__(self, options: Namespace, *, anonymous: bool = False) -> None:
        server = server_of(options)
        given = "" if anonymous else options.token or os.environ.get("HOLDGATE_TOKEN") or ""
        kept = None if anonymous or given else kept_token(server)
        token = given or kept or ""
        scheme, host = _scheme_and_host(server)
        local = _is_local(host)
        if scheme == "http" and not local:
            raise CliError(f"use https for {host}: over http anybody on the way can read the token", USAGE)
        if not token and not anonymous:
            raise CliError(
                "no token: holdgate login, or set HOLDGATE_TOKEN (holdgate token create -c FILE makes one)",
                USAGE,
            )
        if not token.isascii() or not token.isprintable():
            raise CliError("the token holds characters that no token has; copy it again", USAGE)
        self.server = server
        self._kept = kept is not None
        # A proxy of the environment has no business between a person and their own machine.
        self._http = httpx.Client(
            base_url=server,
            headers={
                "User-Agent": "holdgate-cli/1",
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
            timeout=_SECONDS,
            trust_env=not local,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The answer to a GET; parameters that are None are left out."""
        wanted = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        return self._call("GET", path, params=wanted)

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The answer to a POST."""
        return self._call("POST", path, json=body)

    def delete(self, path: str) -> None:
        """Do a DELETE."""
        self._call("DELETE", path)

    def events(self, after: str | None) -> Iterator[ServerEvent]:
        """Events as they come, from after the event ``after``. Raises :class:`ConnectionLost` at the end."""
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        timeout = httpx.Timeout(_SECONDS, read=_SILENCE_SECONDS)
        try:
            with self._http.stream("GET", "/api/v1/events", headers=headers, timeout=timeout) as response:
                if response.status_code >= 500:
                    raise ConnectionLost
                if response.status_code != 200:
                    response.read()
                    raise self._refusal(response)
                yield from _parse(response.iter_lines())
        except httpx.HTTPError as error:
            raise ConnectionLost from error
        raise ConnectionLost

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TimeoutException:
            raise CliError(f"{self.server} did not answer within {_SECONDS:.0f} s") from None
        except httpx.HTTPError as error:
            why = one_line(error) or type(error).__name__
            raise CliError(f"cannot reach {self.server}: {why}; is the gateway running?") from None
        except UnicodeEncodeError:
            raise CliError("an argument is not UTF-8 text", USAGE) from None
        if not response.is_success:
            raise self._refusal(response)
        if response.status_code == 204:
            return {}
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._stranger()
        return _Answer(answer, self._stranger)

    def _stranger(self) -> CliError:
        return CliError(
            f"{self.server} is not the management port of a gateway; set HOLDGATE_SERVER to its address"
        )

    def _refusal(self, response: httpx.Response) -> CliError:
        try:
            problem = response.json()
            detail = one_line(problem["detail"]) if isinstance(problem, dict) else ""
        except (ValueError, KeyError):
            detail = ""
        if response.status_code == 401:
            again = "; holdgate login gets a new one" if self._kept else ""
            return CliError(f"the token is not accepted: it is unknown, expired or revoked{again}")
        return Refusal(
            response,
            detail or f"{self.server} answered {response.status_code} {response.reason_phrase}",
        )


class Refusal(CliError):
    """The management port said no. ``kind`` is the problem's word for why; ``retry_after`` in seconds, 0 if unsaid."""

    def __init__(self, response: httpx.Response, text: str) -> None:
        super().__init__(text)
        try:
            problem = response.json()
        except ValueError:
            problem = None
        kind = problem.get("type") if isinstance(problem, dict) else None
        self.kind = kind.rpartition(":")[2] if isinstance(kind, str) else ""
        after = response.headers.get("retry-after", "")
        self.retry_after = int(after) if after.isascii() and after.isdecimal() and len(after) < 6 else 0


class _Answer(dict[str, Any]):
    """An answer; asking it for a member that every gateway sends finds out that this is none."""

    def __init__(self, members: dict[str, Any], stranger: Callable[[], CliError]) -> None:
        super().__init__(members)
        self._stranger = stranger

    def __missing__(self, name: str) -> NoReturn:
        raise self._stranger()


def server_of(options: Namespace) -> str:
    """The address of the management port that is meant."""
    return str(options.server or os.environ.get("HOLDGATE_SERVER") or DEFAULT_SERVER).rstrip("/")


def _scheme_and_host(server: str) -> tuple[str, str]:
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not server.isprintable() or parts.username is not None or parts.query or parts.fragment:
        raise CliError(f"--server {one_line(server)} is not an address such as {DEFAULT_SERVER}", USAGE)
    return parts.scheme, parts.hostname or ""


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def part(text: str) -> str:
    """``text`` as one part of a path."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _parse(lines: Iterator[str]) -> Iterator[ServerEvent]:
    """Server-sent events out of lines. Source: the HTML standard, "Interpreting an event stream"."""
    event_id, kind, data = "", "", ""
    for line in lines:
        if line.startswith(":"):
            continue
        if not line:
            if data:
                yield ServerEvent(event_id, kind, data)
            event_id, kind, data = "", "", ""
            continue
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
