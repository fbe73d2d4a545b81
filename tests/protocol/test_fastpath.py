"""The short way of the core: what it takes, what it does not, and that nobody can tell which way was taken."""

from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.connection import ProxyConnection
from protocol.events import NEED_DATA, Event, HiddenFinished, Ready, RequestReady, StatementFinished
from protocol.fastpath import bound_in, expected_answers, read_series
from protocol.frontend import Limits
from protocol.messages import decode_command_tag, decode_parse
from protocol.request import Execution, Request, Step
from protocol.statements import PreparedStatement
from tests.protocol.model import Ran
from tests.protocol.talk import Question, Talk
from tests.protocol.test_conversations import EXAMPLES, SECONDS
from tests.support import answers
from tests.support.wire import B, C, D, E, F, H, P, Q, S

pytestmark = pytest.mark.timeout(60 + 10 * SECONDS)


# --- series ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expects"),
    [
        (B(("1",), statement="s") + E() + S(), b"B"),
        (B(("1",), statement="s") + D("P") + E() + S(), b"BD"),
        (P("select 1") + B() + E() + S(), b"PB"),
        (P("select 1", types=(23,)) + B((None, "")) + D("P") + E() + S(), b"PBD"),
    ],
)
def test_series_are_read(data: bytes, expects: bytes) -> None:
    series = read_series(data)
    assert series is not None
    assert expected_answers(data) == expects
    bind = bound_in(data, series)
    assert bind is not None
    assert bind.portal == b""
    for cut in range(len(data)):
        assert read_series(data[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        Q("select 1"),
        B() + E() + H(),
        B() + E(rows=1) + S(),
        B(portal="p") + E("p") + S(),
        B() + E("p") + S(),
        B() + D("S") + E() + S(),
        B() + E() + E() + S(),
        B() + S(),
        E() + S(),
        P("select 1", "named") + B() + E() + S(),
        P("select 1") + P("select 1") + B() + E() + S(),
        P("select 1") + E() + S(),
        C("S", "s") + B() + E() + S(),
        B() + E() + S() + S(),
        B() + E() + S() + Q("select 1"),
        Q("select 1") + B() + E() + S(),
        b"B\0\0\0\5\0\0" + E() + S(),
        b"B\0\0\0\6\0x" + E() + S(),
        b"P\xff\xff\xff\xff\0" + B() + E() + S(),
        b"P\0\0\0\1\0" + B() + E() + S(),
        b"",
        b"B",
    ],
)
def test_everything_else_is_no_series(data: bytes) -> None:
    assert read_series(data) is None


def test_keys_differ_in_all_but_the_values() -> None:
    def key(data: bytes) -> bytes:
        series = read_series(data)
        assert series is not None
        return series.key

    assert key(B(("1",), statement="s") + E() + S()) == key(B(("2", None), statement="s") + E() + S())
    keys = {
        key(B(statement="s") + E() + S()),
        key(B(statement="t") + E() + S()),
        key(B(statement="s") + D("P") + E() + S()),
        key(P("select 1") + B() + E() + S()),
        key(P("select 2") + B() + E() + S()),
        key(P("select 1", types=(23,)) + B() + E() + S()),
    }
    assert len(keys) == 6


def test_a_bind_that_lies_is_none() -> None:
    data = B(("1",), statement="s") + E() + S()
    at = data.index(b"\0\0\0\1" + b"1")
    lying = data[:at] + b"\0\0\0\7" + data[at + 4 :]
    series = read_series(lying)
    assert series is not None
    assert bound_in(lying, series) is None


# --- answers -----------------------------------------------------------------------------------------------

_ROW: Final = answers.data_row(b"1")


def _sent(data: bytes) -> ProxyConnection:
    core = ProxyConnection(Limits())
    core.fast_path(lambda request: core.forward(request))
    assert core.enter_fast_path()
    core.fast_path(lambda request: core.forward(request)).sent(data)
    return core


