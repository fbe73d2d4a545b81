"""The core between a client and the model server, with the gateway's part of the work done around it.

Bytes move only when told to, so that a test decides in which order the three of them act. :meth:`Talk.check`
holds everything that must be true at any moment, :meth:`Talk.finish` what must be true at the end.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from protocol.connection import ProxyConnection
from protocol.enclosure import NOTHING_AROUND, Boundary, Conduct, Enclosure, enclose
from protocol.errors import FrontendViolation, ServerError
from protocol.events import NEED_DATA, PAUSED, Event, HiddenFinished, RequestReady
from protocol.frontend import Limits
from protocol.hidden import Analysis, Hidden, Place
from protocol.messages import OWN_NAME
from protocol.request import Execution, Request, Step
from tests.protocol.model import Effect, ModelServer, Ran
from tests.support.wire import C, P, Q, S, f

__all__ = ["Decision", "Question", "Talk"]

Decision = Literal["allow", "hold", "deny"]
_STRICTNESS: Final[tuple[Decision, ...]] = ("allow", "hold", "deny")
_NOTICE: Final = "the gateway has something to say"
_REFUSED: Final = ServerError("42501", "refused")
_OWN: Final = frozenset(
    {
        C("S", "holdgate:own"),
        P("holdgate refused this statement", "holdgate:own"),
        Q("holdgate refused this statement"),
    }
)
"""What the core sends of its own accord besides Sync and Flush."""


@dataclass(frozen=True)
class Question:
    """Statements of the gateway's own, the SQLSTATE with which they end, and how many rows each of them gives."""

    statements: tuple[bytes | Analysis, ...]
    rows: list[int]
    code: str = ""
    passing: bool = False


