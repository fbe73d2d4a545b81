"""PostgreSQL's protocol spoken by hand (PostgreSQL documentation, chapter 54), for tests of the wire.

It shares no code with the product: a fault in the product's reading of the protocol must not cancel out
against the same fault here. Nothing is checked on the way out, so that a test can also send what is wrong.

Builders make the bytes of one message and are named after its letter: ``Q``, ``P``, ``B``, ``D``, ``E``,
``C``, ``S``, ``H``, ``X``, ``F``, and ``d``, ``c``, ``f`` for COPY. :class:`RawClient` sends them and reads
replies.
"""

import asyncio
import hashlib
import socket
import ssl as tls
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from scramp import ScramClient

__all__ = [
    "GSSENC_REQUEST",
    "PROTOCOL_3_0",
    "PROTOCOL_3_2",
    "SSL_REQUEST",
    "B",
    "C",
    "ConnectionClosed",
    "D",
    "E",
    "F",
    "H",
    "Message",
    "P",
    "Q",
    "RawClient",
    "S",
    "X",
    "c",
    "cancel_request",
    "d",
    "f",
    "message",
    "messages_in",
    "send_cancel",
    "startup_message",
    "tags",
]

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST = struct.pack("!ii", 8, 80877104)
_LIMIT = 1 << 26
_PATIENCE = 20.0


# --- what a client sends --------------------------------------------------------------------------------


def message(tag: str, payload: bytes = b"") -> bytes:
    """One message with the right length."""
    return tag.encode("ascii") + struct.pack("!i", len(payload) + 4) + payload


def Q(sql: str | bytes) -> bytes:
    """Query."""
    return message("Q", _string(sql))


def P(sql: str | bytes, name: str = "", types: Sequence[int] = ()) -> bytes:
    """Parse, with the parameter types as OIDs (0: let the server infer)."""
    return message("P", _string(name) + _string(sql) + struct.pack(f"!h{len(types)}I", len(types), *types))


def B(
    parameters: Sequence[bytes | str | None] = (),
    *,
    portal: str = "",
    statement: str = "",
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
) -> bytes:
    """Bind; a ``str`` parameter is sent as UTF-8, None as NULL."""
    values = b""
    for parameter in parameters:
        raw = parameter.encode() if isinstance(parameter, str) else parameter
        values += struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw
    return message(
        "B",
        _string(portal)
        + _string(statement)
        + struct.pack(f"!h{len(formats)}h", len(formats), *formats)
        + struct.pack("!H", len(parameters))
        + values
        + struct.pack(f"!h{len(results)}h", len(results), *results),
    )


def D(kind: str, name: str = "") -> bytes:
    """Describe: ``S`` a statement, ``P`` a portal."""
    return message("D", kind.encode("ascii") + _string(name))


def E(portal: str = "", rows: int = 0) -> bytes:
    """Execute; 0 rows means all."""
    return message("E", _string(portal) + struct.pack("!i", rows))


def C(kind: str, name: str = "") -> bytes:
    """Close: ``S`` a statement, ``P`` a portal."""
    return message("C", kind.encode("ascii") + _string(name))


def S() -> bytes:
    """Sync."""
    return message("S")


def H() -> bytes:
    """Flush."""
    return message("H")


def X() -> bytes:
    """Terminate."""
    return message("X")


def F(
    oid: int, arguments: Sequence[bytes | None], *, formats: Sequence[int] = (1,), result: int = 1
) -> bytes:
    """FunctionCall."""
    values = b"".join(
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        for value in arguments
    )
    return message(
        "F",
        struct.pack(f"!Ih{len(formats)}h", oid, len(formats), *formats)
        + struct.pack("!h", len(arguments))
        + values
        + struct.pack("!h", result),
    )


def d(data: bytes) -> bytes:
    """CopyData."""
    return message("d", data)


def c() -> bytes:
    """CopyDone."""
    return message("c")


def f(reason: str = "") -> bytes:
    """CopyFail."""
    return message("f", _string(reason))


