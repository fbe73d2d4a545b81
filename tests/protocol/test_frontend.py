"""The client's bytes as messages, whatever pieces they come in."""

import gc
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrontendViolation
from protocol.frontend import Frame, FrontendReader, Limits
from tests.protocol.pieces import cut
from tests.support.wire import B, H, P, Q, S, X, c, d, f, message

MESSAGES: Sequence[bytes] = (
    Q("SELECT 1"),
    P("SELECT $1", "s1", (23,)),
    B(["x", None]),
    S(),
    H(),
    c(),
    f("why"),
    X(),
    Q(""),
    B([b"y" * 5000]),
)

Taken = tuple[Frame, int, bytes]


def frames(reader: FrontendReader) -> list[Taken]:
    taken = []
    while (frame := reader.next()) is not None:
        taken.append(frame)
    return taken


def joined(taken: Sequence[Taken]) -> list[tuple[str, int, bytes]]:
    """Pieces of one CopyData put together."""
    result: list[tuple[str, int, bytes]] = []
    for frame, tag, raw in taken:
        if frame is Frame.COPY_REST:
            kind, before, begun = result.pop()
            assert (kind, before) == ("COPY_PIECE", tag)
            result.append((kind, tag, begun + raw))
        else:
            result.append((frame.name, tag, raw))
    return result


def read(pieces: Sequence[bytes], limits: Limits | None = None) -> list[Taken]:
    reader = FrontendReader(limits or Limits())
    taken = []
    for piece in pieces:
        reader.feed(piece)
        taken.extend(frames(reader))
    assert reader.buffered == 0
    return taken


@pytest.mark.parametrize("raw", MESSAGES, ids=lambda raw: raw[:1].decode())
def test_a_message_is_handed_out_as_it_came(raw: bytes) -> None:
    assert read([raw]) == [(Frame.MESSAGE, raw[0], raw)]


@pytest.mark.parametrize("raw", [raw for raw in MESSAGES if len(raw) < 100], ids=lambda raw: raw[:1].decode())
@pytest.mark.parametrize("behind", [b"", S(), b"Q\0\0"], ids=["nothing", "a message", "half a header"])
def test_a_message_cut_anywhere(raw: bytes, behind: bytes) -> None:
    for place in range(len(raw)):
        reader = FrontendReader(Limits())
        reader.feed(raw[:place])
        assert reader.next() is None
        assert reader.buffered == place
        reader.feed(raw[place:] + behind)
        assert reader.next() == (Frame.MESSAGE, raw[0], raw)
        assert reader.buffered == len(behind)


@given(
    st.lists(st.one_of(st.sampled_from(MESSAGES), st.binary(max_size=9000).map(d)), max_size=12),
    st.lists(st.integers(0, 1 << 20), max_size=30),
)
def test_any_pieces_of_any_messages(messages: list[bytes], places: list[int]) -> None:
    data = b"".join(messages)
    taken = read(cut(data, places))
    assert b"".join(raw for _, _, raw in taken) == data
    kinds = ["COPY_PIECE" if raw[:1] == b"d" else "MESSAGE" for raw in messages]
    assert joined(taken) == [(kind, raw[0], raw) for kind, raw in zip(kinds, messages, strict=True)]


class TestCopyData:
    def test_it_is_handed_out_as_it_comes(self) -> None:
        reader = FrontendReader(Limits())
        raw = d(b"0123456789")
        reader.feed(raw[:7])
        assert reader.next() == (Frame.COPY_PIECE, ord("d"), raw[:7])
        assert reader.inside_copy_data
        assert reader.next() is None
        reader.feed(raw[7:] + S())
        assert (reader.next(), reader.inside_copy_data) == ((Frame.COPY_REST, ord("d"), raw[7:]), False)
        assert reader.next() == (Frame.MESSAGE, ord("S"), S())

    def test_a_header_alone_is_a_piece(self) -> None:
        reader = FrontendReader(Limits())
        reader.feed(d(b"x" * 100)[:5])
        assert reader.next() == (Frame.COPY_PIECE, ord("d"), d(b"x" * 100)[:5])
        assert reader.inside_copy_data

    def test_none_of_it_is_kept(self) -> None:
        reader = FrontendReader(Limits(request=10))
        reader.feed(message("d", b"")[:1] + (1 << 20).to_bytes(4, "big"))
        for _ in range(16):
            assert reader.next() is not None
            reader.feed(b"x" * 60_000)
        assert reader.buffered == 60_000


