"""How much memory a process takes, as Linux counts it (proc(5), ``/proc/PID/status``)."""

from pathlib import Path

__all__ = ["Memory", "children", "resident"]


class Memory:
    """The resident memory of process ``pid``; :attr:`growth` counts from the moment this was made."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        # 5 sets the peak back to what is resident now.
        (self._folder / "clear_refs").write_text("5", encoding="ascii")
        self._before = self._read("VmRSS")

    @property
    def growth(self) -> int:
        """Bytes by which the peak since then exceeds what was resident then."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        return _read(self._folder, name)


def resident(pid: int) -> int:
    """The bytes of process ``pid`` that are in memory now."""
    return _read(Path(f"/proc/{pid}"), "VmRSS")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _read(folder: Path, name: str) -> int:
    status = (folder / "status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