def startup_message(version: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    """StartupMessage; ``user`` and ``database`` are parameters like the others."""
    body = struct.pack("!i", version)
    for name, value in parameters.items():
        body += _string(name) + _string(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def cancel_request(pid: int, secret: bytes) -> bytes:
    """CancelRequest, sent on a connection of its own."""
    return struct.pack("!iii", 12 + len(secret), 80877102, pid) + secret


def _string(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


# --- what a server answers ------------------------------------------------------------------------------


class ConnectionClosed(Exception):
    """The server closed the connection; ``rest`` holds the bytes of an unfinished message."""

    def __init__(self, rest: bytes = b"") -> None:
        super().__init__(f"closed with {len(rest)} bytes of an unfinished message")
        self.rest = rest


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a server."""

    tag: str
    payload: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse by their letter: S, V, C, M, D, H, ..."""
        assert self.tag in "EN", f"{self.tag} has no such fields"
        return {part[:1].decode(): part[1:].decode() for part in self.payload.split(b"\0") if part}

    @property
    def sqlstate(self) -> str:
        """The SQLSTATE of an ErrorResponse or NoticeResponse."""
        return self.fields["C"]

    @property
    def text(self) -> str:
        """The first string of the payload: the tag of a CommandComplete, the name of a ParameterStatus."""
        return self.payload.split(b"\0", 1)[0].decode()

    @property
    def values(self) -> list[bytes | None]:
        """The columns of a DataRow."""
        assert self.tag == "D", f"{self.tag} is no DataRow"
        (count,) = struct.unpack_from("!H", self.payload)
        position, columns = 2, list[bytes | None]()
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.payload, position)
            position += 4
            columns.append(None if size < 0 else self.payload[position : position + size])
            position += max(size, 0)
        assert position == len(self.payload), "a DataRow with bytes left over"
        return columns


def messages_in(data: bytes) -> Iterator[Message]:
    """The messages in ``data``, which ends with one."""
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("!i", data, position + 1)
        yield Message(chr(data[position]), data[position + 5 : position + 1 + length])
        position += 1 + length
    assert position == len(data), "the last message is cut off"


def tags(messages: Iterable[Message]) -> str:
    """The letters of ``messages`` in order, such as ``TDCZ``."""
    return "".join(each.tag for each in messages)


class RawClient:
    """One connection. Messages in, messages out, nothing interpreted beyond the login.

    After :meth:`connect` (which logs in) ``greeting`` holds every message up to the first ReadyForQuery,
    ``parameters`` the reported settings, ``pid`` and ``secret`` the cancel key, ``status`` the last
    transaction status. With ``login=False`` nothing is sent, and :meth:`login` may be called later.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting: list[Message] = []
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.secret = b""
        self.status = ""

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        login: bool = True,
        user: str = "postgres",
        database: str = "postgres",
        password: str | None = None,
        version: int = PROTOCOL_3_0,
        context: tls.SSLContext | None = None,
        direct_tls: bool = False,
        **parameters: str,
    ) -> Self:
        """Connect and, unless told not to, log in. ``context`` asks for TLS, by SSLRequest or at once."""
        if host.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}", limit=_LIMIT)
        else:
            reader, writer = await asyncio.open_connection(
                host, port, limit=_LIMIT, ssl=context if direct_tls else None
            )
        client = cls(reader, writer)
        try:
            if context is not None and not direct_tls:
                await client.start_tls(context, host)
            if login:
                await client.login(user, database, password=password, version=version, **parameters)
        except BaseException:
            client.abort()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- out ----------------------------------------------------------------------------------------------

    async def send(self, *messages: bytes) -> None:
        """Write everything at once."""
        self.writer.write(b"".join(messages))
        await self.writer.drain()

    async def send_bytewise(self, data: bytes, size: int = 1) -> None:
        """Write ``data`` in pieces of ``size`` bytes, letting the event loop run between two pieces."""
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    def end_of_input(self) -> None:
        """Say that nothing more will be sent, and keep reading (a half-closed connection)."""
        self.writer.write_eof()

    # --- in -----------------------------------------------------------------------------------------------

    async def read(self, patience: float = _PATIENCE) -> Message:
        """The next message. Raises :class:`ConnectionClosed` at the end, TimeoutError after ``patience``."""
        async with asyncio.timeout(patience):
            try:
                header = await self.reader.readexactly(5)
                (size,) = struct.unpack_from("!i", header, 1)
                assert size >= 4, f"a message {header[:1]!r} of length {size}"
                payload = await self.reader.readexactly(size - 4)
            except asyncio.IncompleteReadError as error:
                raise ConnectionClosed(error.partial) from None
            except ConnectionError:
                raise ConnectionClosed from None
        received = Message(header[:1].decode("latin-1"), payload)
        self._note(received)
        return received

    async def read_until(self, *last: str, patience: float = _PATIENCE) -> list[Message]:
        """Every message up to and including the first whose tag is one of ``last``."""
        received = [await self.read(patience)]
        while received[-1].tag not in last:
            received.append(await self.read(patience))
        return received

    async def read_to_end(self, patience: float = _PATIENCE) -> list[Message]:
        """Every message until the server closes; :class:`ConnectionClosed` if it does so inside one."""
        received: list[Message] = []
        while True:
            try:
                received.append(await self.read(patience))
            except ConnectionClosed as closed:
                if closed.rest:
                    raise
                return received

    async def silent(self, seconds: float) -> bool:
        """Whether the server says nothing for so long (and leaves what comes later unread)."""
        try:
            async with asyncio.timeout(seconds):
                received = await self.reader.readexactly(1)
        except TimeoutError:
            return True
        except asyncio.IncompleteReadError:
            return False
        raise AssertionError(f"the server spoke: {received!r} {(await self._rest())!r}")

    async def query(self, sql: str | bytes) -> list[Message]:
        """Send a Query and read to its ReadyForQuery."""
        await self.send(Q(sql))
        return await self.read_until("Z")

    async def exchange(self, *messages: bytes) -> list[Message]:
        """Send everything at once and read to the next ReadyForQuery."""
        await self.send(*messages)
        return await self.read_until("Z")

    # --- login and end ------------------------------------------------------------------------------------

    async def start_tls(self, context: tls.SSLContext, host: str) -> None:
        """SSLRequest, then the handshake. Raises AssertionError when the server does not want TLS."""
        await self.send(SSL_REQUEST)
        answer = await self.reader.readexactly(1)
        assert answer == b"S", f"the server answered {answer!r} to SSLRequest"
        await self.writer.start_tls(context, server_hostname=host)

    async def login(
        self,
        user: str,
        database: str,
        *,
        password: str | None = None,
        version: int = PROTOCOL_3_0,
        **parameters: str,
    ) -> None:
        """Send the StartupMessage, answer what is asked, read to ReadyForQuery.

        Raises AssertionError with the server's words when it refuses; ``greeting`` has the messages then too.
        """
        await self.send(startup_message(version, user=user, database=database, **parameters))
        scram: ScramClient | None = None
        while True:
            received = await self.read()
            self.greeting.append(received)
            if received.tag == "Z":
                return
            assert received.tag != "E", f"login refused: {received.fields}"
            if received.tag != "R":
                continue
            (code,) = struct.unpack_from("!i", received.payload)
            rest = received.payload[4:]
            if code == 3:
                await self.send(message("p", _string(password or "")))
            elif code == 5:
                await self.send(message("p", _string(_md5(user, password or "", rest))))
            elif code == 10:
                scram = ScramClient(["SCRAM-SHA-256"], user, password or "")
                first = scram.get_client_first().encode()
                await self.send(
                    message("p", _string("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first)
                )
            elif code == 11:
                assert scram is not None
                scram.set_server_first(rest.decode())
                await self.send(message("p", scram.get_client_final().encode()))
            elif code == 12:
                assert scram is not None
                scram.set_server_final(rest.decode())
            else:
                assert code == 0, f"authentication request {code} is not known here"

    async def close(self) -> None:
        """Terminate politely, if that is still possible."""
        if not self.writer.is_closing():
            self.writer.write(X())
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, tls.SSLError):
            pass

    def abort(self) -> None:
        """Drop the connection without a word, as a killed client does."""
        self.writer.transport.abort()

    def reset(self) -> None:
        """Drop the connection so that the other side learns at once that nobody reads any more."""
        # Without lingering, closing sends a reset.
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.abort()

    async def _rest(self) -> bytes:
        try:
            async with asyncio.timeout(0.2):
                return await self.reader.read(4096)
        except TimeoutError:
            return b""

    def _note(self, received: Message) -> None:
        if received.tag == "S":
            name, value = received.payload.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif received.tag == "K":
            (self.pid,) = struct.unpack_from("!i", received.payload)
            self.secret = received.payload[4:]
        elif received.tag == "Z":
            self.status = received.payload.decode()


async def send_cancel(host: str, port: int, pid: int, secret: bytes) -> None:
    """Send a CancelRequest and close at once, as libpq's PQcancel does after the write."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(cancel_request(pid, secret))
    writer.close()
    await writer.wait_closed()


def _md5(user: str, password: str, salt: bytes) -> str:
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()
