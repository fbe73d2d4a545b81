"""The queue of replies that are owed."""

import pytest

from protocol.errors import UpstreamViolation
from protocol.pipeline import CopyStart, Disposition, Expected, ReplyQueue
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
        for queue in (ReplyQueue(), queue_of(Reply.COPY_END)):
            with pytest.raises(UpstreamViolation, match="though nothing was asked"):
                queue.advance(B.DATA_ROW)

    def test_the_end_of_copy_data_is_owed_no_answer(self) -> None:
        queue = queue_of(Reply.COPY_END, Reply.COPY_END, Reply.SYNC)
        head = queue.head()
        assert head is not None
        assert head.reply is Reply.SYNC


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
            queue_of(Reply.COPY_END).fail()


class TestWhatIsUnderWay:
    def test_a_sync_of_the_client(self) -> None:
        assert queue_of(Reply.EXECUTE, Reply.SYNC).client_synced()
        assert not queue_of(Reply.EXECUTE, Expected(Reply.SYNC, Disposition.SKIP)).client_synced()
        assert not ReplyQueue().client_synced()

    @pytest.mark.parametrize(
        ("under_way", "only"),
        [
            ((), True),
            ((Reply.COPY_END,), True),
            ((Reply.QUERY,), True),
            ((Reply.SYNC, Reply.SYNC), True),
            ((Reply.QUERY, Reply.COPY_END, Reply.SYNC), True),
            ((Reply.PARSE, Reply.SYNC), False),
            ((Reply.QUERY, Reply.SYNC, Reply.PARSE), False),
            ((Reply.SYNC, Reply.QUERY), False),
        ],
    )
    def test_nothing_but_ready_for_query(self, under_way: tuple[Reply, ...], only: bool) -> None:
        assert queue_of(*under_way).only_ready_due() is only


class TestCopyStarts:
    @pytest.mark.parametrize(
        ("behind", "wanted", "ignored", "broken", "is_open", "left"),
        [
            ((), True, 0, None, True, 1),
            ((Reply.SYNC, Reply.SYNC), True, 2, None, True, 1),
            ((Reply.COPY_END,), False, 0, None, True, 1),
            ((Reply.SYNC, Reply.COPY_END, Reply.SYNC), False, 1, None, False, 2),
            ((Reply.SYNC, Reply.PARSE, Reply.SYNC), False, 1, Reply.PARSE, False, 2),
            ((Reply.QUERY,), False, 0, Reply.QUERY, True, 1),
        ],
    )
    def test_what_was_sent_behind_the_copy(
        self,
        behind: tuple[Reply, ...],
        wanted: bool,
        ignored: int,
        broken: Reply | None,
        is_open: bool,
        left: int,
    ) -> None:
        queue = queue_of(Reply.EXECUTE, *behind)
        start = queue.copy_starts()
        broke = start.broken.reply if start.broken is not None else None
        assert (start.wanted, start.ignored, broke, start.open) == (wanted, ignored, broken, is_open)
        head = queue.head()
        assert head is not None
        assert (head.reply, head.copying, len(queue)) == (Reply.EXECUTE, True, left)

    def test_a_query_ends_its_own_segment(self) -> None:
        assert queue_of(Reply.QUERY).copy_starts() == CopyStart(True, 0, None, False)
