"""The tables of legal conversations, and the diagram drawn from them."""

from protocol.state import ANYTIME, REPLIES, Effect, Reply
from protocol.tags import BackendTag
from tests.protocol.diagram import DOCUMENT, drawn, in_document


def test_every_reply_has_a_table() -> None:
    assert set(REPLIES) == set(Reply)


def test_every_effect_is_used() -> None:
    assert {effect for table in REPLIES.values() for effect in table.values()} == set(Effect)


def test_every_message_is_expected_somewhere() -> None:
    expected = {tag for table in REPLIES.values() for tag in table} | ANYTIME
    login = {BackendTag.AUTHENTICATION, BackendTag.BACKEND_KEY_DATA, BackendTag.NEGOTIATE_PROTOCOL_VERSION}
    assert expected | {BackendTag.ERROR_RESPONSE} | login == set(BackendTag)


def test_what_may_come_at_any_time_is_the_answer_to_nothing() -> None:
    assert {
        BackendTag.NOTICE_RESPONSE,
        BackendTag.NOTIFICATION_RESPONSE,
        BackendTag.PARAMETER_STATUS,
    } == ANYTIME
    assert not ANYTIME & {tag for table in REPLIES.values() for tag in table}


def test_every_expectation_can_be_met() -> None:
    for reply, table in REPLIES.items():
        assert {Effect.ANSWERS, Effect.FINISHES} & set(table.values()), reply


def test_ready_for_query_answers_what_ends_a_segment() -> None:
    owed = {reply for reply, table in REPLIES.items() if BackendTag.READY_FOR_QUERY in table}
    assert owed == {Reply.SYNC, Reply.QUERY, Reply.FUNCTION_CALL}


def test_the_diagram_in_the_documentation_is_drawn_from_the_tables() -> None:
    assert in_document() == drawn(), f"{DOCUMENT.name} drifted: run python -m tests.protocol.diagram"
