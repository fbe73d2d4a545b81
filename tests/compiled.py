"""``make test-compiled``: the tests of what the wheel has compiled, run with the wheel that this checkout makes.

``make test`` runs the same tests with the source as it is. Without a C compiler there is nothing to test, and that is
said. Arguments are pytest's; without any, the tests of the compiled modules and some of the wire are run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["build", "compiled", "install", "main"]

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "protocol", "rules", "gateway")
TESTS: Final = (
    "tests/protocol",
    "tests/gateway/test_shortcut.py",
    "tests/gateway/test_metrics.py",
    "tests/gateway/audit/test_brief.py",
    "tests/wire/test_cancels.py",
    "tests/wire/test_series.py",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and run what was asked for; returns pytest's exit code."""
    chosen = list(arguments if arguments is not None else sys.argv[1:]) or list(TESTS)
    with tempfile.TemporaryDirectory(prefix="holdgate-compiled-") as name:
        folder = Path(name)
        installed = install(folder)
        if installed is None:
            print("nothing was compiled: there is no C compiler, or HOLDGATE_PURE is set", file=sys.stderr)
            return 0
        # The tests stand beside the package, which is then found before the one that is being edited.
        for room in ("tests", "docs"):
            shutil.copytree(ROOT / room, installed / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", installed)
        shutil.copy(ROOT / "config.example.yaml", installed)
        program = (
            "import sys, pytest, protocol.connection, gateway.shortcut\n"
            "assert all(one.__file__.endswith('.so') for one in (protocol.connection, gateway.shortcut))\n"
            "sys.exit(pytest.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", *chosen]
        return subprocess.run(command, cwd=installed, check=False).returncode


def install(folder: Path) -> Path | None:
    """The wheel of this checkout, unpacked in ``folder``; None if nothing of it was compiled."""
    wheel = build(folder)
    if not compiled(wheel):
        return None
    installed = folder / "installed"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(installed)
    return installed


def build(folder: Path, **environment: str) -> Path:
    """The wheel of this checkout, made in ``folder``."""
    source = folder / "source"
    for name in SOURCES:
        here, there = ROOT / name, source / name
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(here, there)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(source)],
        check=True,
        env={**os.environ, **environment},
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def compiled(wheel: Path) -> list[str]:
    """The modules of a wheel that are compiled."""
    with zipfile.ZipFile(wheel) as packed:
        return sorted(name for name in packed.namelist() if name.endswith(".so"))


if __name__ == "__main__":
    sys.exit(main())