class TestTooLarge:
    LIMITS = Limits(statement=8, request=16)

    @pytest.mark.parametrize("raw", [Q("12345678"), P("123456789"), B(["x" * 20])], ids=["Q", "P", "B"])
    def test_its_payload_is_dropped_and_the_next_message_is_read(self, raw: bytes) -> None:
        for pieces in ([raw + S()], [raw[:6], raw[6:] + S()], [bytes([byte]) for byte in raw + S()]):
            assert read(pieces, self.LIMITS) == [
                (Frame.TOO_LARGE, raw[0], raw[:5]),
                (Frame.MESSAGE, ord("S"), S()),
            ]

    def test_the_limit_itself_is_not_too_large(self) -> None:
        assert read([Q("1234567")], self.LIMITS) == [(Frame.MESSAGE, ord("Q"), Q("1234567"))]
        raw = message("B", b"x" * 16)
        assert read([raw], self.LIMITS) == [(Frame.MESSAGE, ord("B"), raw)]

    def test_while_it_is_dropped_no_copy_data_is_under_way(self) -> None:
        reader = FrontendReader(self.LIMITS)
        reader.feed(Q("1234567890")[:9])
        assert reader.next() == (Frame.TOO_LARGE, ord("Q"), Q("1234567890")[:5])
        assert not reader.inside_copy_data
        assert reader.next() is None
        assert reader.buffered == 0


class TestMemory:
    def test_a_length_that_is_merely_claimed_costs_nothing(self) -> None:
        reader = FrontendReader(Limits(statement=1 << 30, request=1 << 30))
        gc.collect()
        tracemalloc.start()
        try:
            reader.feed(b"Q" + (0x3FFFFFFF).to_bytes(4, "big") + b"SELECT")
            assert reader.next() is None
            assert tracemalloc.get_traced_memory()[1] < 10_000
        finally:
            tracemalloc.stop()

    def test_a_message_in_single_bytes_costs_little_more_than_its_size(self) -> None:
        raw = Q("x" * 30_000)
        reader = FrontendReader(Limits())
        tracemalloc.start()
        try:
            for byte in raw[:-1]:
                reader.feed(bytes((byte,)))
                assert reader.next() is None
            assert tracemalloc.get_traced_memory()[0] < 2 * len(raw)
        finally:
            tracemalloc.stop()
        reader.feed(raw[-1:])
        assert reader.next() == (Frame.MESSAGE, ord("Q"), raw)

    def test_small_pieces_are_collected_behind_large_ones(self) -> None:
        raw = Q("x" * 20_000)
        reader = FrontendReader(Limits())
        for piece in (raw[:6], raw[6:5006], raw[5006:5007], raw[5007:5008], raw[5008:10_008], raw[10_008:]):
            assert reader.next() is None
            reader.feed(piece)
        assert reader.next() == (Frame.MESSAGE, ord("Q"), raw)

    def test_a_large_message_is_not_kept_once_it_is_handed_out(self) -> None:
        reader = FrontendReader(Limits(request=1 << 25))
        tracemalloc.start()
        try:
            reader.feed(B(["x" * (1 << 22)]))
            taken = reader.next()
            assert taken is not None
            del taken
            assert tracemalloc.get_traced_memory()[0] < 1 << 20
        finally:
            tracemalloc.stop()


class TestPutBack:
    def test_it_is_read_again_before_what_follows(self) -> None:
        reader = FrontendReader(Limits())
        reader.feed(Q("1") + S() + H())
        taken = reader.next()
        assert taken is not None
        reader.put_back(taken[2])
        assert [raw for _, _, raw in frames(reader)] == [Q("1"), S(), H()]

    def test_the_beginning_of_copy_data(self) -> None:
        reader = FrontendReader(Limits())
        raw = d(b"0123456789")
        reader.feed(raw[:8])
        taken = reader.next()
        assert taken is not None
        reader.put_back(taken[2])
        assert not reader.inside_copy_data
        reader.feed(raw[8:])
        assert joined(frames(reader)) == [("COPY_PIECE", ord("d"), raw)]

    def test_bytes_that_wait_in_pieces_stay_behind_it(self) -> None:
        reader = FrontendReader(Limits())
        reader.feed(S())
        taken = reader.next()
        assert taken is not None
        reader.feed(Q("1")[:3])
        reader.feed(Q("1")[3:])
        reader.put_back(taken[2])
        assert [raw for _, _, raw in frames(reader)] == [S(), Q("1")]


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=10))
def test_random_bytes_are_messages_or_a_violation(data: bytes, places: list[int]) -> None:
    def outcome(pieces: Sequence[bytes]) -> tuple[list[tuple[str, int, bytes]], str]:
        reader = FrontendReader(Limits())
        taken: list[Taken] = []
        try:
            for piece in pieces:
                reader.feed(piece)
                while (frame := reader.next()) is not None:
                    taken.append(frame)
        except FrontendViolation as violation:
            return joined(taken), violation.message
        return joined(taken), ""

    assert outcome([data]) == outcome(cut(data, places))
