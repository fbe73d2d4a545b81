"""Compiles what every statement goes through, where that can be done; see docs/adr/0030. The rest of the package is
described in pyproject.toml.

mypyc makes C of the same typed source that runs without it. Wheels are compiled if mypyc and a C compiler are here,
and pure Python otherwise, or with HOLDGATE_PURE=1. An editable installation never is: what is edited must be what runs.
"""

import os
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CCompilerError, DistutilsError
from setuptools._distutils.sysconfig import customize_compiler, get_python_inc

COMPILED = (
    *sorted(str(path) for path in Path("protocol").glob("*.py") if path.name != "__init__.py"),
    "gateway/audit/brief.py",
    "gateway/series.py",
    "gateway/shortcut.py",
)


def can_compile() -> bool:
    """Whether there is a C compiler, and what Python extensions are compiled against."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint probe(void) { return 0; }\n", encoding="ascii")
        try:
            compiler.compile([str(source)], output_dir=folder, include_dirs=[get_python_inc()])
        except (CCompilerError, DistutilsError, OSError):
            return False
    return True


def extensions() -> list[Extension]:
    """What is compiled for the command that is run."""
    if os.environ.get("HOLDGATE_PURE") == "1" or not {"bdist_wheel", "build_ext"} & set(sys.argv):
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        print("holdgate: mypyc is not here; the package will be pure Python", file=sys.stderr)
        return []
    if not can_compile():
        print("holdgate: there is no C compiler; the package will be pure Python", file=sys.stderr)
        return []
    # What stands in other modules is checked by `make check`; what they import need not be installed for this.
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--allow-untyped-decorators"]
    found: list[Extension] = mypycify([*options, *COMPILED], group_name="holdgate")
    return found


setup(ext_modules=extensions())
