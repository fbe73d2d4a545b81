"""A small HTTP server that keeps what it was sent and answers as a test says, also wrongly or not at all."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KEY", "SECRET", "Answer", "Asked", "WebService", "answering", "web_service"]

KEY = b"a key of thirty-two bytes, not 1"
SECRET = "whsec_" + base64.b64encode(KEY).decode()

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """One request: its head as it came, its headers in lower case, and its body."""

    head: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, key: bytes = KEY) -> bool:
        """Whether one of its signatures is that of the key (Standard Webhooks, "Verifying signatures")."""
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        made = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{made}" in self.headers["webhook-signature"].split(" ")


def answering(document: object, status: str = "200 OK", **headers: str) -> Answer:
    """An honest answer; bytes are sent as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join((*lines, "", "")).encode() + body)

    return answer


@dataclass
class WebService:
    """A running server. ``answer`` may be changed at any time; ``asked`` has what came, the oldest first."""

    port: int
    scheme: str
    answer: Answer = field(default_factory=lambda: answering({"decision": "allow"}))
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has come."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when whoever asked has gone before, or after, the answer."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/holdgate"

    def check(self, **changes: Any) -> dict[str, Any]:
        """An entry of ``checks`` in a configuration."""
        return {"url": self.url, "secret": SECRET, **changes}

    async def hang(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        """An answer that never comes."""
        await reader.read()
        self.left.set()

    async def reset(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The connection is torn down instead of an answer."""
        writer.transport.abort()


@contextlib.asynccontextmanager
async def web_service(context: tls.SSLContext | None = None) -> AsyncIterator[WebService]:
    """A server on a free port of 127.0.0.1, with TLS if there is a ``context`` for it."""
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            pairs = (line.partition(":") for line in head.splitlines()[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            service.asked.append(Asked(head, headers, body))
            service.arrived.set()
            await service.answer(reader, writer)
            await writer.drain()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(converse(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    service = WebService(server.sockets[0].getsockname()[1], "http" if context is None else "https")
    try:
        yield service
    finally:
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
