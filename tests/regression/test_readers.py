"""Reading in a process of its own."""

from tests.regression.readers import ReadingKind, _Reader, read_all


def test_what_is_read_and_what_is_not() -> None:
    texts = [
        ("a", "SELECT 1"),
        ("a", "PREPARE p AS SELECT 1"),
        ("a", "EXECUTE p"),
        ("b", "EXECUTE p"),
        ("b", "SELEC 1"),
    ]
    first, _, known, unknown, nonsense = read_all(texts)
    read = (ReadingKind.BOTH, ReadingKind.ONE)
    assert first.kind in read
    assert known.kind in read
    assert (unknown.kind, "not known" in unknown.why) == (ReadingKind.NONE, True)
    assert nonsense.kind in (ReadingKind.NONE, ReadingKind.NOT_GRAMMAR)
    assert first.seconds > 0


def test_a_reader_that_takes_too_long_is_given_up() -> None:
    # No reader is that quick, not even one that has the processor to itself.
    long = f"SELECT {'+'.join(['1'] * 9000)}"
    first, second = read_all([("a", long), ("a", long)], patience=0)
    assert (first.kind, second.kind) == (ReadingKind.STALLED, ReadingKind.STALLED)


def test_a_reader_that_died_is_told() -> None:
    reader = _Reader()
    reader._process.kill()
    reader._process.join()
    reading = reader.read("a", "SELECT 1", 10)
    assert (reading.kind, reading.why) == (ReadingKind.DIED, "exit code -9")
    reader.stop()
