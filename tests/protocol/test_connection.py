"""The core as one face: whole conversations, in every segmentation."""

from tests.protocol.playbook import (
    asks,
    client,
    downstream,
    finished,
    forward,
    is_ready,
    play,
    server,
    upstream,
)
from tests.support.answers import command_complete, data_row, ready, row_description
from tests.support.wire import Q

ONE = (row_description("a"), data_row("1"), command_complete("SELECT 1"), ready())


def test_a_query_passes() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(),
        upstream(Q("SELECT 1")),
        server(*ONE),
        downstream(*ONE),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I", "SELECT 1"),
    )
