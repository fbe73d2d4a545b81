"""Any conversation: a client that sends what it likes, a server that answers legally, a gateway in between.

Without a refusal the client must read, to the byte, what a direct connection would have said. With one, nothing
refused may run, and the conversation must go on. :mod:`tests.protocol.talk` holds what must be true.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.errors import UpstreamViolation
from protocol.frontend import Limits
from protocol.hidden import Analysis
from tests.protocol.talk import Question, Talk
from tests.support.wire import B, C, D, E, F, H, P, Q, S, c, d, f

SECONDS: Final = float(os.environ.get("HOLDGATE_FUZZ_SECONDS", "4"))
EXAMPLES: Final = int(50 * SECONDS)
"""About as many as fit into the time, which ``make fuzz`` sets."""

pytestmark = pytest.mark.timeout(60 + 10 * SECONDS)

_ALLOWED: Final = (
    "select 0",
    "select 2",
    "insert a",
    "insert b",
    "defer",
    "fail",
    "unplannable",
    "begin",
    "commit",
    "rollback",
    "copy x",
    "copy-early y",
    "copy-late z",
    "dump 2",
    "notice",
    "set UTC",
    "nonsense",
    "",
)
_STOPPED: Final = ("insert hold", "insert deny", "copy deny")
_SAVEPOINTS: Final = ("savepoint s", "rollback to savepoint s", "release savepoint s")
_READ_ONLY: Final = ("select 2 ro", "select 0 ro undo", "select 3 ro undo")
_FORBIDDEN: Final = ("insert c ro", "copy z ro", "insert d ro undo")
_QUESTIONS: Final = (
    Question((b"select 1",), [1]),
    Question((b"select 2", b"select 0"), [2, 0]),
    Question((b"select 1", b"fail", b"select 1"), [1], "22012"),
    Question((b"nonsense",), [], "42601"),
    Question((b"unplannable",), [], "22012"),
    Question((b"select 1", b"set LOCAL x", b"select 3"), [1, 0, 3], passing=True),
    Question((Analysis(b"select 1"), b"select 1"), [1]),
    Question((Analysis(b"nonsense"),), [], "42601", passing=True),
)
_NAMES = st.sampled_from(["", "s", "t"])
_VALUES = st.sampled_from([(), ("1",), (None, "2")])


def _phrases(texts: Sequence[str]) -> st.SearchStrategy[list[bytes]]:
    """What a client sends in one go."""
    text = st.sampled_from(texts)
    parse = st.builds(lambda sql, name: P(sql, name, (25,)), text, _NAMES)
    bind = st.builds(
        lambda values, portal, name: B(values, portal=portal, statement=name), _VALUES, _NAMES, _NAMES
    )
    execute = st.builds(E, _NAMES, st.sampled_from([0, 1, 2]))
    target = st.tuples(st.sampled_from("SP"), _NAMES)
    loose = st.one_of(
        parse,
        bind,
        execute,
        target.map(lambda each: D(*each)),
        target.map(lambda each: C(*each)),
        st.just(S()),
        st.just(H()),
        st.sampled_from([F(2, ()), F(3, ())]),
        st.sampled_from([d(b"data\n"), d(b""), c(), f("no")]),
    )
    return st.one_of(
        st.lists(text, min_size=1, max_size=3).map(lambda parts: [Q(";".join(parts))]),
        st.builds(
            lambda sql, values, limit, end: [P(sql), B(values), E("", limit), end],
            text,
            _VALUES,
            st.sampled_from([0, 1]),
            st.sampled_from([S(), H(), b""]),
        ),
        st.builds(
            lambda name, end: [B(statement=name), D("P"), E(), end], _NAMES, st.sampled_from([S(), H()])
        ),
        st.lists(loose, min_size=1, max_size=4),
        st.sampled_from([[d(b"data\n"), d(b"more"), c()], [c(), S()], [f("no")], [S(), c()], [d(b"x"), S()]]),
    )


class Conversation(RuleBasedStateMachine):
    """Everything is allowed."""

    phrases = _phrases(_ALLOWED)

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()

    @rule(data=st.data(), at_once=st.booleans())
    def client_sends(self, data: st.DataObject, at_once: bool) -> None:
        self.talk.client_sends(*data.draw(self.phrases))
        if at_once:
            self.talk.to_gateway(1 << 20)

    @rule(size=st.one_of(st.integers(1, 30), st.just(1 << 20)))
    def bytes_of_the_client_come_in(self, size: int) -> None:
        self.talk.to_gateway(size)

    @rule(messages=st.one_of(st.integers(1, 3), st.just(1000)))
    def the_server_works(self, messages: int) -> None:
        self.talk.server_works(messages)

    @rule(size=st.one_of(st.integers(1, 30), st.just(1 << 20)))
    def bytes_of_the_server_come_in(self, size: int) -> None:
        self.talk.to_client(size)

    @rule()
    def all_goes_its_way(self) -> None:
        self.talk.to_gateway(1 << 20)
        self.talk.server_works(1000)
        self.talk.to_client(1 << 20)

    @rule(slow=st.booleans())
    def rulings_wait(self, slow: bool) -> None:
        self.talk.slow = slow

    @rule(approve=st.booleans())
    def a_ruling_goes_on(self, approve: bool) -> None:
        self.talk.rule(approve)

    @rule()
    def a_notice_is_due(self) -> None:
        self.talk.tell()

    @invariant()
    def nothing_unruled_has_run(self) -> None:
        self.talk.check()

    def teardown(self) -> None:
        self.talk.finish()


class Asked(Conversation):
    """The gateway asks the server things of its own in between, wherever it may."""

    phrases = _phrases((*_ALLOWED, *_SAVEPOINTS))

    @initialize(chatty=st.booleans())
    def the_client_wants_to_hear_of_all(self, chatty: bool) -> None:
        self.talk.client_sends(Q("chatty" if chatty else ""))

    @rule(question=st.sampled_from(_QUESTIONS))
    def the_gateway_asks(self, question: Question) -> None:
        self.talk.ask(question)

    @rule(question=st.sampled_from(_QUESTIONS))
    def the_gateway_asks_and_gets_its_answer(self, question: Question) -> None:
        self.all_goes_its_way()
        before = self.talk.answered
        if self.talk.ask(question):
            self.all_goes_its_way()
            self.all_goes_its_way()
            assert self.talk.answered == before + 1

    @rule()
    def locks_are_released(self) -> None:
        self.talk.release_locks()


class Enclosed(Asked):
    """And some of it runs read-only, of which a client that only reads there sees nothing."""

    phrases = _phrases((*_ALLOWED, *_SAVEPOINTS, *_READ_ONLY, *_READ_ONLY))


class NarrowlyEnclosed(Enclosed):
    """The same with batches passed on before their Sync."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(Limits(batch=60, owed=2))


