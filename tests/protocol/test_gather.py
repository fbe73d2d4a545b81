"""From messages to a request: which names stand for what, and what the server will owe for each message."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import gather
from protocol.errors import ServerError
from protocol.gather import Gatherer, Resolved
from protocol.request import Delimiter, Execution, Kind, Step
from protocol.state import Reply
from protocol.statements import Portal, PreparedStatement, SessionNames
from tests.support.wire import B, C, D, E, F, P, Q, message

SEGMENT = 7


def gathered(*raws: bytes, names: SessionNames | None = None) -> Gatherer:
    gatherer = Gatherer(names if names is not None else SessionNames())
    for raw in raws:
        gatherer.add(raw[0], raw)
    return gatherer


def resolved(*raws: bytes, names: SessionNames | None = None, until: Delimiter = Delimiter.SYNC) -> Resolved:
    return gathered(*raws, names=names).resolve(until, SEGMENT)


def told(resolution: Resolved) -> list[tuple[Step, int, int, str]]:
    """Step, place, since, and the text (or the name nobody knows) of each execution."""
    return [
        (each.step, each.at, each.since, b"".join(each.sql).decode() or f"?{each.unknown_name}")
        for each in resolution.request.executions
    ]


def known(sql: str, name: bytes = b"s", types: tuple[int, ...] = ()) -> SessionNames:
    names = SessionNames()
    names.statements.put(name, PreparedStatement(name, (sql.encode(),), types))
    return names


class TestExecutions:
    def test_parse_bind_execute(self) -> None:
        resolution = resolved(P("SELECT $1"), B(["x"]), D("P"), E("", 5))
        assert told(resolution) == [(Step.EXECUTE, 3, 1, "SELECT $1")]
        request = resolution.request
        assert (request.kind, request.delimiter, request.fault) == (Kind.BATCH, Delimiter.SYNC, None)
        assert request.messages == [P("SELECT $1"), B(["x"]), D("P"), E("", 5)]
        assert request.executions[0].row_limit == 5
        assert request.executions[0].parameters == ((0, 0, b"x"),)

    def test_each_execute_takes_what_was_bound_last(self) -> None:
        resolution = resolved(
            P("A", "a"), B(statement="a"), P("B", "b"), E(), B(statement="b"), E(), E(), C("S", "a")
        )
        assert told(resolution) == [
            (Step.EXECUTE, 3, 1, "A"),
            (Step.EXECUTE, 5, 4, "B"),
            (Step.EXECUTE, 6, 4, "B"),
        ]

    def test_portals_of_several_names(self) -> None:
        resolution = resolved(
            P("A", "a"), B(statement="a", portal="p"), P("B"), B(portal="q"), E("q"), E("p")
        )
        assert told(resolution) == [(Step.EXECUTE, 4, 3, "B"), (Step.EXECUTE, 5, 1, "A")]

    def test_a_bind_that_is_not_executed_is_judged_as_one(self) -> None:
        resolution = resolved(P("A"), B(portal="p"), B(portal="q"), E("q"))
        assert told(resolution) == [(Step.BIND, 1, 1, "A"), (Step.EXECUTE, 3, 2, "A")]

    def test_a_bind_whose_portal_is_closed_unexecuted_stays_one(self) -> None:
        resolution = resolved(P("A", "a"), B(statement="a", portal="p"), C("P", "p"), E("p"))
        assert told(resolution) == [(Step.BIND, 1, 1, "A"), (Step.EXECUTE, 3, 3, "?p")]

    def test_a_bind_that_is_bound_over_stays_one(self) -> None:
        resolution = resolved(P("A", "a"), P("B", "b"), B(statement="a"), B(statement="b"), E())
        assert told(resolution) == [(Step.BIND, 2, 2, "A"), (Step.EXECUTE, 4, 3, "B")]

    def test_closing_what_is_not_there_changes_nothing(self) -> None:
        resolution = resolved(C("P", "nosuch"), C("S", "nosuch"), D("S", "nosuch"))
        assert told(resolution) == []
        assert [each.reply for each in resolution.expected] == [
            Reply.CLOSE,
            Reply.CLOSE,
            Reply.DESCRIBE_STATEMENT,
        ]

    def test_what_was_prepared_before(self) -> None:
        resolution = resolved(B(["1"], statement="s"), E(), names=known("OLD"))
        assert told(resolution) == [(Step.EXECUTE, 1, 0, "OLD")]

    def test_what_was_bound_before(self) -> None:
        names = SessionNames()
        portal = Portal(b"p", PreparedStatement(b"s", (b"OLD", b"OLDER")), (1,), (b"x",))
        names.portals.put(b"p", portal)
        resolution = resolved(E("p"), names=names)
        assert told(resolution) == [(Step.EXECUTE, 0, 0, "OLDOLDER")]
        execution = resolution.request.executions[0]
        assert execution.portal is portal
        assert execution.sql == (b"OLD", b"OLDER"), "every text it may stand for"

    @pytest.mark.parametrize(
        ("batch", "unknown"),
        [
            ((B(statement="nosuch"), E()), (Step.EXECUTE, 1, 0, "?nosuch")),
            ((B(), E()), (Step.EXECUTE, 1, 0, "?(unnamed)")),
            ((B(statement="nosuch"),), (Step.BIND, 0, 0, "?nosuch")),
            ((B(),), (Step.BIND, 0, 0, "?(unnamed)")),
            ((E("nosuch"),), (Step.EXECUTE, 0, 0, "?nosuch")),
            ((E(),), (Step.EXECUTE, 0, 0, "?(unnamed)")),
        ],
    )
    def test_names_nobody_knows(self, batch: Sequence[bytes], unknown: tuple[Step, int, int, str]) -> None:
        assert told(resolved(*batch)) == [unknown]

    def test_types_of_parameters_are_those_of_the_parse_and_open_beyond(self) -> None:
        resolution = resolved(P("A", types=(23,)), B(["1", None, b"\xff"], formats=(0, 1, 1)), E())
        assert resolution.request.executions[0].parameters == ((23, 0, b"1"), (0, 1, None), (0, 1, b"\xff"))


class TestExpectations:
    def test_every_message_has_one(self) -> None:
        resolution = resolved(P("A"), B(), D("P"), D("S"), E(), C("P"), C("S"))
        assert [each.reply for each in resolution.expected] == [
            Reply.PARSE,
            Reply.BIND,
            Reply.DESCRIBE_PORTAL,
            Reply.DESCRIBE_STATEMENT,
            Reply.EXECUTE,
            Reply.CLOSE,
            Reply.CLOSE,
        ]
        assert resolution.expected[4].execution is resolution.request.executions[0]

    def test_changes_are_taken_back_or_confirmed(self) -> None:
        names = known("OLD")
        changes = [each.change for each in resolved(P("NEW", "s"), C("S", "s"), names=names).expected]
        assert names.statements.get(b"s") is None
        for change in reversed(changes):
            assert change is not None
            change.undo()
        old = names.statements.get(b"s")
        assert old is not None
        assert old.sql == (b"OLD",)

    def test_a_described_statement_learns_its_types(self) -> None:
        names = known("A")
        resolution = resolved(P("B", "t"), D("S", "s"), D("S", "t"), D("S", "nosuch"), names=names)
        described = [each.statement for each in resolution.expected[1:]]
        assert [each.sql if each is not None else None for each in described] == [(b"A",), (b"B",), None]


class TestSettled:
    def test_names_of_the_batch_itself_are_certain(self) -> None:
        assert gathered(P("A", "s"), B(statement="s", portal="p"), E("p")).settled(SEGMENT)
        assert gathered(C("S", "s"), D("P", "p")).settled(SEGMENT)

    @pytest.mark.parametrize("batch", [(B(statement="s"), E()), (P("A", "t"), B(statement="s"))])
    def test_a_statement_under_way_in_an_earlier_segment_is_not(self, batch: Sequence[bytes]) -> None:
        names = SessionNames()
        change = names.statements.change(b"s", None, SEGMENT - 1)
        assert not gathered(*batch, names=names).settled(SEGMENT)
        change.confirm()
        assert gathered(*batch, names=names).settled(SEGMENT)

    def test_a_portal_under_way_in_an_earlier_segment_is_not(self) -> None:
        names = SessionNames()
        names.portals.change(b"p", None, SEGMENT - 1)
        assert not gathered(E("p"), names=names).settled(SEGMENT)
        assert gathered(E("q"), names=names).settled(SEGMENT)
        assert gathered(P("A"), B(portal="p"), E("p"), names=names).settled(SEGMENT)


class TestFaults:
    @pytest.mark.parametrize(
        ("raw", "sqlstate"),
        [
            (message("P", b"\0SELECT 1\0\0"), "08P01"),
            (message("B", b"\0\0\0\0"), "08P01"),
            (message("E", b"\0"), "08P01"),
            (message("D", b"X\0"), "08P01"),
            (message("C", b""), "08P01"),
            (P("A", "n" * 64), "42622"),
            (B(statement="n" * 64), "42622"),
            (B(portal="n" * 64), "42622"),
            (E("n" * 64), "42622"),
            (D("S", "n" * 64), "42622"),
            (C("P", "n" * 64), "42622"),
            (P("A", "sü"), "0A000"),
            (E("sü"), "0A000"),
        ],
    )
    def test_a_message_that_cannot_be_forwarded(self, raw: bytes, sqlstate: str) -> None:
        gatherer = gathered(P("A"), raw, B(), E())
        assert gatherer.faulty
        fault = gatherer.resolve(Delimiter.FAULT, SEGMENT).request.fault
        assert fault is not None
        assert (fault.at, fault.error.sqlstate) == (1, sqlstate)

    def test_a_name_as_long_as_the_server_tells_apart(self) -> None:
        name = "n" * 63
        assert told(resolved(P("A", name), B(statement=name, portal=name), E(name))) == [
            (Step.EXECUTE, 2, 1, "A")
        ]

    def test_the_first_fault_counts(self) -> None:
        gatherer = gathered(P("A"))
        gatherer.fail(ServerError("54000", "first"))
        gatherer.add(ord("B"), B())
        gatherer.fail(ServerError("08P01", "second"))
        fault = gatherer.resolve(Delimiter.FAULT, SEGMENT).request.fault
        assert fault is not None
        assert (fault.at, fault.error.message) == (1, "first")

    @pytest.mark.parametrize(
        ("tag", "what"), [("Q", "statement"), ("P", "statement"), ("B", "message"), ("F", "message")]
    )
    def test_too_large(self, tag: str, what: str) -> None:
        error = gather.too_large(ord(tag), 1000)
        assert error.sqlstate == "54000"
        assert error.message == f"{what} is longer than the gateway reads (1000 bytes)"
        assert "limits." in error.hint

    def test_faults_of_whole_requests(self) -> None:
        request = gather.faulty(Kind.QUERY, ServerError("54000", "long")).request
        assert (request.kind, request.messages, request.executions) == (Kind.QUERY, [], [])
        assert request.fault is not None
        for raw, make in (
            (message("Q", b"no end"), gather.simple_query),
            (message("F", b"\0"), gather.function_call),
        ):
            resolution = make(raw)
            assert resolution.request.fault is not None
            assert resolution.request.fault.error.sqlstate == "08P01"
            assert (resolution.request.messages, resolution.expected) == ([], [])


class TestGatherer:
    def test_it_is_empty_once_it_was_resolved_or_dropped(self) -> None:
        gatherer = gathered(P("A"), B())
        assert (len(gatherer), gatherer.size) == (2, len(P("A")) + len(B()))
        gatherer.resolve(Delimiter.SYNC, SEGMENT)
        assert (len(gatherer), gatherer.size, gatherer.faulty) == (0, 0, False)
        gatherer.add(ord("P"), P("A"))
        gatherer.fail(ServerError("54000", "long"))
        gatherer.drop()
        assert (len(gatherer), gatherer.size, gatherer.faulty) == (0, 0, False)

    @pytest.mark.parametrize("tag", "PBDEC")
    def test_what_belongs_into_a_batch(self, tag: str) -> None:
        assert gather.is_extended(ord(tag))

    @pytest.mark.parametrize("tag", "QFSHXdcfp")
    def test_what_does_not(self, tag: str) -> None:
        assert not gather.is_extended(ord(tag))


class TestSingles:
    def test_a_query(self) -> None:
        resolution = gather.simple_query(Q("SELECT 1; SELECT 2"))
        assert told(resolution) == [(Step.QUERY, 0, 0, "SELECT 1; SELECT 2")]
        assert resolution.request.messages == [Q("SELECT 1; SELECT 2")]
        assert [each.reply for each in resolution.expected] == [Reply.QUERY]
        assert resolution.expected[0].execution is resolution.request.executions[0]

    def test_an_empty_query_is_one_too(self) -> None:
        assert resolved(P(""), B(), E()).request.executions[0].sql == (b"",)
        assert gather.simple_query(Q("")).request.executions[0].sql == (b"",)

    def test_a_function_call(self) -> None:
        resolution = gather.function_call(F(2000, [b"a", None], formats=(1, 0)))
        execution = resolution.request.executions[0]
        assert (execution.step, execution.function_oid) == (Step.FUNCTION_CALL, 2000)
        assert execution.parameters == ((0, 1, b"a"), (0, 0, None))
        assert [each.reply for each in resolution.expected] == [Reply.FUNCTION_CALL]


NAMES = st.sampled_from(["", "s", "t"])
MESSAGES = st.one_of(
    st.tuples(st.sampled_from("ABC"), NAMES).map(lambda each: P(*each)),
    st.tuples(NAMES, NAMES).map(lambda each: B(portal=each[0], statement=each[1])),
    NAMES.map(E),
    st.tuples(st.sampled_from("SP"), NAMES).map(lambda each: C(*each)),
    st.tuples(st.sampled_from("SP"), NAMES).map(lambda each: D(*each)),
)


@given(st.lists(MESSAGES, max_size=12))
def test_every_execute_and_every_bind_is_judged_by_what_the_server_would_run(batch: list[bytes]) -> None:
    """A server in one loop: its portals point at the text that was there when they were bound."""
    statements: dict[bytes, str] = {}
    portals: dict[bytes, str | None] = {}
    runs: list[tuple[int, str | None]] = []
    binds: list[int] = []
    for at, raw in enumerate(batch):
        first, _, rest = raw[5:].partition(b"\0")
        if raw[:1] == b"P":
            statements[first] = rest.partition(b"\0")[0].decode()
        elif raw[:1] == b"B":
            portals[first] = statements.get(rest.partition(b"\0")[0])
            binds.append(at)
        elif raw[:1] == b"C":
            (statements if first[:1] == b"S" else portals).pop(first[1:], None)
        elif raw[:1] == b"E":
            runs.append((at, portals.get(first)))
    resolution = resolved(*batch)
    executions: list[Execution] = resolution.request.executions
    assert [execution.at for execution in executions] == sorted(execution.at for execution in executions)
    assert [
        (each.at, each.sql[0].decode() if each.sql else None)
        for each in executions
        if each.step is Step.EXECUTE
    ] == runs
    judged = {each.at for each in executions if each.step is Step.BIND} | {
        each.since for each in executions if each.step is Step.EXECUTE
    }
    assert judged >= set(binds)
    assert len(resolution.expected) == len(batch)


class TestCut:
    def test_in_two_requests(self) -> None:
        raws = (P("A", "a"), B(statement="a"), E(), P("B"), B(portal="p"), E("p"))
        front, rest = resolved(*raws).cut(3, Delimiter.CUT)
        assert told(front) == [(Step.EXECUTE, 2, 1, "A")]
        assert told(rest) == [(Step.EXECUTE, 2, 1, "B")]
        assert front.request.messages + rest.request.messages == list(raws)
        assert (front.request.delimiter, rest.request.delimiter) == (Delimiter.CUT, Delimiter.SYNC)
        assert [each.reply for each in front.expected] == [Reply.PARSE, Reply.BIND, Reply.EXECUTE]
        assert [each.reply for each in rest.expected] == [Reply.PARSE, Reply.BIND, Reply.EXECUTE]

    def test_what_is_bound_in_front_has_begun(self) -> None:
        _, rest = resolved(P("A", "a"), B(portal="p", statement="a"), B(statement="a"), E(), E("p")).cut(
            4, Delimiter.CUT
        )
        assert told(rest) == [(Step.EXECUTE, 0, 0, "A")]

    def test_a_fault_stays_where_it_is(self) -> None:
        gatherer = gathered(P("A"), B(), E())
        gatherer.fail(ServerError("54000", "too large"))
        front, rest = gatherer.resolve(Delimiter.FAULT, SEGMENT).cut(2, Delimiter.BORDER)
        assert front.request.fault is None
        assert rest.request.fault is not None
        assert (rest.request.fault.at, rest.request.fault.error.sqlstate) == (1, "54000")
