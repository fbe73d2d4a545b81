"""The server's bytes: runs that go on as they are, and the few messages somebody looks at."""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.backend import BackendWalker
from protocol.errors import UpstreamViolation
from protocol.tags import BackendTag
from tests.protocol.pieces import cut
from tests.support.answers import (
    command_complete,
    copy_out_response,
    data_row,
    error,
    no_data,
    notice,
    parameter_status,
    parse_complete,
    ready,
    row_description,
)
from tests.support.wire import c, d, message

OPENED = "CENSZtGW"
"""Tags whose payload is shown."""


@dataclass
class Watcher:
    """Notes what it is asked. ``instead`` gives what takes a message's place, by its tag."""

    instead: dict[str, bytes] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    walker: BackendWalker | None = None

    def row_allowed(self, tag: int) -> None:
        self.rows.append(chr(tag))

    def backend_message(self, tag: int, payload: bytes) -> bytes | None:
        self.seen.append((chr(tag), payload))
        if self.walker is not None:
            self.positions.append(self.walker.position)
        return self.instead.get(chr(tag))


def walked(pieces: Sequence[bytes], watcher: Watcher) -> bytes:
    walker = BackendWalker(watcher)
    watcher.walker = walker
    out: list[bytes] = []
    for piece in pieces:
        walker.walk(piece, out)
    assert walker.at_boundary
    return b"".join(out)


def given_for(walker: BackendWalker, data: bytes) -> list[bytes]:
    out: list[bytes] = []
    walker.walk(data, out)
    return out


ANSWER: Sequence[bytes] = (
    parse_complete(),
    row_description("a", "b"),
    data_row("1", None),
    data_row("2", "x" * 300),
    notice(),
    data_row("3", ""),
    command_complete("SELECT 3"),
    copy_out_response(),
    d(b"one\n"),
    d(b""),
    c(),
    command_complete("COPY 2"),
    parameter_status("TimeZone", "UTC"),
    error(),
    ready(),
)


def test_a_run_is_the_same_object() -> None:
    data = b"".join(ANSWER)
    assert given_for(BackendWalker(Watcher()), data)[0] is data


def test_what_is_looked_at_is_shown_whole_and_nothing_else() -> None:
    watcher = Watcher()
    assert walked([b"".join(ANSWER)], watcher) == b"".join(ANSWER)
    not_rows = [raw for raw in ANSWER if raw[:1] not in b"Dd"]
    assert watcher.seen == [
        (raw[:1].decode(), raw[5:] if raw[:1].decode() in OPENED else b"") for raw in not_rows
    ]
    assert watcher.rows == ["D", "D", "d"], "once for each run of rows"


def test_positions_are_the_ends_of_messages() -> None:
    watcher = Watcher()
    walked([b"".join(ANSWER)], watcher)
    ends, total = [], 0
    for raw in ANSWER:
        total += len(raw)
        if raw[:1] not in b"Dd":
            ends.append(total)
    assert watcher.positions == ends


@pytest.mark.parametrize("instead", [{}, {"1": b""}, {"E": b"other", "T": b"", "Z": b"more"}])
def test_every_place_to_cut(instead: dict[str, bytes]) -> None:
    data = b"".join(ANSWER)
    whole = Watcher(instead)
    expected = walked([data], whole)
    cuts = [[data[:place], data[place:]] for place in range(len(data) + 1)]
    for pieces in [*cuts, [bytes((byte,)) for byte in data]]:
        watcher = Watcher(instead)
        assert walked(pieces, watcher) == expected
        assert watcher.seen == whole.seen
        assert watcher.positions == whole.positions


@given(
    st.lists(st.sampled_from(ANSWER), max_size=20),
    st.lists(st.integers(0, 10_000), max_size=20),
    st.dictionaries(st.sampled_from("1TNCHcSEZ"), st.sampled_from([b"", b"other"])),
)
def test_any_messages_in_any_pieces(
    messages: list[bytes], places: list[int], instead: dict[str, bytes]
) -> None:
    data = b"".join(messages)
    watcher = Watcher(instead)
    out = walked(cut(data, places), watcher)
    assert out == b"".join(instead.get(raw[:1].decode(), raw) for raw in messages)
    assert [tag for tag, _ in watcher.seen] == [raw[:1].decode() for raw in messages if raw[:1] not in b"Dd"]