class AllAtOnce(Enclosed):
    """And with statements that would write where they may only read, and refusals."""

    phrases = _phrases(
        (*_ALLOWED, *_SAVEPOINTS, *_READ_ONLY, *_STOPPED, "insert c ro", "copy z ro", "insert d ro undo")
    )


class Narrow(Conversation):
    """The server may owe next to nothing, and batches are passed on before their Sync."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(Limits(batch=60, owed=2))


class Refusals(Conversation):
    """Some of it is held or denied."""

    phrases = _phrases((*_ALLOWED, *_STOPPED, *_STOPPED))


_SETTINGS = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
TestConversation = Conversation.TestCase
TestConversation.settings = _SETTINGS
TestAsked = Asked.TestCase
TestAsked.settings = _SETTINGS
TestEnclosed = Enclosed.TestCase
TestEnclosed.settings = _SETTINGS
TestNarrowlyEnclosed = NarrowlyEnclosed.TestCase
TestNarrowlyEnclosed.settings = _SETTINGS
TestAllAtOnce = AllAtOnce.TestCase
TestAllAtOnce.settings = _SETTINGS
TestNarrow = Narrow.TestCase
TestNarrow.settings = _SETTINGS
TestRefusals = Refusals.TestCase
TestRefusals.settings = _SETTINGS


# --- bytes that no client and no server sends -----------------------------------------------------------

_CONVERSATIONS = st.lists(_phrases((*_ALLOWED, *_STOPPED)), min_size=1, max_size=8)
_MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.sampled_from(["flip", "drop", "twice", "junk"]),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=5,
)


def _mutated(data: bytes, mutations: Sequence[tuple[int, str, bytes]]) -> bytes:
    for place, how, junk in mutations:
        at = place % (len(data) + 1)
        end = at + len(junk)
        if how == "flip":
            data = data[:at] + bytes(a ^ b for a, b in zip(data[at:end], junk, strict=False)) + data[end:]
        elif how == "drop":
            data = data[:at] + data[end:]
        elif how == "twice":
            data = data[:end] + data[at:]
        else:
            data = data[:at] + junk + data[at:]
    return data


@settings(max_examples=EXAMPLES, deadline=None)
@given(_CONVERSATIONS, _MUTATIONS, st.sampled_from([7, 64, 1 << 20]))
def test_mutated_bytes_of_a_client(
    phrases: list[list[bytes]], mutations: list[tuple[int, str, bytes]], size: int
) -> None:
    talk = Talk()
    talk.client_sends(_mutated(b"".join(raw for phrase in phrases for raw in phrase), mutations))
    while talk.outbox and not talk.over:
        talk.to_gateway(size)
        talk.server_works(1000)
        talk.to_client(1 << 20)
        talk.rule(True)
        talk.check()
    talk.drain()
    talk.check()


@settings(max_examples=EXAMPLES, deadline=None)
@given(_CONVERSATIONS, _MUTATIONS, st.integers(0, 10))
def test_mutated_bytes_of_a_server(
    phrases: list[list[bytes]], mutations: list[tuple[int, str, bytes]], when: int
) -> None:
    talk = Talk()
    turns = 0

    def change(piece: bytes) -> bytes:
        nonlocal turns
        turns += 1
        return _mutated(piece, mutations) if turns > when else piece

    with contextlib.suppress(UpstreamViolation):
        for phrase in phrases:
            talk.client_sends(*phrase)
            for _ in range(3):
                talk.to_gateway(1 << 20)
                talk.server_works(1000)
                talk.to_client(1 << 20, change)
                talk.rule(True)
                talk.check()
    talk.check()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_random_bytes_of_both(of_client: bytes, of_server: bytes, asked: bool) -> None:
    talk = Talk()
    if asked:
        talk.client_sends(Q("select 1"), Q("copy x"), P("select 1"), B(), E(), S())
        talk.to_gateway(1 << 20)
    talk.client_sends(of_client)
    with contextlib.suppress(UpstreamViolation):
        talk.to_gateway(1 << 20)
        talk.to_client(1 << 20, lambda piece: of_server)
    talk.check()
