"""What the runners of the suites write is read as test and outcome."""

from pathlib import Path

from tests.drivers.results import FAILED, PASSED, SKIPPED, from_cargo, from_go, from_junit, from_lines


def test_junit(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text(
        """<testsuites><testsuite>
        <testcase classname="a" name="good"/>
        <testcase classname="a" name="bad"><failure/></testcase>
        <testcase classname="a" name="broken"><error/></testcase>
        <testcase classname="a" name="left out"><skipped/></testcase>
        </testsuite></testsuites>"""
    )
    # A test that passes and whose clean-up fails is reported twice.
    (tmp_path / "two.xml").write_text(
        '<testsuite><testcase classname="a" name="twice"><error/></testcase>'
        '<testcase classname="a" name="twice"/></testsuite>'
    )
    assert from_junit(tmp_path) == {
        "a.good": PASSED,
        "a.bad": FAILED,
        "a.broken": FAILED,
        "a.left out": SKIPPED,
        "a.twice": FAILED,
    }


def test_go() -> None:
    output = """go: downloading
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"{"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB/file='/tmp/TestB3812736450/001/x'"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
"""
    assert from_go(output) == {
        "p.TestA": PASSED,
        "p.TestB/file='/tmp/TestBN/001/x'": FAILED,
        "p.TestC": SKIPPED,
    }


def test_cargo() -> None:
    output = """running 4 tests
test a::good ... ok
test a::bad ... FAILED
test a::left_out ... ignored, not here
test a::panics - should panic ... ok
"""
    assert from_cargo(output) == {
        "a::good": PASSED,
        "a::bad": FAILED,
        "a::left_out": SKIPPED,
        "a::panics": PASSED,
    }


def test_lines() -> None:
    assert from_lines('a: 1\nb c: {"x": 2}\nnoise\n') == {"a": "1", "b c": '{"x": 2}'}
