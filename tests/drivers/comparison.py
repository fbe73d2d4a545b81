"""Two runs of one suite beside each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.drivers.results import FAILED, SKIPPED, Outcomes
from tests.drivers.suite import Suite

__all__ = ["Result", "table"]

_FORM = "{:<24} {:>7} {:>22} {:>22} {:>8} {:>11}"


@dataclass(slots=True)
class Result:
    """What both runs of a suite reported, or why there was no run."""

    suite: Suite
    direct: Outcomes = field(default_factory=dict)
    through: Outcomes = field(default_factory=dict)
    problem: str = ""

    def differences(self) -> list[tuple[str, str, str, str]]:
        """Test, direct outcome, outcome through the gateway, and the reason if it is one on purpose."""
        return [
            (test, self.direct.get(test, "-"), self.through.get(test, "-"), self._reason(test))
            for test in sorted(self.direct.keys() | self.through.keys())
            if self.direct.get(test) != self.through.get(test)
        ]

    def unexplained(self) -> bool:
        """Whether anything differs that is not on purpose."""
        return any(not reason for _, _, _, reason in self.differences())

    def report(self) -> str:
        """A line for every test that differs, and one for what kept the suite from running."""
        lines = [f"  {self.suite.name} did not run: {self.problem}"] if self.problem else []
        for test, direct, through, reason in self.differences():
            why = f" ({reason})" if reason else ""
            lines.append(f"  {test}: {direct} directly, {through} through the gateway{why}")
        return "".join(f"{line}\n" for line in lines)

    def _reason(self, test: str) -> str:
        patterns = self.suite.on_purpose.items()
        return next((reason for pattern, reason in patterns if fnmatchcase(test, pattern)), "")


def table(results: Iterable[Result]) -> str:
    """A line for each suite: how many tests passed, failed and were skipped either way, and how many differ."""
    heads = ("suite", "tests", "directly ok/fail/skip", "through ok/fail/skip", "differ", "on purpose")
    lines = [_FORM.format(*heads)]
    for result in results:
        if result.problem:
            lines.append(f"{result.suite.name:<24} did not run: {result.problem.splitlines()[0]}")
            continue
        differences = result.differences()
        explained = sum(bool(reason) for _, _, _, reason in differences)
        lines.append(
            _FORM.format(
                result.suite.name,
                len(result.direct.keys() | result.through.keys()),
                _counts(result.direct),
                _counts(result.through),
                len(differences) - explained,
                explained,
            )
        )
    return "\n".join(lines)


def _counts(outcomes: Outcomes) -> str:
    values = list(outcomes.values())
    failed, skipped = values.count(FAILED), values.count(SKIPPED)
    return f"{len(values) - failed - skipped}/{failed}/{skipped}"
