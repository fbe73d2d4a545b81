"""Conversations of the core, written down: what comes in, and all that must come of it.

    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(),
        upstream(Q("SELECT 1")),
        server(row_description("a"), data_row("1"), command_complete("SELECT 1"), ready()),
        downstream(row_description("a"), data_row("1"), command_complete("SELECT 1"), ready()),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I"),
    )

``client``, ``server``, ``forward``, ``refuse``, ``hide``, ``tell``, ``release_locks`` and ``request_answers`` are
inputs, all else is what the input in front of it brings about; nothing may be left out. :func:`play` runs the script
with the bytes of every input whole, byte by byte, and cut in two at every place: the conversation must be the
same. Outputs of one input are compared channel by channel, since their order across channels is nobody's
business.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from protocol.ceiling import Ceiling
from protocol.connection import ProxyConnection
from protocol.enclosure import NOTHING_AROUND, Enclosure
from protocol.errors import FrontendViolation, ServerError, UpstreamViolation
from protocol.events import (
    NEED_DATA,
    PAUSED,
    CommitFailed,
    Event,
    HiddenFinished,
    ParameterChanged,
    Ready,
    RequestReady,
    StatementFinished,
    Terminated,
    UpstreamFatal,
    Withheld,
)
from protocol.frontend import Limits
from protocol.hidden import Analysis
from protocol.request import Execution, Request

__all__ = [
    "REFUSED",
    "asks",
    "breaks",
    "changed",
    "client",
    "commit_failed",
    "downstream",
    "ends",
    "fatal_seen",
    "finished",
    "forward",
    "hidden",
    "hide",
    "is_ready",
    "play",
    "refuse",
    "release_locks",
    "released",
    "request_answers",
    "said",
    "server",
    "tell",
    "too_many",
    "tries",
    "upstream",
    "withheld",
]

REFUSED: Final = ServerError("42501", "no")
"""What :func:`refuse` tells the client unless told otherwise."""

_Channel = Literal["up", "down", "event", "ask"]
_ORDER: Final[tuple[_Channel, ...]] = ("up", "down", "event", "ask")


@dataclass(frozen=True, slots=True)
class _Input:
    verb: Literal["client", "server", "forward", "refuse", "hide", "tell", "release_locks", "request_answers"]
    data: bytes = b""
    statements: tuple[bytes | Analysis, ...] = ()
    guarded: bool = False
    passing: bool = False
    error: ServerError = REFUSED
    at: int = 0
    redact: str = ""
    enclosure: Enclosure = NOTHING_AROUND
    most: int | None = None


@dataclass(frozen=True, slots=True)
class _Output:
    channel: _Channel
    data: bytes = b""
    text: str = ""


# --- what goes in ---------------------------------------------------------------------------------------


def client(*messages: bytes) -> _Input:
    """Bytes of the client."""
    return _Input("client", b"".join(messages))


def server(*messages: bytes) -> _Input:
    """Bytes of the server."""
    return _Input("server", b"".join(messages))


def forward(redact: str = "", enclosure: Enclosure = NOTHING_AROUND) -> _Input:
    """The request asked about last is allowed; ``redact`` is the hint under which its reports are redacted."""
    return _Input("forward", redact=redact, enclosure=enclosure)


def tries(most: int) -> _Input:
    """The request asked about last is allowed to change so many rows."""
    return _Input("forward", most=most)


def too_many(rows: int | None, most: int, *, too_long: bool = False) -> ServerError:
    """What the client of :func:`tries` is told of more rows."""
    return ServerError("54000", "too long" if too_long else f"{rows} over {most}")


def refuse(at: int = 0, error: ServerError = REFUSED) -> _Input:
    """The request asked about last is refused at its message ``at``."""
    return _Input("refuse", error=error, at=at)


def hide(*statements: str | Analysis, guarded: bool = False, passing: bool = False) -> _Input:
    """Statements of the gateway's own."""
    encoded = tuple(sql.encode() if isinstance(sql, str) else sql for sql in statements)
    return _Input("hide", statements=encoded, guarded=guarded, passing=passing)


def tell(text: str) -> _Input:
    """The gateway has a notice for the client."""
    return _Input("tell", error=ServerError("01000", text, severity="NOTICE"))


def release_locks() -> _Input:
    """The gateway is about to hold the request."""
    return _Input("release_locks")


def request_answers() -> _Input:
    """The gateway waits for what the server owes."""
    return _Input("request_answers")


# --- what comes out -------------------------------------------------------------------------------------


def upstream(*messages: bytes) -> _Output:
    """Bytes for the server."""
    return _Output("up", b"".join(messages))


def downstream(*messages: bytes) -> _Output:
    """Bytes for the client."""
    return _Output("down", b"".join(messages))


