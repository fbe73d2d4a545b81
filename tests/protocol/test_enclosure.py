"""What is sent around a request so that it cannot write, tried on a model of the server's transactions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.enclosure import Boundary, Conduct, Enclosure, Standing, enclose
from protocol.gather import Gatherer, function_call, simple_query
from protocol.request import Delimiter, Execution, Request
from protocol.statements import SessionNames
from tests.support.wire import B, C, D, E, F, P, Q

IDLE, OPEN, FAILED = Standing(ord("I")), Standing(ord("T")), Standing(ord("E"))
LOST = Standing(None, unsynced=True)
READS = Conduct(read_only=True)
CALLS = Conduct(read_only=True, undo=True, shares=False)
WRITES = Conduct()
BEGIN = Conduct(boundary=Boundary.OPENS, shares=False)
COMMIT = Conduct(boundary=Boundary.CLOSES, shares=False)
KEEPS = Conduct(boundary=Boundary.KEEPS, shares=False)
UNKNOWN = Conduct(boundary=Boundary.UNKNOWN, shares=False)
COPIES = Conduct(shares=False, takes_data=True)
VACUUM = Conduct(shares=False)

SAVEPOINT = b'SAVEPOINT "holdgate read only"'
ON = b"SET LOCAL transaction_read_only = on"
UNDO = b'ROLLBACK TO SAVEPOINT "holdgate read only"'
RELEASE = b'RELEASE SAVEPOINT "holdgate read only"'

WORDS = {
    "reads": READS,
    "calls": CALLS,
    "writes": WRITES,
    "begin": BEGIN,
    "commit": COMMIT,
    "keeps": KEEPS,
    "unknown": UNKNOWN,
    "copies": COPIES,
    "vacuum": VACUUM,
}
"""Statements by their text, and what is known of each."""


def batch(*messages: bytes, delimiter: Delimiter = Delimiter.SYNC) -> Request:
    """A batch of these messages."""
    gatherer = Gatherer(SessionNames())
    for raw in messages:
        gatherer.add(raw[0], raw)
    return gatherer.resolve(delimiter, 0).request


def series(*words: str, delimiter: Delimiter = Delimiter.SYNC, rows: int = 0) -> Request:
    """A batch that parses, binds and executes each of these statements."""
    return batch(
        *(raw for word in words for raw in (P(word), B(), D("P"), E(rows=rows))), delimiter=delimiter
    )


def known(request: Request) -> dict[Execution, Conduct]:
    """The conduct of everything in a request."""
    return {execution: WORDS[execution.sql[0].decode()] for execution in request.executions}


def enclosed(request: Request, standing: Standing = IDLE) -> Enclosure | str:
    """What is sent around it."""
    return enclose(request, known(request), standing)


# --- by example ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "standing", "enclosure"),
    [
        ("reads", IDLE, Enclosure({0: (b"BEGIN READ ONLY",)}, {0: (b"COMMIT",)})),
        ("calls", IDLE, Enclosure({0: (b"BEGIN READ ONLY",)}, {0: (b"ROLLBACK",)})),
        ("reads", OPEN, Enclosure({0: (SAVEPOINT, ON)}, {0: (RELEASE,)})),
        ("calls", OPEN, Enclosure({0: (SAVEPOINT, ON)}, {0: (ON, UNDO, RELEASE)})),
        ("reads", FAILED, Enclosure()),
        ("writes", IDLE, Enclosure()),
        ("begin", IDLE, Enclosure()),
        ("reads", Standing(ord("I"), unsynced=True), "it follows messages without a Sync"),
        ("reads", LOST, "it follows messages without a Sync"),
        ("reads", Standing(ord("T"), unsynced=True), Enclosure({0: (SAVEPOINT, ON)}, {0: (RELEASE,)})),
        (
            "writes",
            Standing(ord("I"), unsynced=True, enclosed=True),
            "it follows a statement of the same series without a Sync",
        ),
    ],
)
def test_a_query(word: str, standing: Standing, enclosure: Enclosure | str) -> None:
    assert enclosed(simple_query(Q(word)).request, standing) == enclosure


def test_a_function_call_is_enclosed_as_a_query_is() -> None:
    request = function_call(F(1299, [])).request
    (execution,) = request.executions
    assert enclose(request, {execution: CALLS}, IDLE) == Enclosure(
        {0: (b"BEGIN READ ONLY",)}, {0: (b"ROLLBACK",)}
    )


@pytest.mark.parametrize(
    ("words", "standing", "enclosure"),
    [
        ("reads", IDLE, Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"COMMIT")),
        ("reads calls", IDLE, Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"ROLLBACK")),
        ("reads", OPEN, Enclosure({1: (SAVEPOINT, ON)}, {3: (RELEASE,)})),
        ("reads calls", OPEN, Enclosure({1: (SAVEPOINT, ON)}, {7: (UNDO, RELEASE)})),
        ("begin reads", IDLE, Enclosure({5: (SAVEPOINT, ON)}, {7: (RELEASE,)})),
        ("begin reads commit", IDLE, Enclosure({5: (SAVEPOINT, ON)}, {7: (RELEASE,)})),
        ("keeps reads", FAILED, Enclosure({5: (SAVEPOINT, ON)}, {7: (RELEASE,)})),
        ("commit reads", OPEN, "what stands in front of it in the series may leave a transaction open"),
        ("commit reads", IDLE, "what stands in front of it in the series may leave a transaction open"),
        ("begin commit reads", IDLE, "what stands in front of it in the series may leave a transaction open"),
        ("writes reads", IDLE, Enclosure({5: (b"BEGIN", SAVEPOINT, ON)}, {7: (RELEASE,)}, b"COMMIT")),
        ("reads", LOST, "it cannot be told in what transaction it would run"),
        ("writes", LOST, Enclosure()),
        (
            "reads writes calls",
            IDLE,
            Enclosure(
                {1: (b"BEGIN", SAVEPOINT, ON), 9: (SAVEPOINT, ON)},
                {3: (RELEASE,), 11: (UNDO, RELEASE)},
                b"COMMIT",
            ),
        ),
        ("writes", IDLE, Enclosure()),
        ("reads", FAILED, Enclosure()),
        ("", IDLE, Enclosure()),
        ("reads begin", IDLE, "what else is in the same series cannot be in a transaction with it"),
        ("reads vacuum", IDLE, "what else is in the same series cannot be in a transaction with it"),
        ("copies reads", OPEN, "what else is in the same series cannot be in a transaction with it"),
        ("unknown reads", IDLE, "it cannot be told in what transaction it would run"),
        ("unknown writes reads", OPEN, "it cannot be told in what transaction it would run"),
    ],
)
def test_a_series(words: str, standing: Standing, enclosure: Enclosure | str) -> None:
    assert enclosed(series(*words.split()), standing) == enclosure


BEHIND = Standing(ord("I"), unsynced=True)
INSIDE = Standing(ord("I"), unsynced=True, enclosed=True)
WITHIN = Enclosure({1: (SAVEPOINT, ON)}, {3: (RELEASE,)})
AROUND = Enclosure({1: (b"BEGIN", SAVEPOINT, ON)}, {3: (RELEASE,)}, b"COMMIT")


@pytest.mark.parametrize(
    ("words", "delimiter", "standing", "enclosure"),
    [
        ("reads", Delimiter.FLUSH, IDLE, AROUND),
        ("reads", Delimiter.SIZE, IDLE, AROUND),
        ("reads", Delimiter.FLUSH, OPEN, WITHIN),
        ("reads", Delimiter.OTHER, OPEN, WITHIN),
        ("reads", Delimiter.OTHER, IDLE, "a Query follows it without a Sync"),
        ("reads", Delimiter.SYNC, BEHIND, AROUND),
        ("reads", Delimiter.SYNC, INSIDE, WITHIN),
        ("writes", Delimiter.SYNC, INSIDE, Enclosure()),
        (
            "begin",
            Delimiter.SYNC,
            INSIDE,
            "what else is in the same series cannot be in a transaction with it",
        ),
    ],
)
def test_the_rest_of_a_series(
    words: str, delimiter: Delimiter, standing: Standing, enclosure: Enclosure | str
) -> None:
    assert enclosed(series(*words.split(), delimiter=delimiter), standing) == enclosure


def test_what_is_undone_must_end_where_it_is_undone() -> None:
    assert enclosed(series("calls", rows=5)) == Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"ROLLBACK")
    assert enclosed(series("calls", rows=5), OPEN) == Enclosure({1: (SAVEPOINT, ON)}, {3: (UNDO, RELEASE)})
    named = batch(P("calls"), B(portal="p"), E("p", 5))
    assert enclosed(named) == Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"ROLLBACK")
    assert enclosed(named, OPEN) == "it may stop at its row limit, to be continued later"
    assert enclosed(series("reads", rows=5), OPEN) == Enclosure({1: (SAVEPOINT, ON)}, {3: (RELEASE,)})
    bound = batch(P("calls"), B(portal="p"), delimiter=Delimiter.FLUSH)
    assert enclosed(bound) == "it is bound here and executed later"


def test_a_bind_and_its_execute_apart_are_enclosed_apart() -> None:
    request = batch(P("reads"), B(portal="a"), P("writes"), B(), E(), E("a"), C("P", "a"))
    assert enclosed(request, OPEN) == Enclosure(
        {1: (SAVEPOINT, ON), 5: (SAVEPOINT, ON)}, {1: (RELEASE,), 5: (RELEASE,)}
    )


def test_a_bind_of_which_nothing_is_known_changes_nothing() -> None:
    request = batch(P("reads"), B(portal="a"), P("plain"), B(portal="b"), E("a"))
    conducts = {one: READS for one in request.executions if one.sql == (b"reads",)}
    assert enclose(request, conducts, OPEN) == Enclosure({1: (SAVEPOINT, ON)}, {4: (RELEASE,)})


# --- on a model of the server ----------------------------------------------------------------------------


@dataclass
class Server:
    """Transactions as the server has them: whether the client's or anybody's is open, and what is read-only."""

    block: bool
    failed: bool = False
    levels: list[bool] = field(default_factory=list)
    """One for each subtransaction of the gateway's: whether it is read-only."""
    read_only: bool = False
    ran: list[tuple[str, bool]] = field(default_factory=list)

    def hidden(self, sql: bytes) -> None:
        if sql == b"COMMIT" or sql == b"ROLLBACK":
            # Behind a series that failed in front of it, there may be no transaction: a warning.
            assert self.failed or not self.levels, "a subtransaction is left"
            self.block = self.failed = self.read_only = False
            self.levels.clear()
            return
        assert not self.failed, "a statement of the gateway's in a failed transaction"
        match sql:
            case b"BEGIN" | b"BEGIN READ ONLY":
                assert not self.block, "a transaction is open already"
                self.block, self.read_only = True, sql.endswith(b"ONLY")
            case _ if sql == SAVEPOINT:
                assert self.block, "SAVEPOINT can only be used in transaction blocks"
                self.levels.append(False)
            case _ if sql == ON:
                self.levels[-1] = True
            case _ if sql == UNDO:
                self.levels[-1] = False
            case _:
                assert sql == RELEASE
                self.levels.pop()

    def execute(self, word: str, *, fails: bool) -> bool:
        """Whether the server goes on with the series."""
        if fails or (self.failed and word not in ("commit", "keeps")):
            self.failed = self.block
            return False
        self.ran.append((word, self.read_only or any(self.levels)))
        match WORDS[word].boundary:
            case Boundary.OPENS:
                self.block = True
            case Boundary.CLOSES:
                self.block = self.failed = False
            case Boundary.KEEPS:
                if not self.block:
                    return False
                self.failed = False
        return True


