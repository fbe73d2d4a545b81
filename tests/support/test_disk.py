"""A full disk is full for its block only."""

from pathlib import Path

import pytest

from tests.support.disk import full_disk


def test_writing_fails_with_a_part_written_and_works_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    with full_disk(file, room=2), file.open("ab", buffering=0) as opened:
        assert opened.write(b"defg") == 2
        with pytest.raises(OSError, match="File too large"):
            opened.write(b"fg")
    with file.open("ab") as opened:
        opened.write(b"fg")
    assert file.read_bytes() == b"abcdefg"