class Talk:
    """``slow`` makes every ruling wait, as those of a session do whose context may change."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.core = ProxyConnection(limits or Limits())
        self.server = ModelServer()
        self.over = False
        """The client broke the protocol, and both connections are gone."""
        self.slow = False
        self.refused = False
        self.differs = False
        """Something was to run read-only that writes: a direct connection would have let it."""
        self.outbox = b""
        """Bytes the client sent that have not come in."""
        self.held = False
        self._sent = b""
        self._received = b""
        self._upstream = b""
        self._forwarded: list[bytes] = []
        self._doomed: set[Effect] = set()
        self._may_run: list[Ran] = []
        self._may_bind: list[Ran] = []
        self._ruling: Generator[None, bool, None] | None = None
        self._asked: dict[Hidden, Question] = {}
        self.answered = 0
        """Questions of the gateway's own that the server has answered."""

    # --- acting -------------------------------------------------------------------------------------------

    def client_sends(self, *messages: bytes) -> None:
        """Write; the bytes are then on their way."""
        self.outbox += b"".join(messages)

    def to_gateway(self, size: int) -> None:
        """The next bytes of the client come in."""
        piece, self.outbox = self.outbox[:size], self.outbox[size:]
        if self.over or not piece:
            return
        self._sent += piece
        self.core.receive_from_client(piece)
        self._pump()

    def server_works(self, messages: int) -> None:
        """The server works on so many messages."""
        for _ in range(messages):
            if not self.server.step():
                break

    def to_client(self, size: int, change: Callable[[bytes], bytes] | None = None) -> None:
        """The next bytes of the server come in, as they are or after ``change``.

        Raises UpstreamViolation, which without a change is a legal answer taken for one.
        """
        piece = self.server.output(size)
        if change is not None:
            piece = change(piece)
        if self.over or not piece:
            return
        self.core.receive_from_upstream(piece)
        self._pump()

    def rule(self, approve: bool) -> None:
        """What waits for a ruling goes one step further; what is held is approved or rejected."""
        if self._ruling is None or self.over or self.core.hiding:
            return
        try:
            self._ruling.send(approve)
        except StopIteration:
            self._ruling = None
            self._flush()
            self._pump()
        except FrontendViolation:
            self._ruling = None
            self.over = True
        self._flush()

    def tell(self) -> None:
        """The gateway has a notice for the client."""
        if not self.over:
            self.core.notice(ServerError("01000", _NOTICE, severity="NOTICE"))
            self._flush()

    def ask(self, question: Question) -> bool:
        """The gateway asks the server something of its own, if it may here; returns whether it did."""
        place = self.core.place
        if self.over or self.core.hiding or place is Place.NOWHERE:
            return False
        if place is Place.SERIES and (question.code or question.passing):
            return False
        hidden = self.core.hide(question.statements, guarded=True, passing=question.passing)
        self._asked[hidden] = question
        self._flush()
        return True

    def release_locks(self) -> None:
        """The gateway is about to ask or to hold something, and what was only prepared should keep no locks."""
        if not self.over and not self.core.hiding:
            self.core.release_locks()
            self._flush()

    # --- the gateway --------------------------------------------------------------------------------------

    def _pump(self) -> None:
        try:
            while (event := self.core.next_event()) is not NEED_DATA and event is not PAUSED:
                self._heard(event)
                if isinstance(event, RequestReady):
                    self._request(event.request)
                elif isinstance(event, HiddenFinished):
                    self._answers(event.hidden)
        except FrontendViolation:
            self.over = True
        self._flush()

    def _heard(self, event: Event) -> None:
        """An event came; for whoever wants to know."""

    def _request(self, request: Request) -> None:
        assert self._ruling is None, "two requests at once"
        encloses = _reads_only(request) or self.core.standing.enclosed
        plain = request.fault is None and (self.core.settled or not encloses)
        if not self.slow and _judged(request)[0] == "allow" and plain and self._may_forward(request):
            self._forward(request)
            return
        self._ruling = self._rule_slowly(request)
        next(self._ruling)

    def _rule_slowly(self, request: Request) -> Generator[None, bool, None]:
        yield
        yield from self._until_settled()
        decision, at = _judged(request)
        if not self._may_forward(request):
            decision = "deny"
        if decision == "allow" and request.fault is None:
            self._forward(request)
            return
        if decision == "hold" and request.fault is None:
            if self.core.release_locks():
                self._flush()
                yield from self._until_settled()
            self.held = True
            approved = yield
            self.held = False
            if approved:
                yield from self._until_settled()
                self._forward(request)
                return
        yield from self._until_settled()
        self.refused = True
        self._note(request, at)
        self._doom(request, at)
        self.core.refuse(request, _REFUSED, at)

    def _until_settled(self) -> Generator[None, bool, None]:
        while not self.core.settled and not self.over:
            self.core.request_answers()
            self._flush()
            yield

    def _answers(self, hidden: Hidden) -> None:
        question = self._asked.pop(hidden)
        self.answered += 1
        assert hidden.report.get("C", "") == question.code
        assert [len(each.rows) for each in hidden.answers] == question.rows

    def _may_forward(self, request: Request) -> bool:
        return not isinstance(self._enclosure(request), str)

    def _enclosure(self, request: Request) -> Enclosure | str:
        standing = self.core.standing
        if not standing.enclosed and not _reads_only(request):
            return NOTHING_AROUND
        conducts = {each: _conduct(each) for each in request.executions}
        if any(each.read_only and each.boundary is not Boundary.NONE for each in conducts.values()):
            # The rules do not let a transaction begin or end in what is to run read-only.
            return "a transaction begins or ends in it"
        return enclose(request, conducts, standing)

    def _forward(self, request: Request) -> None:
        self._note(request, len(request.messages))
        enclosure = self._enclosure(request)
        assert isinstance(enclosure, Enclosure)
        self.differs = self.differs or any(_only_reads_and_would_not(each) for each in request.executions)
        self.core.forward(request, enclosure=enclosure)

    def _note(self, request: Request, count: int) -> None:
        """The first ``count`` messages of ``request`` may go to the server."""
        self._forwarded += request.messages[:count]
        binds: dict[int, Ran] = {}
        for execution in request.executions:
            self._may_run += [ran for ran in _runs(execution) if execution.at < count]
            if request.messages[execution.since][:1] == b"B" and execution.since < count:
                binds[execution.since] = next(_runs(execution, bound=True), Ran("?"))
        self._may_bind += [binds[at] for at in sorted(binds)]

    def _doom(self, request: Request, at: int) -> None:
        """Nothing of the transaction that is open may commit, unless the client's own COMMIT comes before."""
        in_front = [ran.text for each in request.executions if each.at < at for ran in _runs(each)]
        if "commit" not in in_front:
            self._doomed.update(self.server.uncommitted)

    def _flush(self) -> None:
        upstream = b"".join(self.core.data_to_upstream())
        self._upstream += upstream
        self.server.receive(upstream)
        self._received += b"".join(self.core.data_to_client())

    # --- what must be true --------------------------------------------------------------------------------

    def check(self) -> None:
        """At any moment: nothing ran, was bound or was sent that was not ruled on, in that order."""
        ran = [each for each in self.server.ran if not each.text.startswith("holdgate")]
        assert _in_order(ran, self._may_run), f"ran {ran}, allowed {self._may_run}"
        bound = self.server.bound
        assert _in_order(bound, self._may_bind), f"bound {bound}, allowed {self._may_bind}"
        sent = [
            raw
            for raw in _messages(self._upstream)
            if raw[:1] not in b"SHdcf" and raw not in _OWN and OWN_NAME not in raw
        ]
        assert _in_order(sent, _messages(self._sent)), f"sent {sent}, which the client never did"
        running = [raw for raw in sent if raw[:1] in b"QBEF"]
        assert _in_order(running, self._forwarded), f"sent {running}, forwarded {self._forwarded}"
        assert not any("deny" in each.text.split() for each in self.server.ran)
        assert not any("ro" in each.text.split() for each in self.server.committed), "it was to be read-only"
        assert not self._doomed & set(self.server.committed), "part of a transaction that was refused"

    def finish(self) -> None:
        """Let everything end: the client gives up what COPY it may be in, syncs, and asks once more."""
        self.client_sends(f("the end"), S(), Q("rollback;select 2"))
        self.drain()
        self.check()
        if self.over:
            # The server would have ended it too, unless its COPY had failed before it saw what came next, or
            # nothing like what it was asked.
            assert self.refused or not self._twin().alive or b"copy-early" in self._sent
            return
        if not self.server.alive:
            assert self._replies()[-1:] == [b"E"]
            return
        assert self.core.settled, "the server owes nothing"
        assert chr(self.core.status) == self.server.status == "I"
        assert not self.core.buffered, "something of the client was not looked at"
        assert b"".join(self._replies()).replace(b"N", b"").endswith(b"CTDDCZ"), "the conversation goes on"
        for name, text in self.server.statements.items():
            known = self.core.names.statements.get(name)
            assert known is not None, f"{name!r} is not known"
            assert known.sql == (text.encode(),)
        assert not self._asked, "a question without an answer"
        if not self.refused and not self.differs:
            twin = self._twin()
            assert _shown(self._without_notices()) == _shown(twin.output())
            assert [effect.text for effect in self.server.committed] == [
                effect.text for effect in twin.committed
            ]

    def drain(self) -> None:
        """Everything acts until nothing more happens; what is held is rejected."""
        while True:
            before = self._progress()
            self.to_gateway(len(self.outbox))
            while self.server.step():
                pass
            self.to_client(1 << 30)
            self.rule(False)
            if self._progress() == before:
                return

    def _progress(self) -> tuple[object, ...]:
        return len(self._sent), len(self._upstream), len(self._received), self._ruling, self.over, self.held

    def _twin(self) -> ModelServer:
        """A server that the client talks to directly."""
        twin = ModelServer()
        twin.receive(self._sent)
        while twin.step():
            pass
        return twin

    def _without_notices(self) -> bytes:
        return b"".join(raw for raw in _messages(self._received) if _NOTICE.encode() not in raw)

    def _replies(self) -> list[bytes]:
        return [raw[:1] for raw in _messages(self._without_notices())]