class TestPieces:
    def test_a_long_row_goes_on_as_it_comes(self) -> None:
        walker = BackendWalker(Watcher())
        raw = data_row("x" * 1000)
        assert given_for(walker, raw[:500]) == [raw[:500]]
        assert (walker.left, walker.at_boundary) == (len(raw) - 500, False)
        assert given_for(walker, raw[500:]) == [raw[500:]]
        assert walker.at_boundary

    def test_a_message_that_is_looked_at_waits_for_its_end(self) -> None:
        walker = BackendWalker(Watcher())
        raw = command_complete("SELECT 1")
        assert given_for(walker, data_row("1") + raw[:-1]) == [data_row("1")]
        assert walker.at_boundary, "nothing of it went on"
        assert given_for(walker, raw[-1:]) == [raw]

    def test_a_header_that_is_not_whole_waits(self) -> None:
        walker = BackendWalker(Watcher())
        assert given_for(walker, b"") == []
        assert given_for(walker, ready()[:4]) == []
        assert given_for(walker, ready()[4:]) == [ready()]

    def test_an_error_of_any_length_goes_on_once_its_beginning_is_here(self) -> None:
        raw = error("x" * 100_000)
        watcher = Watcher()
        walker = BackendWalker(watcher)
        assert given_for(walker, raw[:16_000]) == []
        assert given_for(walker, raw[16_000:20_000]) == [raw[:20_000]]
        assert watcher.seen == [("E", raw[5 : 5 + (16 << 10)])]
        assert not walker.at_boundary
        assert given_for(walker, raw[20_000:] + ready()) == [raw[20_000:] + ready()]

    def test_what_is_replaced_or_left_out_is_dropped_to_its_end(self) -> None:
        for instead in (b"", b"other"):
            watcher = Watcher({"E": instead})
            walker = BackendWalker(watcher)
            raw = error("x" * 100_000)
            out = given_for(walker, raw[:50_000])
            assert b"".join(out) == instead
            assert given_for(walker, raw[50_000:60_000]) == []
            assert given_for(walker, raw[60_000:] + ready()) == [ready()]

    def test_a_message_left_out_before_its_end_came(self) -> None:
        walker = BackendWalker(Watcher({"T": b""}))
        raw = row_description("a")
        assert given_for(walker, raw[:7]) == []
        assert walker.at_boundary, "nothing of it was given"
        assert given_for(walker, raw[7:] + no_data()) == [no_data()]


class TestLies:
    @pytest.mark.parametrize("tag", [b"D", b"d", b"T", b"N", b"?"])
    @pytest.mark.parametrize("length", [0, 3, 0x40000004, 0xFFFFFFFF])
    def test_a_length_no_server_sends(self, tag: bytes, length: int) -> None:
        with pytest.raises(UpstreamViolation, match=f"with length {length}"):
            given_for(BackendWalker(Watcher()), tag + length.to_bytes(4, "big"))

    @pytest.mark.parametrize("tag", ["C", "S", "Z", "t"])
    def test_no_message_that_has_to_be_whole_is_long(self, tag: str) -> None:
        walker = BackendWalker(Watcher())
        assert given_for(walker, tag.encode() + (1 << 20).to_bytes(4, "big")) == []
        with pytest.raises(UpstreamViolation, match="with length 1048577"):
            given_for(BackendWalker(Watcher()), tag.encode() + ((1 << 20) + 1).to_bytes(4, "big"))

    @pytest.mark.parametrize("tag", [b"D", b"E", b"T"])
    def test_a_length_merely_claimed_costs_nothing(self, tag: bytes) -> None:
        walker = BackendWalker(Watcher())
        tracemalloc.start()
        try:
            given_for(walker, tag + (0x3FFFFFFF).to_bytes(4, "big") + b"x" * 10)
            assert tracemalloc.get_traced_memory()[1] < 10_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "watch", [lambda: Watcher(), lambda: Watcher({"C": b"", "N": b"x"})], ids=["passing", "replacing"]
)
@given(
    messages=st.lists(st.sampled_from(ANSWER), max_size=4),
    junk=st.binary(max_size=100),
    place=st.integers(0, 2000),
)
def test_random_bytes_are_messages_or_a_violation(
    watch: Callable[[], Watcher], messages: list[bytes], junk: bytes, place: int
) -> None:
    def outcome(pieces: Sequence[bytes]) -> tuple[bytes, list[tuple[str, bytes]], str]:
        watcher = watch()
        walker = BackendWalker(watcher)
        out: list[bytes] = []
        fault = ""
        try:
            for piece in pieces:
                walker.walk(piece, out)
        except UpstreamViolation as violation:
            fault = violation.message
        return b"".join(out), watcher.seen, fault

    data = b"".join(messages) + junk
    whole = outcome([data])
    assert outcome([data[:place], data[place:]]) == whole
    assert outcome([bytes((byte,)) for byte in data]) == whole


def test_what_came_in_front_of_a_fault_is_given() -> None:
    out: list[bytes] = []
    with pytest.raises(UpstreamViolation):
        BackendWalker(Watcher()).walk(data_row("1") + ready() + b"Z\0\0\0\0", out)
    assert b"".join(out) == data_row("1") + ready()


def test_every_tag_of_a_server_may_be_walked() -> None:
    for tag in BackendTag:
        watcher = Watcher()
        assert walked([message(chr(tag), b"x")], watcher) == message(chr(tag), b"x")
        assert len(watcher.seen) + len(watcher.rows) == 1