def asks(*executions: str, until: str = "", fault: str = "") -> _Output:
    """A request waits for a ruling. ``executions`` are the step and the text of each, ``until`` the name of
    the delimiter of a batch, ``fault`` the SQLSTATE of what cannot be forwarded."""
    words = ", ".join(executions), until and f"until {until}", fault and f"fault {fault}"
    return _Output("ask", text=_line("asks", *words))


def finished(
    sql: str,
    tag: str = "",
    *,
    rows: int | None = None,
    index: int = 0,
    sqlstate: str = "",
    suspended: bool = False,
    skipped: bool = False,
    undone: str = "",
) -> _Output:
    """A statement ended."""
    return _event(
        "finished",
        f"{sql}[{index}]",
        tag,
        "" if rows is None else f"{rows} rows",
        sqlstate,
        suspended and "suspended",
        skipped and "skipped",
        undone and f"undone {undone}",
    )


def is_ready(status: str, of: str = "") -> _Output:
    """The server is ready, after the Query or FunctionCall ``of``."""
    return _event("ready", status, of and f"of {of}")


def changed(name: str, value: str) -> _Output:
    """A setting was reported."""
    return _event("parameter", name, value)


def commit_failed(sqlstate: str) -> _Output:
    """The commit at a Sync failed."""
    return _event("commit failed", sqlstate)


def hidden(
    rows: Sequence[tuple[str | None, ...]] = (), tags: Sequence[str] = (), sqlstate: str = ""
) -> _Output:
    """Statements of the gateway's own ended."""
    return _event("hidden", str(list(rows)), ", ".join(tags), sqlstate)


def fatal_seen(sqlstate: str) -> _Output:
    """The server ends the session."""
    return _event("fatal", sqlstate)


def withheld(sqlstate: str, text: str) -> _Output:
    """The server reported what the client was not to read."""
    return _event("withheld", sqlstate, text)


def ends() -> _Output:
    """The client said Terminate."""
    return _event("terminated")


def breaks(who: Literal["client", "server"], text: str) -> _Output:
    """``who`` broke the protocol; nothing can follow."""
    return _event("violation", who, text)


def released(sent: bool) -> _Output:
    """What ``release_locks`` said."""
    return _event("released", str(sent))


def said(text: str) -> bytes:
    """The NoticeResponse that :func:`tell` makes."""
    return _report("N", "NOTICE", "01000", text)


def refusal(error: ServerError = REFUSED) -> bytes:
    """The ErrorResponse that :func:`refuse` makes."""
    return _report("E", error.severity, error.sqlstate, error.message)


def _report(tag: str, severity: str, sqlstate: str, text: str) -> bytes:
    fields = f"S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0".encode()
    return tag.encode() + (len(fields) + 4).to_bytes(4, "big") + fields


def _event(*parts: str | bool) -> _Output:
    return _Output("event", text=_line(*parts))


def _line(*parts: str | bool) -> str:
    return " | ".join(str(part) for part in parts if part)


# --- playing --------------------------------------------------------------------------------------------


def play(*script: _Input | _Output, limits: Limits | None = None, status: str = "I") -> None:
    """Run ``script`` in every segmentation. Raises AssertionError with the difference."""
    steps = _steps(script)
    expected = _expected(steps)
    longest = max((len(step.data) for step, _ in steps), default=0)
    for cut in (0, -1, -2, -3, -7, *range(1, min(longest, 400))):
        actual = list(_run([step for step, _ in steps], limits or Limits(), ord(status), cut))
        if actual != expected:
            difference = "\n".join(difflib.ndiff(expected, actual))
            raise AssertionError(f"with the bytes {_how(cut)}, expected (-) and actual (+):\n{difference}")


def _how(cut: int) -> str:
    if cut == 0:
        return "whole"
    return f"{-cut} at a time" if cut < 0 else f"in two pieces, the first of {cut}"


def _steps(script: tuple[_Input | _Output, ...]) -> list[tuple[_Input, list[_Output]]]:
    steps: list[tuple[_Input, list[_Output]]] = []
    for line in script:
        if isinstance(line, _Input):
            steps.append((line, []))
        else:
            steps[-1][1].append(line)
    return steps


def _expected(steps: list[tuple[_Input, list[_Output]]]) -> list[str]:
    lines: list[str] = []
    cutters = {"up": _Messages(), "down": _Messages()}
    for number, (step, outputs) in enumerate(steps):
        lines.append(f"{number}: {step.verb}")
        for channel in _ORDER:
            for output in outputs:
                if output.channel == channel and channel in ("event", "ask"):
                    lines.append(f"  {output.text}")
                elif output.channel == channel:
                    lines.extend(f"  {channel} {line}" for line in cutters[channel].feed(output.data))
    lines.extend(
        f"unfinished {channel} {cutter.rest!r}" for channel, cutter in cutters.items() if cutter.rest
    )
    return lines


