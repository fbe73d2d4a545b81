"""The legal conversations, as tables and nothing else.

1. ``REPLIES`` says, for each kind of reply still expected, which backend messages may come now and what each
   does to the expectation. A message that is not in the table is an ``UpstreamViolation``.
2. ``ANYTIME`` are the asynchronous messages, legal between any two others.

ErrorResponse is in neither: it is legal for every expectation and settles more than one of them
(``pipeline.ReplyQueue.fail``).

Source: PostgreSQL documentation, "Message Flow".
"""

from enum import Enum
from typing import Final

from .tags import BackendTag as B


class Reply(Enum):
    """What is expected of the server for one forwarded message."""

    PARSE = "Parse"
    BIND = "Bind"
    CLOSE = "Close"
    DESCRIBE_STATEMENT = "Describe (statement)"
    DESCRIBE_PORTAL = "Describe (portal)"
    EXECUTE = "Execute"
    SYNC = "Sync"
    QUERY = "Query"
    FUNCTION_CALL = "FunctionCall"


class Effect(Enum):
    """What a backend message does to the expectation at the head of the queue."""

    CONTINUES = "more is to come"
    ANSWERS = "the expectation is met"
    FINISHES = "a statement ended and the expectation is met"
    FINISHES_ONE = "a statement ended, others of the same message may follow"
    ASKS_DATA = "the server now reads COPY data"
    BOTH_WAYS = "both sides now stream COPY data"


REPLIES: Final[dict[Reply, dict[int, Effect]]] = {
    Reply.PARSE: {B.PARSE_COMPLETE: Effect.ANSWERS},
    Reply.BIND: {B.BIND_COMPLETE: Effect.ANSWERS},
    Reply.CLOSE: {B.CLOSE_COMPLETE: Effect.ANSWERS},
    Reply.DESCRIBE_STATEMENT: {
        B.PARAMETER_DESCRIPTION: Effect.CONTINUES,
        B.ROW_DESCRIPTION: Effect.ANSWERS,
        B.NO_DATA: Effect.ANSWERS,
    },
    Reply.DESCRIBE_PORTAL: {B.ROW_DESCRIPTION: Effect.ANSWERS, B.NO_DATA: Effect.ANSWERS},
    Reply.EXECUTE: {
        B.DATA_ROW: Effect.CONTINUES,
        B.COPY_OUT_RESPONSE: Effect.CONTINUES,
        B.COPY_DATA: Effect.CONTINUES,
        B.COPY_DONE: Effect.CONTINUES,
        B.COPY_IN_RESPONSE: Effect.ASKS_DATA,
        B.COPY_BOTH_RESPONSE: Effect.BOTH_WAYS,
        B.COMMAND_COMPLETE: Effect.FINISHES,
        B.EMPTY_QUERY_RESPONSE: Effect.FINISHES,
        B.PORTAL_SUSPENDED: Effect.FINISHES,
    },
    Reply.SYNC: {B.READY_FOR_QUERY: Effect.ANSWERS},
    Reply.QUERY: {
        B.ROW_DESCRIPTION: Effect.CONTINUES,
        B.DATA_ROW: Effect.CONTINUES,
        B.COPY_OUT_RESPONSE: Effect.CONTINUES,
        B.COPY_DATA: Effect.CONTINUES,
        B.COPY_DONE: Effect.CONTINUES,
        B.COPY_IN_RESPONSE: Effect.ASKS_DATA,
        B.COPY_BOTH_RESPONSE: Effect.BOTH_WAYS,
        B.COMMAND_COMPLETE: Effect.FINISHES_ONE,
        B.EMPTY_QUERY_RESPONSE: Effect.FINISHES_ONE,
        B.READY_FOR_QUERY: Effect.ANSWERS,
    },
    Reply.FUNCTION_CALL: {
        B.FUNCTION_CALL_RESPONSE: Effect.FINISHES_ONE,
        B.READY_FOR_QUERY: Effect.ANSWERS,
    },
}

ANYTIME: Final = frozenset({int(B.NOTICE_RESPONSE), int(B.PARAMETER_STATUS), int(B.NOTIFICATION_RESPONSE)})
