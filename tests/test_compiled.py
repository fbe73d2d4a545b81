"""What the package becomes where nothing can be compiled; ``make test-compiled`` tests what it is where it can."""

import zipfile
from pathlib import Path

import pytest

from tests.compiled import ROOT, build, compiled


@pytest.mark.parametrize(
    "environment", [{"HOLDGATE_PURE": "1"}, {"CC": "/nowhere/cc", "CXX": "/nowhere/c++"}]
)
def test_without_a_compiler_or_when_told_the_package_is_pure_python(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wheel = build(tmp_path, **environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not compiled(wheel)
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {"protocol/fastpath.py", "gateway/shortcut.py", "gateway/py.typed"} <= names
    assert not any(name.startswith("tests/") or name == "setup.py" for name in names)


def test_nothing_is_compiled_where_the_source_is_edited() -> None:
    assert not [*ROOT.glob("protocol/*.so"), *ROOT.glob("gateway/**/*.so")]
