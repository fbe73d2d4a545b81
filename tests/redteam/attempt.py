"""One entry sent over one connection, and all that was answered."""

import re
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.redteam.arena import STAND_IN
from tests.redteam.corpus import Entry
from tests.support.wire import ConnectionClosed, Message, Q, RawClient, c

__all__ = ["Attempt", "attempt", "personal_tokens"]

PATIENCE: Final = 20.0
"""Seconds for the answer to one message; beyond that it counts as stalled."""

_HOLD = re.compile(r"\bH-[0-9A-Z]{26}\b")
_TOKENS = {
    "e-mail": re.compile(rb"cust\d+@pii\.example"),
    "ssn": re.compile(rb"SSN-\d{6}"),
    "phone": re.compile(rb"\+1-555-\d{6}"),
    "address": re.compile(rb"\d+ (?:Main|Old) St"),
    "ip": re.compile(rb"10\.9\.\d+\.\d+"),
}
_OWN_OIDS = 16384
"""From here on OIDs are given as objects are made, so that they differ from copy to copy."""


@dataclass(slots=True)
class Attempt:
    """What came of an entry.

    ``answers`` has the parts of each message's reply that a client acts on, without what differs from session
    to session.  ``tokens`` are the distinct personal values that came out anywhere, by their kind.
    ``errors`` are the SQLSTATEs met (FATAL ones of the login included), ``holds`` the holds that were announced.
    ``broken`` says how the conversation ended before its time, if it did.
    """

    answers: list[list[tuple[object, ...]]] = field(default_factory=list)
    tokens: dict[str, set[bytes]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    broken: str = ""

    @property
    def subjects(self) -> int:
        """At least how many people's values came out: the most distinct values of any one kind."""
        return max((len(values) for values in self.tokens.values()), default=0)


async def attempt(
    entry: Entry,
    host: str,
    port: int,
    database: str,
    on_hold: Callable[[str], Awaitable[None]] | None = None,
) -> Attempt:
    """Send the entry's messages one after another and read each one's replies to the end.

    ``on_hold`` is told of each hold that a notice names, and must see to it that it ends.
    """
    made = Attempt()
    client = await RawClient.connect(host, port, login=False)
    try:
        try:
            parameters: dict[str, Any] = dict(entry.startup)
            await client.login(entry.role, database, **parameters)
        except AssertionError:
            made.errors.append(client.greeting[-1].sqlstate)
            made.broken = f"login refused: {client.greeting[-1].fields.get('M')}"
            _note_tokens(made, client.greeting)
            return made
        for message in entry.messages:
            await client.send(Q(message.replace(STAND_IN.encode(), database.encode())))
            await _answer(made, client, on_hold)
    except TimeoutError:
        made.broken = f"no answer for {PATIENCE:.0f} s"
    except (ConnectionClosed, ConnectionError):
        made.broken = "the connection was closed"
    finally:
        client.abort() if made.broken else await client.close()
    return made


async def _answer(made: Attempt, client: RawClient, on_hold: Callable[[str], Awaitable[None]] | None) -> None:
    made.answers.append([])
    while True:
        received = await client.read(PATIENCE)
        _note_tokens(made, [received])
        match received.tag:
            case "E":
                made.errors.append(received.sqlstate)
            case "C":
                made.tags.append(received.text)
            case "G":
                await client.send(c())
            case "N" if on_hold is not None:
                for hold in _HOLD.findall(received.fields.get("M", "")):
                    if hold not in made.holds:
                        made.holds.append(hold)
                        await on_hold(hold)
        if (part := _comparable(received)) is not None:
            made.answers[-1].append(part)
        if received.tag == "Z":
            return


def personal_tokens(data: bytes) -> dict[str, set[bytes]]:
    """The personal values in some bytes, by kind."""
    return {kind: found for kind, token in _TOKENS.items() if (found := set(token.findall(data)))}


def _note_tokens(made: Attempt, messages: list[Message]) -> None:
    for message in messages:
        for kind, found in personal_tokens(message.payload).items():
            made.tokens.setdefault(kind, set()).update(found)


def _comparable(message: Message) -> tuple[object, ...] | None:
    """The part of a message that two sessions have in common; None for what is asynchronous."""
    match message.tag:
        case "S":
            return None
        case "A":
            return ("A", message.payload[4:])
        case "E" | "N":
            # P, F, L and R say where in the query and in the server's source; the former must agree as well.
            return (message.tag, *(message.fields.get(name) for name in "SCMDHPW"))
        case "T":
            return ("T", *_columns(message.payload))
        case _:
            return (message.tag, message.payload)


def _columns(payload: bytes) -> list[tuple[object, ...]]:
    (count,) = struct.unpack_from("!h", payload)
    position, columns = 2, []
    for _ in range(count):
        end = payload.index(b"\0", position)
        table, number, kind, size, modifier, form = struct.unpack_from("!IhIhih", payload, end + 1)
        columns.append(
            (
                payload[position:end],
                *(oid if oid < _OWN_OIDS else "own" for oid in (table, kind)),
                number,
                size,
                modifier,
                form,
            )
        )
        position = end + 19
    return columns


def shape(answers: list[list[tuple[object, ...]]]) -> list[tuple[object, ...]]:
    """What remains the same where values are volatile: the columns and which kinds of reply each message got."""
    return [
        (tuple(part for part in answer if part[0] == "T"), frozenset(part[0] for part in answer))
        for answer in answers
    ]
