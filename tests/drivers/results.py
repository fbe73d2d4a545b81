"""What a suite reported: test names and outcomes, read from the forms the suites' runners write."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["FAILED", "PASSED", "SKIPPED", "Outcomes", "from_cargo", "from_go", "from_junit", "from_lines"]

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

Outcomes = dict[str, str]
"""Outcome by test. A name that is reported twice counts as failed when either failed."""

_CARGO = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", re.MULTILINE)
_CARGO_WORDS = {"ok": PASSED, "FAILED": FAILED, "ignored": SKIPPED}
_SCRATCH = re.compile(r"(?<=[A-Za-z])\d{6,}(?=/)")
_GO_WORDS = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}


def from_junit(folder: Path) -> Outcomes:
    """The JUnit reports in ``folder``: what pytest and Maven's surefire write."""
    outcomes: Outcomes = {}
    for file in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(file).iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                _note(outcomes, name, FAILED)
            else:
                _note(outcomes, name, SKIPPED if "skipped" in kinds else PASSED)
    return outcomes


def from_go(output: str) -> Outcomes:
    """The output of ``go test -json``."""
    outcomes: Outcomes = {}
    for line in output.splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            if "Test" in event and event["Action"] in _GO_WORDS:
                # Some tests have the name of a temporary folder in theirs.
                name = _SCRATCH.sub("N", f"{event['Package']}.{event['Test']}")
                _note(outcomes, name, _GO_WORDS[event["Action"]])
    return outcomes


def from_cargo(output: str) -> Outcomes:
    """The output of ``cargo test``."""
    outcomes: Outcomes = {}
    for name, word in _CARGO.findall(output):
        _note(outcomes, name, _CARGO_WORDS[word])
    return outcomes


def from_lines(output: str) -> Outcomes:
    """Lines of the form ``NAME: RESULT``, for scripts whose result is what they saw and not a verdict.

    The result stands in for the outcome, so that two runs differ where they saw different things.
    """
    return dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)


def _note(outcomes: Outcomes, name: str, outcome: str) -> None:
    if outcomes.get(name) != FAILED:
        outcomes[name] = outcome