_QUERY: Final = Q("select 1")
_SERIES: Final = P("select 1") + B() + D("P") + E() + S()
_DESCRIPTION: Final = answers.row_description("a")
_DONE: Final = answers.command_complete("SELECT 1")
_READY: Final = answers.ready("I")
_ONES: Final = answers.parse_complete() + answers.bind_complete()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (_QUERY, _DESCRIPTION + _ROW + _DONE + _READY),
        (_QUERY, _DESCRIPTION + _DONE + _READY),
        (_QUERY, answers.command_complete("INSERT 0 1") + _READY),
        (_SERIES, _ONES + _DESCRIPTION + _ROW * 3 + _DONE + _READY),
        (_SERIES, _ONES + answers.no_data() + answers.command_complete("DELETE 2") + _READY),
    ],
)
def test_plain_answers_are_taken_whole_or_not_at_all(sent: bytes, answer: bytes) -> None:
    for cut in range(len(answer)):
        core = _sent(sent)
        fast = core.fast_path(lambda request: None)
        assert fast.answered(answer[:cut], expected_answers(sent)) is None
        assert fast.entered
    taken = fast.answered(answer, expected_answers(sent))
    assert taken is not None
    assert decode_command_tag(taken[0])[0] in ("SELECT 1", "INSERT 0 1", "DELETE 2")
    assert taken[1] == len(answer) - len(_READY)
    assert fast.is_open


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (_QUERY, _ROW + answers.error("22012") + _READY),
        (_QUERY, answers.error("22012") + _READY),
        (_QUERY, answers.notice() + _DONE + _READY),
        (_QUERY, _DESCRIPTION + _ROW + answers.notice() + _DONE + _READY),
        (_QUERY, _DESCRIPTION + _DESCRIPTION + _DONE + _READY),
        (_QUERY, _DONE + _DONE + _READY),
        (_QUERY, _DONE + _READY + _READY),
        (_QUERY, _DONE + answers.ready("T")),
        (_QUERY, answers.command_complete("COMMIT") + _READY),
        (_QUERY, answers.command_complete("SELECT") + _READY),
        (_QUERY, answers.empty_query_response() + _READY),
        (_QUERY, _ONES + _DONE + _READY),
        (_QUERY, _DONE + answers.parameter_status("TimeZone", "UTC") + _READY),
        (_QUERY, _DONE + b"Z\0\0\0\6I"),
        (_QUERY, b"D\0\0\0\1" + _DONE + _READY),
        (_QUERY, b"T\0\0\0\1" + _DONE + _READY),
        (_SERIES, _DESCRIPTION + _ROW + _DONE + _READY),
        (_SERIES, _ONES + _ROW + _DONE + _READY),
        (_SERIES, answers.bind_complete() + answers.parse_complete() + _DESCRIPTION + _DONE + _READY),
        (_SERIES, _ONES + _DESCRIPTION + _ROW + answers.portal_suspended() + _READY),
        (_SERIES, b"1\0\0\0\5x" + answers.bind_complete() + _DESCRIPTION + _DONE + _READY),
    ],
)
def test_whatever_else_is_answered_is_not_taken(sent: bytes, answer: bytes) -> None:
    core = _sent(sent)
    fast = core.fast_path(lambda request: core.forward(request))
    assert fast.answered(answer, expected_answers(sent)) is None
    assert fast.entered
    assert not core.settled, "and whoever looks sees what was sent"
    assert core.data_to_upstream() == [], "which is not sent again"
    assert not fast.entered


def test_it_is_entered_only_where_nothing_at_all_is_under_way() -> None:
    core = ProxyConnection(Limits())
    core.fast_path(lambda request: None)
    assert core.enter_fast_path()
    core.receive_from_client(B(statement="s"))
    assert not core.enter_fast_path()
    assert core.next_event() is NEED_DATA
    assert not core.enter_fast_path()
    core.receive_from_client(E() + S())
    assert isinstance(core.next_event(), RequestReady)
    assert not core.enter_fast_path()


def test_it_is_not_entered_while_something_is_under_way_on_it() -> None:
    core = _sent(_QUERY)
    assert not core.enter_fast_path()
    assert not core.settled
    assert not core.enter_fast_path()


def test_a_request_longer_than_a_limit_does_not_take_it() -> None:
    assert ProxyConnection(Limits(statement=100)).fast_path(lambda request: None).longest == 100
    assert ProxyConnection(Limits()).fast_path(lambda request: None).longest == 16 << 10


def test_what_was_sent_must_be_what_would_have_been() -> None:
    core = _sent(_QUERY)
    core.fast_path(lambda request: None)
    with pytest.raises(RuntimeError, match="not what would have been sent"):
        core.settled  # noqa: B018


# --- any conversation, twice -------------------------------------------------------------------------------


