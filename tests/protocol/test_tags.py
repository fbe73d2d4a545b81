"""The tags against messages made by hand."""

from enum import IntEnum

import pytest

from protocol.tags import BackendTag, FrontendTag, TransactionStatus
from tests.support import answers, wire

FRONTEND = {
    FrontendTag.BIND: wire.B(),
    FrontendTag.CLOSE: wire.C("S"),
    FrontendTag.COPY_DATA: wire.d(b""),
    FrontendTag.COPY_DONE: wire.c(),
    FrontendTag.COPY_FAIL: wire.f(),
    FrontendTag.DESCRIBE: wire.D("S"),
    FrontendTag.EXECUTE: wire.E(),
    FrontendTag.FLUSH: wire.H(),
    FrontendTag.FUNCTION_CALL: wire.F(1, ()),
    FrontendTag.PARSE: wire.P(""),
    FrontendTag.PASSWORD: wire.message("p"),
    FrontendTag.QUERY: wire.Q(""),
    FrontendTag.SYNC: wire.S(),
    FrontendTag.TERMINATE: wire.X(),
}
BACKEND = {
    BackendTag.AUTHENTICATION: wire.message("R"),
    BackendTag.BACKEND_KEY_DATA: answers.backend_key_data(1, b""),
    BackendTag.BIND_COMPLETE: answers.bind_complete(),
    BackendTag.CLOSE_COMPLETE: answers.close_complete(),
    BackendTag.COMMAND_COMPLETE: answers.command_complete(""),
    BackendTag.COPY_BOTH_RESPONSE: answers.copy_both_response(),
    BackendTag.COPY_DATA: wire.d(b""),
    BackendTag.COPY_DONE: wire.c(),
    BackendTag.COPY_IN_RESPONSE: answers.copy_in_response(),
    BackendTag.COPY_OUT_RESPONSE: answers.copy_out_response(),
    BackendTag.DATA_ROW: answers.data_row(),
    BackendTag.EMPTY_QUERY_RESPONSE: answers.empty_query_response(),
    BackendTag.ERROR_RESPONSE: answers.error(),
    BackendTag.FUNCTION_CALL_RESPONSE: answers.function_call_response(),
    BackendTag.NEGOTIATE_PROTOCOL_VERSION: wire.message("v"),
    BackendTag.NO_DATA: answers.no_data(),
    BackendTag.NOTICE_RESPONSE: answers.notice(),
    BackendTag.NOTIFICATION_RESPONSE: answers.notification(""),
    BackendTag.PARAMETER_DESCRIPTION: answers.parameter_description(),
    BackendTag.PARAMETER_STATUS: answers.parameter_status("", ""),
    BackendTag.PARSE_COMPLETE: answers.parse_complete(),
    BackendTag.PORTAL_SUSPENDED: answers.portal_suspended(),
    BackendTag.READY_FOR_QUERY: answers.ready(),
    BackendTag.ROW_DESCRIPTION: answers.row_description(),
}


@pytest.mark.parametrize(("tags", "by_hand"), [(FrontendTag, FRONTEND), (BackendTag, BACKEND)])
def test_every_tag_is_the_first_byte_of_its_message(
    tags: type[IntEnum], by_hand: dict[IntEnum, bytes]
) -> None:
    assert set(by_hand) == set(tags)
    assert {tag: raw[0] for tag, raw in by_hand.items()} == {tag: int(tag) for tag in tags}


def test_statuses_are_those_of_ready_for_query() -> None:
    assert bytes(TransactionStatus) == b"ITE"
    assert answers.ready("T")[-1] == TransactionStatus.IN_TRANSACTION