STATEMENTS = st.lists(st.sampled_from(["reads", "calls", "writes", "begin", "commit", "keeps"]), max_size=6)


@settings(max_examples=1000, deadline=None)
@given(STATEMENTS, st.sampled_from([IDLE, OPEN, FAILED]), st.booleans(), st.none() | st.integers(0, 5))
def test_what_is_to_run_read_only_does_and_nothing_else(
    words: Sequence[str], standing: Standing, apart: bool, failing: int | None
) -> None:
    if apart:
        # All bound first, then all executed: nothing can be enclosed as one.
        parts = [
            *(raw for i, word in enumerate(words) for raw in (P(word), B(portal=str(i)))),
            *(E(str(i)) for i in range(len(words))),
        ]
        request = batch(*parts)
    else:
        request = series(*words)
    plan = enclosed(request, standing)
    if isinstance(plan, str):
        return
    direct = Server(standing.status != ord("I"), standing.status == ord("E"))
    for number, word in enumerate(words):
        if not direct.execute(word, fails=number == failing):
            break
    server = Server(standing.status != ord("I"), standing.status == ord("E"))
    _play(server, request, plan, failing)
    if plan.closing:
        server.hidden(plan.closing)
    assert [word for word, _ in server.ran] == [word for word, _ in direct.ran]
    assert all(read_only is WORDS[word].read_only for word, read_only in server.ran)
    assert (server.block, server.failed) == (direct.block, direct.failed)
    assert server.levels == [] or server.failed


def _play(server: Server, request: Request, plan: Enclosure, failing: int | None) -> None:
    """Let the server read the series; it skips what is behind a failure."""
    executes = {execution.at: execution.sql[0].decode() for execution in request.executions}
    done = 0
    for index in range(len(request.messages)):
        if server.failed and index in plan.before:
            return
        for sql in plan.before.get(index, ()):
            server.hidden(sql)
        if index in executes:
            if not server.execute(executes[index], fails=done == failing):
                return
            done += 1
        for sql in plan.after.get(index, ()):
            server.hidden(sql)
