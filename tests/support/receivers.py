"""Receivers of messages on real sockets: a web server and a mail server that also do wrong if they are told to."""

import asyncio
import base64
import contextlib
import json
import ssl as tls
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal, cast

__all__ = ["HANG", "RESET", "Mail", "MailServer", "Posted", "WebServer", "mail_server", "web_server"]

HANG: Literal["hang"] = "hang"
RESET: Literal["reset"] = "reset"
Behaviour = tuple[int, Mapping[str, str], bytes] | Literal["hang", "reset"]

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Posted:
    """One request. ``headers`` have names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.body))


class _Server:
    """Connections that are served one by one, and a queue of what they brought."""

    def __init__(self) -> None:
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            # A client that gives up in the middle is what some tests are about.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, tls.SSLError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError, tls.SSLError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def _open(self, context: tls.SSLContext | None) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=context)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()


class WebServer(_Server):
    """Answers each request with the next of ``behaviours``, and with ``otherwise`` when there is none left."""

    def __init__(self, behaviours: Sequence[Behaviour], otherwise: Behaviour, scheme: str) -> None:
        super().__init__()
        self.behaviours: deque[Behaviour] = deque(behaviours)
        self.otherwise = otherwise
        self.seen: list[Posted] = []
        self._new: asyncio.Queue[Posted] = asyncio.Queue()
        self._scheme = scheme

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def next(self) -> Posted:
        """The next request that has not been asked for."""
        async with asyncio.timeout(_PATIENCE):
            return await self._new.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            posted = Posted(head[0].split()[1], headers, body)
            behaviour = self.behaviours.popleft() if self.behaviours else self.otherwise
            self.seen.append(posted)
            self._new.put_nowait(posted)
            if behaviour == HANG:
                await asyncio.Event().wait()
            if behaviour == RESET:
                writer.transport.abort()
                return
            status, more, answer = cast(tuple[int, Mapping[str, str], bytes], behaviour)
            lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(answer)}"]
            lines += [f"{name}: {value}" for name, value in more.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + answer)
            await writer.drain()


@contextlib.asynccontextmanager
async def web_server(
    *behaviours: Behaviour, otherwise: Behaviour = (200, {}, b""), context: tls.SSLContext | None = None
) -> AsyncIterator[WebServer]:
    """A web server for the length of the block."""
    server = WebServer(behaviours, otherwise, "http" if context is None else "https")
    async with server._open(context):
        yield server


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it was handed over. ``secure``: over TLS; ``login``: by whom."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    secure: bool
    login: str | None

    @property
    def text(self) -> str:
        return str(self.message.get_content()).replace("\r\n", "\n")


@dataclass
class MailServer(_Server):
    """Takes mail. ``implicit``: TLS from the beginning; with ``context`` else, STARTTLS is offered. ``refused`` are
    addresses that it does not know, ``passwords`` who may log in; ``hangs`` is a command that it does not answer."""

    context: tls.SSLContext | None
    implicit: bool
    refused: set[str] = field(default_factory=set)
    passwords: dict[str, str] = field(default_factory=dict)
    hangs: str = ""
    seen: list[Mail] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._new: asyncio.Queue[Mail] = asyncio.Queue()

    async def next(self) -> Mail:
        """The next mail that has not been asked for."""
        async with asyncio.timeout(_PATIENCE):
            return await self._new.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure, login = self.implicit, None
        sender, recipients = "", list[str]()

        def say(*lines: str) -> None:
            code = lines[0][:3]
            texts = [line[4:] if number == 0 else line for number, line in enumerate(lines)]
            marks = ["-"] * (len(texts) - 1) + [" "]
            writer.write("".join(f"{code}{m}{t}\r\n" for m, t in zip(marks, texts, strict=True)).encode())

        say("220 mail.test ready")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            word, _, rest = line.partition(" ")
            if word.upper() == self.hangs:
                await asyncio.Event().wait()
            match word.upper():
                case "EHLO":
                    offers = ["AUTH PLAIN"] if self.passwords else []
                    if self.context is not None and not secure:
                        offers.append("STARTTLS")
                    say("250 mail.test", *offers)
                case "STARTTLS":
                    say("220 go ahead")
                    await writer.drain()
                    assert self.context is not None
                    await writer.start_tls(self.context)
                    secure = True
                case "AUTH":
                    _, name, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    login = name if self.passwords.get(name) == password else None
                    say("235 welcome" if login else f"535 {password} is wrong")
                case "MAIL":
                    sender, recipients = rest.partition("<")[2].partition(">")[0], []
                    say("250 ok")
                case "RCPT":
                    address = rest.partition("<")[2].partition(">")[0]
                    known = address not in self.refused
                    recipients += [address] if known else []
                    say("250 ok" if known else "550 no such user")
                case "DATA":
                    say("354 go on")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    message = message_from_bytes(
                        content[:-3].replace(b"\r\n..", b"\r\n."), policy=policy.default
                    )
                    mail = Mail(sender, tuple(recipients), message, secure, login)
                    self.seen.append(mail)
                    self._new.put_nowait(mail)
                    say("250 taken")
                case "QUIT":
                    say("221 bye")
                    await writer.drain()
                    return
                case _:
                    say("250 ok")
            await writer.drain()


@contextlib.asynccontextmanager
async def mail_server(
    context: tls.SSLContext | None = None, *, implicit: bool = False
) -> AsyncIterator[MailServer]:
    """A mail server for the length of the block."""
    server = MailServer(context, implicit)
    async with server._open(context if implicit else None):
        yield server
