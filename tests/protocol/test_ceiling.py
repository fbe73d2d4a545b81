"""What is held back of an answer, and what of it reaches the client; whole conversations are in test_trials."""

from protocol.ceiling import ANSWER_LIMIT, Ceiling, Finding, Trial
from protocol.errors import ServerError
from protocol.events import StatementFinished
from protocol.request import Execution, Step
from protocol.tags import BackendTag as B

COUNTED, OTHER = Execution(Step.QUERY, 0, 0), Execution(Step.QUERY, 0, 0)


def trial(most: int = 3) -> Trial:
    counted = frozenset([COUNTED])
    return Trial(Ceiling(most, counted, lambda rows, long: ServerError("54000", f"{rows} {long}")), own=False)


def ended(tag: str, rows: int, execution: Execution = COUNTED) -> StatementFinished:
    return StatementFinished(execution, 0, tag, rows, 10, {})


def test_only_changes_of_what_is_counted_count() -> None:
    one = trial()
    for event in (
        ended("SELECT 9", 9),
        ended("INSERT 0 9", 9),
        ended("DELETE 9", 9, OTHER),
        ended("DELETE 1", 1),
        ended("UPDATE 1", 1),
        ended("MERGE 1", 1),
    ):
        one.finished(event)
    assert (one.rows, one.finding) == (3, Finding.PASSES)
    one.finished(ended("UPDATE 1", 1))
    assert (one.rows, one.finding) == (4, Finding.OVER)
    assert one.refusal().message == "4 False"


def test_a_message_in_pieces_is_one() -> None:
    one = trial(0)
    one.ended()
    one.take(B.ROW_DESCRIPTION, b"T1")
    one.continue_(b"T2")
    one.take(B.NOTICE_RESPONSE, b"N1")
    one.take(B.DATA_ROW, b"D1")
    one.continue_(b"D2")
    one.finished(ended("DELETE 1", 1))
    one.take(B.COMMAND_COMPLETE, b"C")
    one.continue_(b"C")
    assert one.answer() == [b"T1", b"T2", b"N1"]
    passing = trial(1)
    for tag, data in ((B.DATA_ROW, b"D"), (B.COMMAND_COMPLETE, b"C"), (B.NOTICE_RESPONSE, b"N")):
        passing.take(tag, data)
    assert passing.answer() == [b"D", b"C", b"N"]
    assert passing.answer(tagged=False) == [b"D", b"N"]
    assert passing.no_answer() == [b"N"]


def test_memory_is_bounded_and_notices_are_not_lost() -> None:
    one = trial(10**9)
    for _ in range(20):
        one.take(B.DATA_ROW, b"x" * (ANSWER_LIMIT // 4))
    one.take(B.NOTICE_RESPONSE, b"N")
    one.take(B.DATA_ROW, b"x")
    one.continue_(b"x" * ANSWER_LIMIT)
    one.finished(ended("DELETE 20", 20))
    assert one.finding is Finding.OVER
    assert one.refusal().message == "20 True"
    assert one.answer() == [b"N"]
    held = [data for piece in one._pieces for data in piece.data]
    assert sum(map(len, held)) <= ANSWER_LIMIT + 1


def test_an_error_of_the_servers_comes_before_anything_else() -> None:
    one = trial(0)
    one.finished(ended("DELETE 1", 1))
    one.take(B.DATA_ROW, b"D")
    one.failed = True
    one.take(B.ERROR_RESPONSE, b"E")
    assert one.finding is Finding.FAILED
    assert one.answer() == [b"E"]