def _run(steps: list[_Input], limits: Limits, status: int, cut: int) -> Iterator[str]:
    core = ProxyConnection(limits, status)
    cutters = {"up": _Messages(), "down": _Messages()}
    asked: list[Request] = []
    for number, step in enumerate(steps):
        yield f"{number}: {step.verb}"
        sent: dict[_Channel, bytearray] = {"up": bytearray(), "down": bytearray()}
        events: list[str] = []
        broken = False
        for piece in _pieces(step.data, cut):
            try:
                events.extend(_do(core, step, piece, asked))
                events.extend(_pump(core, asked))
            except FrontendViolation as violation:
                events.append(breaks("client", violation.message).text)
                broken = True
            except UpstreamViolation as violation:
                events.append(breaks("server", violation.message).text)
                broken = True
            sent["up"] += b"".join(core.data_to_upstream())
            sent["down"] += b"".join(core.data_to_client())
            if broken:
                break
        for channel, data in sent.items():
            yield from (f"  {channel} {line}" for line in cutters[channel].feed(bytes(data)))
        # A request may be asked about before or after what else happened, depending on the pieces.
        yield from (f"  {event}" for event in sorted(events, key=lambda event: event.startswith("asks")))
        if not broken:
            assert core.at_client_boundary or cutters["down"].rest, "a boundary that it does not see"
    yield from (f"unfinished {channel} {cutter.rest!r}" for channel, cutter in cutters.items() if cutter.rest)


def _pieces(data: bytes, cut: int) -> list[bytes]:
    if not data or cut == 0 or cut >= len(data):
        return [data]
    if cut > 0:
        return [data[:cut], data[cut:]]
    return [data[start : start - cut] for start in range(0, len(data), -cut)]


def _do(core: ProxyConnection, step: _Input, piece: bytes, asked: list[Request]) -> list[str]:
    if step.verb == "client":
        core.receive_from_client(piece)
    elif step.verb == "server":
        core.receive_from_upstream(piece)
    elif step.verb == "forward":
        request = asked.pop()
        ceiling = None
        if step.most is not None:
            ceiling = Ceiling(step.most, frozenset(request.executions), partial(_too_many, step.most))
        core.forward(request, redact=step.redact, enclosure=step.enclosure, ceiling=ceiling)
    elif step.verb == "refuse":
        core.refuse(asked.pop(), step.error, step.at)
    elif step.verb == "hide":
        core.hide(step.statements, guarded=step.guarded, passing=step.passing)
    elif step.verb == "tell":
        core.notice(step.error)
    elif step.verb == "release_locks":
        return [released(core.release_locks()).text]
    else:
        core.request_answers()
    return []


def _too_many(most: int, rows: int | None, too_long: bool) -> ServerError:
    return too_many(rows, most, too_long=too_long)


def _pump(core: ProxyConnection, asked: list[Request]) -> Iterator[str]:
    while (event := core.next_event()) is not NEED_DATA and event is not PAUSED:
        if isinstance(event, RequestReady):
            asked.append(event.request)
        yield _shown(event)


def _shown(event: Event) -> str:
    if isinstance(event, RequestReady):
        request = event.request
        return asks(
            *(f"{execution.step.value} {_text(execution)}" for execution in request.executions),
            until=request.delimiter.name if request.kind.name == "BATCH" else "",
            fault=request.fault.error.sqlstate if request.fault is not None else "",
        ).text
    if isinstance(event, StatementFinished):
        return finished(
            _text(event.execution),
            event.tag,
            rows=event.rows,
            index=event.index,
            sqlstate=event.report.get("C", ""),
            suspended=event.suspended,
            skipped=event.skipped,
            undone=event.undone,
        ).text
    if isinstance(event, Ready):
        return is_ready(chr(event.status), _text(event.execution) if event.execution else "").text
    if isinstance(event, ParameterChanged):
        return changed(event.name, event.value).text
    if isinstance(event, CommitFailed):
        return commit_failed(event.report["C"]).text
    if isinstance(event, HiddenFinished):
        answers = event.hidden.answers
        return hidden(
            [row for answer in answers for row in answer.rows],
            [answer.tag for answer in answers],
            event.hidden.report.get("C", ""),
        ).text
    if isinstance(event, UpstreamFatal):
        return fatal_seen(event.report.get("C", "")).text
    if isinstance(event, Withheld):
        return withheld(event.report["C"], event.report["M"]).text
    assert isinstance(event, Terminated), event
    return ends().text


def _text(execution: Execution) -> str:
    if execution.function_oid:
        return str(execution.function_oid)
    if not execution.sql:
        return f"?{execution.unknown_name}"
    return b" / ".join(execution.sql).decode()


class _Messages:
    """A channel's bytes as one line for each whole message."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        self.rest += data
        while len(self.rest) >= 5:
            end = 1 + int.from_bytes(self.rest[1:5], "big")
            if end > len(self.rest):
                return
            payload = self.rest[5:end]
            shown = repr(payload) if len(payload) < 100 else f"{payload[:40]!r}… {len(payload)} bytes"
            yield f"{self.rest[:1].decode('latin-1')} {shown}"
            self.rest = self.rest[end:]
