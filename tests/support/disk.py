"""A disk that is full, without filling one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["full_disk"]


@contextmanager
def full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """No file of this process may grow beyond the size that ``path`` has now, and ``room`` bytes.

    Writing more fails as it does on a disk that is full (EFBIG in the place of ENOSPC), a part of it written.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