class _Told(Talk):
    """Remembers what a gateway hears of."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.told: list[tuple[object, ...]] = []

    def _heard(self, event: Event) -> None:
        if isinstance(event, StatementFinished):
            one = event.execution
            what = (one.step, one.sql, one.parameters, event.index, event.tag, event.rows, event.size)
            self.told.append((*what, event.report.get("C"), event.suspended, event.skipped))
        elif isinstance(event, Ready):
            self.told.append(("ready", event.status))
        elif not isinstance(event, RequestReady | HiddenFinished):
            self.told.append((event,))


class _Hurried(_Told):
    """Takes the short way wherever it may."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.fast = self.core.fast_path(self.core.forward)
        self.taken = 0
        self._expects = b""
        self._execution: Execution | None = None
        self._parsed: PreparedStatement | None = None

    def to_gateway(self, size: int) -> None:
        piece = self.outbox[:size]
        if not self.over and self.fast.is_open and len(piece) <= self.fast.longest and self._takes(piece):
            self.outbox = self.outbox[size:]
            self._sent += piece
            self._upstream += piece
            self.fast.sent(piece)
            self.server.receive(piece)
            return
        super().to_gateway(size)
        self._enter()

    def to_client(self, size: int, change: object = None) -> None:
        if not self.fast.entered or self.fast.is_open:
            super().to_client(size)
            self._enter()
            return
        piece = self.server.output(size)
        taken = self.fast.answered(piece, self._expects, self._parsed) if piece else None
        if taken is None:
            if piece:
                self.core.receive_from_upstream(piece)
                self._pump()
                self._enter()
            return
        self.taken += 1
        self._received += piece
        one, (tag, rows) = self._execution, decode_command_tag(taken[0])
        assert one is not None
        self.told.append((one.step, one.sql, one.parameters, 0, tag, rows, taken[1], None, False, False))
        self.told.append(("ready", self.core._whole.status))

    def rule(self, approve: bool) -> None:
        super().rule(approve)
        self._enter()

    def _enter(self) -> None:
        if not self.over and not self.slow:
            self.core.enter_fast_path()

    def _takes(self, piece: bytes) -> bool:
        self._parsed = None
        if piece[:1] == b"Q" and len(piece) == 1 + int.from_bytes(piece[1:5], "big"):
            text = piece[5:-1]
            self._execution = Execution(Step.QUERY, 0, 0, sql=(text,))
            self._expects = b"Q"
            self._forwarded_if(text, piece)
            return self._plain(text)
        series = read_series(piece)
        bind = None if series is None else bound_in(piece, series)
        if series is None or bind is None or not self.fast.alone:
            return False
        if series.bind:
            parse = decode_parse(piece[: series.bind], 5)
            statement = self._parsed = PreparedStatement(b"", (parse.sql,), parse.parameter_types)
        else:
            known = self.core._names.statements.get(bind.statement)
            if known is None:
                return False
            statement = known
        types = statement.parameter_types
        parameters = tuple(
            (types[at] if at < len(types) else 0, bind.formats[at], value)
            for at, value in enumerate(bind.values)
        )
        (text,) = statement.sql
        self._execution = Execution(Step.EXECUTE, 0, 0, sql=(text,), parameters=parameters)
        self._expects = expected_answers(piece)
        self._forwarded_if(text, piece, bind.values)
        return self._plain(text)

    def _forwarded_if(
        self, text: bytes, piece: bytes, values: tuple[bytes | None, ...] | None = None
    ) -> None:
        if self._plain(text):
            ran = Ran(text.decode(), values or ())
            self._may_run.append(ran)
            if values is not None:
                self._may_bind.append(ran)
            self._forwarded.append(piece[: 1 + int.from_bytes(piece[1:5], "big")])
            rest = piece[1 + int.from_bytes(piece[1:5], "big") :]
            while rest:
                end = 1 + int.from_bytes(rest[1:5], "big")
                self._forwarded.append(rest[:end])
                rest = rest[end:]

    @staticmethod
    def _plain(text: bytes) -> bool:
        """What a judge would have kept, and a session finds as it left it."""
        words = text.split()
        heads = (b"select", b"insert", b"fail", b"notice")
        return len(words) == 2 and words[0] in heads and words[1] != b"deny" and b";" not in text


_TEXTS: Final = (
    "select 0",
    "select 2",
    "insert a",
    "begin",
    "commit",
    "rollback",
    "defer",
    "notice",
    "set UTC",
)
_TEXT = st.sampled_from((*_TEXTS, "fail now", "nonsense", "copy x", "insert b;select 1", "insert deny"))
_END = st.sampled_from([S(), H()])
_PHRASE = st.one_of(
    _TEXT.map(Q),
    st.builds(
        lambda text, values: P(text) + B(values) + E() + S(), _TEXT, st.sampled_from([(), ("1", None)])
    ),
    st.builds(lambda text: P(text) + B() + D("P") + E() + S(), _TEXT),
    st.builds(lambda text, name, end: P(text, name, (25,)) + end, _TEXT, st.sampled_from(["", "s"]), _END),
    st.builds(
        lambda name, values: B(values, statement=name) + E() + S(),
        st.sampled_from(["", "s"]),
        st.just(("1",)),
    ),
    st.builds(lambda name: B(statement=name) + D("P") + E() + S(), st.sampled_from(["", "s"])),
    st.sampled_from(
        [S(), H(), E() + S(), C("S", "s") + S(), D("S", "s") + S(), B() + H(), E("", 1) + H(), F(2, ())]
    ),
)


