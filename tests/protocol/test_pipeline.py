"""The queue of replies that are owed."""

import pytest

from protocol.errors import UpstreamViolation
from protocol.pipeline import Disposition, Expected, ReplyQueue
from protocol.state import REPLIES, Effect, Reply
from protocol.tags import BackendTag as B

BATCH = (Reply.PARSE, Reply.BIND, Reply.DESCRIBE_PORTAL, Reply.EXECUTE, Reply.SYNC)


def queue_of(*replies: Reply | Expected) -> ReplyQueue:
    queue = ReplyQueue()
    for reply in replies:
        queue.push(reply if isinstance(reply, Expected) else Expected(reply))
    return queue


def replies(queue: ReplyQueue) -> list[Reply]:
    """What is left, taken out from the front."""
    left = []
    while (head := queue.head()) is not None:
        left.append(head.reply)
        queue.fail() if head.reply is not Reply.SYNC else queue.ready()
    return left


class TestAdvance:
    def test_an_answer_takes_its_expectation_away(self) -> None:
        queue = queue_of(*BATCH)
        for tag, reply in (
            (B.PARSE_COMPLETE, Reply.PARSE),
            (B.BIND_COMPLETE, Reply.BIND),
            (B.ROW_DESCRIPTION, Reply.DESCRIBE_PORTAL),
        ):
            expected, effect = queue.advance(tag)
            assert (expected.reply, effect) == (reply, Effect.ANSWERS)
        assert queue.advance(B.DATA_ROW)[1] is Effect.CONTINUES
        assert len(queue) == 2
        assert queue.advance(B.COMMAND_COMPLETE)[1] is Effect.FINISHES
        assert queue.advance(B.READY_FOR_QUERY)[1] is Effect.ANSWERS
        assert len(queue) == 0

    def test_a_query_stays_until_it_is_ready(self) -> None:
        queue = queue_of(Reply.QUERY)
        for tag in (B.ROW_DESCRIPTION, B.COMMAND_COMPLETE, B.EMPTY_QUERY_RESPONSE, B.COPY_IN_RESPONSE):
            queue.advance(tag)
        assert len(queue) == 1
        assert queue.ready() is not None
        assert len(queue) == 0

    @pytest.mark.parametrize("reply", list(REPLIES), ids=lambda reply: reply.value)
    @pytest.mark.parametrize("tag", B, ids=lambda tag: tag.name)
    def test_what_the_table_does_not_list_is_a_violation(self, reply: Reply, tag: B) -> None:
        queue = queue_of(reply)
        if tag in REPLIES[reply]:
            assert queue.advance(tag)[1] is REPLIES[reply][tag]
        else:
            with pytest.raises(UpstreamViolation, match=r"while .* was being answered"):
                queue.advance(tag)

    def test_nothing_may_come_when_nothing_was_asked(self) -> None:
        with pytest.raises(UpstreamViolation, match="though nothing was asked"):
            ReplyQueue().advance(B.DATA_ROW)


class TestReady:
    @pytest.mark.parametrize("reply", [Reply.SYNC, Reply.QUERY, Reply.FUNCTION_CALL])
    def test_it_ends_what_it_ends(self, reply: Reply) -> None:
        queue = queue_of(reply, Reply.PARSE)
        expected = queue.ready()
        assert expected is not None
        assert expected.reply is reply
        assert len(queue) == 1

    def test_it_is_not_due(self) -> None:
        assert ReplyQueue().ready() is None
        queue = queue_of(Reply.PARSE, Reply.SYNC)
        assert queue.ready() is None
        assert len(queue) == 2


class TestFail:
    def test_an_error_settles_all_up_to_the_sync(self) -> None:
        queue = queue_of(*BATCH, Reply.PARSE)
        queue.advance(B.PARSE_COMPLETE)
        assert [expected.reply for expected in queue.fail()] == list(BATCH[1:4])
        assert replies(queue) == [Reply.SYNC, Reply.PARSE]

    def test_an_error_without_a_sync_behind_settles_everything(self) -> None:
        queue = queue_of(Reply.PARSE, Reply.QUERY, Reply.BIND)
        assert [expected.reply for expected in queue.fail()] == [Reply.PARSE, Reply.QUERY, Reply.BIND]
        assert len(queue) == 0

    @pytest.mark.parametrize("reply", [Reply.SYNC, Reply.QUERY, Reply.FUNCTION_CALL])
    def test_what_still_owes_its_ready_stays(self, reply: Reply) -> None:
        queue = queue_of(reply, Reply.SYNC)
        assert [expected.reply for expected in queue.fail()] == [reply]
        assert len(queue) == 2

    def test_nothing_can_fail_when_nothing_was_asked(self) -> None:
        with pytest.raises(UpstreamViolation, match="though nothing was asked"):
            ReplyQueue().fail()


class TestWhatIsUnderWay:
    def test_a_sync_of_the_client(self) -> None:
        assert queue_of(Reply.EXECUTE, Reply.SYNC).client_synced()
        assert not queue_of(Reply.EXECUTE, Expected(Reply.SYNC, Disposition.SKIP)).client_synced()
        assert not ReplyQueue().client_synced()


class TestCopyStarts:
    @pytest.mark.parametrize(
        ("behind", "ignored", "left"),
        [
            ((), 0, 1),
            ((Reply.SYNC,), 1, 1),
            ((Reply.SYNC, Reply.SYNC), 2, 1),
            ((Reply.PARSE, Reply.SYNC), 0, 3),
        ],
    )
    def test_syncs_behind_the_copy_get_no_answer(
        self, behind: tuple[Reply, ...], ignored: int, left: int
    ) -> None:
        queue = queue_of(Reply.EXECUTE, *behind)
        copying, forgotten = queue.copy_starts()
        assert (copying.reply, copying.copying, forgotten) == (Reply.EXECUTE, True, ignored)
        assert (queue.head(), len(queue)) == (copying, left)