def _judged(request: Request) -> tuple[Decision, int]:
    """The strictest decision, and the first message that a refusal must not send."""
    strictest: Decision = "allow"
    stops = [len(request.messages)]
    for execution in request.executions:
        if execution.step is Step.BIND:
            continue
        decisions: list[Decision] = ["allow", *(_decision(ran.text) for ran in _runs(execution))]
        decision = max(decisions, key=_STRICTNESS.index)
        strictest = max(strictest, decision, key=_STRICTNESS.index)
        if decision != "allow":
            stops.append(execution.since)
    if request.fault is not None:
        stops.append(request.fault.at)
    return strictest, min(stops)


def _decision(text: str) -> Decision:
    words = text.split()
    return "deny" if "deny" in words else "hold" if "hold" in words else "allow"


def _reads_only(request: Request) -> bool:
    return any(_conduct(each).read_only for each in request.executions)


def _only_reads_and_would_not(execution: Execution) -> bool:
    parts = [ran.text for ran in _runs(execution, bound=True)]
    return _conduct(execution).read_only and any(not part.startswith("select ") for part in parts)


def _conduct(execution: Execution) -> Conduct:
    """What the rules would say of an execution: ``ro`` in its text wants it read-only, ``undo`` leaves nothing."""
    parts = [ran.text.split() for ran in _runs(execution, bound=True)]
    heads = {part[0] for part in parts if part}
    if not parts:
        return Conduct(boundary=Boundary.UNKNOWN, shares=False, takes_data=True)
    read_only = any("ro" in part for part in parts)
    if len(parts) > 1 and heads & _BOUNDARIES.keys():
        return Conduct(read_only, boundary=Boundary.UNKNOWN, shares=False)
    boundary = Boundary.NONE
    for part in parts:
        boundary = (
            Boundary.KEEPS if "savepoint" in part else _BOUNDARIES.get(part[0] if part else "", boundary)
        )
    return Conduct(
        read_only,
        undo=any("undo" in part for part in parts),
        boundary=boundary,
        shares=heads <= _SHARES,
        takes_data=any(head.startswith("copy") for head in heads),
    )


_BOUNDARIES: Final = {"begin": Boundary.OPENS, "commit": Boundary.CLOSES, "rollback": Boundary.CLOSES}
_SHARES: Final = frozenset({"select", "insert", "defer", "fail", "unplannable", "nonsense"})


def _runs(execution: Execution, *, bound: bool = False) -> Iterator[Ran]:
    values = tuple(value for _, _, value in execution.parameters)
    if execution.step is Step.FUNCTION_CALL:
        yield Ran(f"function {execution.function_oid}")
    elif execution.step is Step.QUERY:
        for text in execution.sql:
            yield from (Ran(part) for part in _text(text).split(";"))
    elif execution.step is Step.EXECUTE or bound:
        yield from (Ran(_text(text), values) for text in execution.sql)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _in_order(some: Iterable[object], of: Iterable[object]) -> bool:
    """Whether ``some`` is ``of`` with parts left out."""
    rest = iter(of)
    return all(any(one == other for other in rest) for one in some)


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while len(data) - at >= 5:
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        yield data[at:end]
        at = end


def _shown(data: bytes) -> list[str]:
    return [f"{raw[:1].decode()} {raw[5:]!r}" for raw in _messages(data)]