class BothWays(RuleBasedStateMachine):
    """The same client, server and gateway twice; one gateway takes the short way."""

    def __init__(self) -> None:
        super().__init__()
        self.usual = _Told()
        self.hurried = _Hurried()

    @property
    def both(self) -> tuple[_Told, _Told]:
        return self.usual, self.hurried

    @rule(phrase=_PHRASE)
    def one_phrase(self, phrase: bytes) -> None:
        for talk in self.both:
            talk.client_sends(phrase)
            talk.to_gateway(1 << 20)
            talk.server_works(1000)
            talk.to_client(1 << 20)

    @rule(phrases=st.lists(_PHRASE, min_size=1, max_size=3), size=st.sampled_from([1 << 20, 7, 40]))
    def the_client_sends(self, phrases: list[bytes], size: int) -> None:
        for talk in self.both:
            talk.client_sends(*phrases)
            talk.to_gateway(size)

    @rule(size=st.sampled_from([1 << 20, 5, 30]))
    def bytes_of_the_client_come_in(self, size: int) -> None:
        for talk in self.both:
            talk.to_gateway(size)

    @rule(messages=st.sampled_from([1, 2, 1000]))
    def the_server_works(self, messages: int) -> None:
        for talk in self.both:
            talk.server_works(messages)

    @rule(size=st.sampled_from([1 << 20, 1 << 20, 3, 11, 40]))
    def bytes_of_the_server_come_in(self, size: int) -> None:
        for talk in self.both:
            talk.to_client(size)

    @rule()
    def the_gateway_asks(self) -> None:
        asked = [talk.ask(Question((b"select 1",), [1])) for talk in self.both]
        assert asked[0] == asked[1]

    @rule()
    def a_notice_is_due(self) -> None:
        for talk in self.both:
            talk.tell()

    @rule(approve=st.booleans())
    def a_ruling_goes_on(self, approve: bool) -> None:
        for talk in self.both:
            talk.rule(approve)

    @rule()
    def somebody_looks(self) -> None:
        self._same_state()

    @invariant()
    def nobody_can_tell(self) -> None:
        usual, hurried = self.both
        assert usual._received == hurried._received
        assert usual._upstream == hurried._upstream
        assert usual.told == hurried.told
        hurried.check()

    def teardown(self) -> None:
        for talk in self.both:
            talk.finish()
        self.nobody_can_tell()
        self._same_state()

    def _same_state(self) -> None:
        usual, hurried = (_state(talk.core) for talk in self.both)
        assert usual == hurried


def _state(core: ProxyConnection) -> tuple[object, ...]:
    """All that a core knows. Whoever looks ends the short way."""
    core.leave_fast_path()
    exchange, walker = core._whole, core._walker
    return (
        *(core.status, core.settled, core.synced, core.skipping, core.copying, core.in_transaction),
        *(core.at_client_boundary, core.buffered, core.place, core.standing, core.hiding),
        *(exchange.segment, exchange.within, exchange.unsynced, exchange.unsynced_work, exchange.unflushed),
        *(walker._base, core._replies._reported, core._replies._redact),
        [(one.reply, one.disposition, one.finished, one.unready) for one in exchange.queue._queue],
        {name: (one.sql, one.parameter_types) for name, one in core.names.statements._confirmed.items()},
        {name: (one.values, one.formats) for name, one in core.names.portals._confirmed.items()},
        sorted(core.names.statements._pending),
        sorted(core.names.portals._pending),
    )


TestBothWays = BothWays.TestCase
TestBothWays.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_short_way_is_taken_again_and_again() -> None:
    """Or the comparison above compares nothing."""
    both = BothWays()
    for _ in range(3):
        for phrase in (
            Q("select 2"),
            P("select 2") + B() + D("P") + E() + S(),
            Q("notice it"),
            Q("fail now"),
        ):
            both.one_phrase(phrase)
    both.one_phrase(P("select 2", "s") + S())
    both.one_phrase(B(("1",), statement="s") + E() + S())
    assert both.hurried.taken == 6, "all but the first, which finds nobody at rest"
    both.teardown()


def test_a_request_is_one_object_to_whom_it_is_told() -> None:
    seen: list[Request] = []
    core = ProxyConnection(Limits())

    def resumed(request: Request) -> None:
        seen.append(request)
        core.forward(request)

    fast = core.fast_path(resumed)
    assert core.enter_fast_path()
    fast.sent(_SERIES)
    assert not core.settled
    assert [request.executions[0].sql for request in seen] == [(b"select 1",)]
