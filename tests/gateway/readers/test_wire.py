"""A catalog on its way to a reader."""

import pickle
from dataclasses import replace

import pytest

from gateway.readers.wire import HEADER, PIECE, Arriving, Learn, Part, encode, pieces
from rules import SchemaSnapshot
from rules.catalog import ForeignKey, Relation

TABLES = tuple(
    Relation(number, "crm", f"t{number}", "r", ("id",), (23,), parents=(number - 1,))
    for number in range(1, 1000)
)
CATALOG = SchemaSnapshot(
    7, "shop", 180000, TABLES, (ForeignKey("f", 1, 2, "c", "a"),), extensions={"citext": "public"}
)


class Receiver:
    """The catalogs a reader has."""

    def __init__(self) -> None:
        self.catalogs: dict[int, Arriving] = {}
        self.received = 0
        self.largest = 0

    def take(
        self, key: int, snapshot: SchemaSnapshot, base: tuple[int, SchemaSnapshot] | None = None
    ) -> None:
        for piece in pieces(key, snapshot, base):
            frame = encode(piece)
            assert HEADER.unpack(frame[: HEADER.size]) == (len(frame) - HEADER.size,)
            self.received += len(frame)
            self.largest = max(self.largest, len(frame))
            message: Learn | Part = pickle.loads(frame[HEADER.size :])
            if isinstance(message, Learn):
                self.catalogs[key] = Arriving.begun(message, self.whole)
            else:
                self.catalogs[message.key].add(message)

    def whole(self, key: int) -> SchemaSnapshot:
        return self.catalogs[key].whole()


@pytest.mark.parametrize("tables", [0, 1, PIECE, PIECE + 1, len(TABLES)])
def test_a_catalog_arrives_as_it_was(tables: int) -> None:
    snapshot = SchemaSnapshot(7, "shop", 180000, TABLES[:tables], extensions={"citext": "public"})
    assert len(snapshot.by_oid) == tables  # worked out here, and left here
    receiver = Receiver()
    receiver.take(1, snapshot)
    arrived = receiver.whole(1)
    assert arrived == snapshot
    assert "by_oid" not in vars(arrived)
    assert receiver.whole(1) is arrived


def test_no_piece_is_large() -> None:
    receiver = Receiver()
    receiver.take(1, CATALOG)
    assert receiver.largest < receiver.received / 8


@pytest.mark.parametrize(
    "more",
    [
        SchemaSnapshot(relations=(Relation(-1, "pg_temp", "mine", "r", ("id",), (23,)),)),
        # In the place of one that is there: what stands behind it moves.
        SchemaSnapshot(relations=(Relation(5000, "crm", "t500", "r", ("id", "more"), (23, 23)),)),
        SchemaSnapshot(),
    ],
)
def test_what_a_reader_has_already_is_not_sent_again(more: SchemaSnapshot) -> None:
    receiver = Receiver()
    receiver.take(1, CATALOG)
    whole, receiver.received = receiver.received, 0
    extended = CATALOG.extended(more, 8)
    receiver.take(2, extended, (1, CATALOG))
    assert receiver.whole(2) == extended
    assert receiver.received < whole * 0.6
    assert receiver.whole(2).relations[0] is receiver.whole(1).relations[0]


@pytest.mark.parametrize("at", [0, 1, 500, 998])
def test_one_that_has_changed_is_sent_alone(at: int) -> None:
    receiver = Receiver()
    receiver.take(1, CATALOG)
    whole, receiver.received = receiver.received, 0
    changed = replace(CATALOG, relations=(*TABLES[:at], replace(TABLES[at], name="x"), *TABLES[at + 1 :]))
    receiver.take(2, changed, (1, CATALOG))
    assert receiver.whole(2) == changed
    assert receiver.received < whole * 0.1


def test_a_list_that_repeats_itself_arrives_as_it_is() -> None:
    receiver = Receiver()
    same = replace(CATALOG, relations=(TABLES[0],) * 100)
    receiver.take(1, same)
    for count in (70, 99, 101, 150):
        other = replace(CATALOG, relations=(TABLES[0],) * count)
        receiver.take(2, other, (1, same))
        assert receiver.whole(2) == other


def test_a_catalog_read_anew_shares_nothing() -> None:
    receiver = Receiver()
    receiver.take(1, CATALOG)
    again: SchemaSnapshot = pickle.loads(pickle.dumps(CATALOG))
    receiver.take(2, again, (1, CATALOG))
    assert receiver.catalogs[2].snapshot.relations == ()
    assert receiver.whole(2) == again


def test_a_base_that_is_not_complete_yet_is_completed_first() -> None:
    receiver = Receiver()
    receiver.take(1, CATALOG)
    extended = CATALOG.extended(SchemaSnapshot(relations=(Relation(-1, "pg_temp", "mine", "r"),)), 8)
    receiver.take(2, extended, (1, CATALOG))
    del receiver.catalogs[1]
    assert receiver.whole(2) == extended
