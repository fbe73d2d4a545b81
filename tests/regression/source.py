"""PostgreSQL's source, from Debian's archive or from a folder that has it already."""

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FetchError", "fetch", "scripts"]

_SCRIPTS = (
    "src/test/regress/sql/*.sql",
    "src/test/isolation/specs/*.spec",
    "src/pl/plpgsql/src/sql/*.sql",
    "src/test/modules/*/sql/*.sql",
    "contrib/*/sql/*.sql",
)
_LISTS = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class FetchError(Exception):
    """The source is not to be had here; the text says why, for a person."""


def fetch(package: str, cache: Path) -> Path:
    """The folder with the source of a Debian package, from ``cache`` if it was fetched before.

    Asks the archive that this system's apt is set up with, changing nothing of that set-up.
    Raises :class:`FetchError` where there is no apt, or where it does not have the package.
    """
    target = cache / package
    if (target / "complete").exists():
        return _root(target)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdgate-source-") as name:
        work = Path(name)
        work.chmod(0o755)  # apt works as a user of its own
        options = _apt_options(work)
        _run(["apt-get", *options, "-qq", "update"], work)
        _run(["apt-get", *options, "-qq", "source", "--download-only", package], work)
        archives = sorted(work.glob("postgresql*.orig.tar.*"))
        tarballs = [path for path in archives if path.suffix in (".bz2", ".gz", ".xz")]
        if not tarballs:
            raise FetchError(f"apt brought no source archive of {package}")
        with tarfile.open(tarballs[0]) as archive:
            archive.extractall(target, filter="data")
    (target / "complete").touch()
    return _root(target)


def scripts(source: Path) -> list[Path]:
    """The test scripts in a source folder, in order. Raises :class:`FetchError` when there are none."""
    found = [path for pattern in _SCRIPTS for path in sorted(source.glob(pattern))]
    if not found:
        raise FetchError(f"{source} holds no regression tests of PostgreSQL")
    return found


def _root(target: Path) -> Path:
    return next(path.parents[2] for path in sorted(target.glob("*/src/test/regress")))


def _apt_options(work: Path) -> list[str]:
    parts = work / "parts"
    parts.mkdir()
    for number, file in enumerate(_source_lists()):
        entries = list(_source_entries(file))
        (parts / f"{number}-{file.name}").write_text("\n\n".join(entries) + "\n", encoding="utf-8")
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    return [
        f"-oDir::Etc::SourceList={work / 'none'}",
        f"-oDir::Etc::SourceParts={parts}",
        f"-oDir::State::Lists={lists}",
        f"-oDir::Cache={work / 'cache'}",
    ]


def _source_lists() -> list[Path]:
    single, folder = _LISTS
    found = [single] if single.exists() else []
    return found + sorted(path for path in folder.glob("*") if path.suffix in (".list", ".sources"))


def _source_entries(file: Path) -> Iterator[str]:
    """The entries of one of apt's lists, asking for sources. Only Debian's main archive: the one with security
    updates drops the sources of earlier ones, and for reading matter the latest does not matter."""
    text = file.read_text(encoding="utf-8")
    for entry in text.split("\n\n" if file.suffix == ".sources" else "\n"):
        if "debian" not in entry or "security" in entry:
            continue
        if file.suffix == ".sources":
            yield "\n".join("Types: deb-src" if "Types:" in line else line for line in entry.splitlines())
        elif entry.startswith("deb "):
            yield f"deb-src{entry[3:]}"


def _run(command: list[str], work: Path) -> None:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    except OSError as error:
        raise FetchError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise FetchError(last[-1] if last else f"{command[0]} failed")
