"""Running the tests that a configuration holds for its own policy."""

from pathlib import Path

from gateway.catalog.described import Described
from gateway.checking import check_context
from gateway.cli.catalog import document
from gateway.cli.errors import CliError
from gateway.config import Config, ConfigProblem, PolicyTest
from gateway.identity import split_search_path
from rules import Judge

__all__ = ["run_policy_tests"]


def run_policy_tests(config: Config) -> list[ConfigProblem]:
    """One problem for each test that fails, at the place where it is written. Nothing is run on a server."""
    catalogs = _Catalogs(config)
    problems: list[ConfigProblem] = []
    for index, test in enumerate(config.tests):
        try:
            difference = _difference(*catalogs.of(test.catalog), config, test)
        except CliError as error:
            difference = str(error)
        if difference is not None:
            problems.append(
                ConfigProblem(str(config.path), test.line, test.column, f"tests[{index}]", difference)
            )
    return problems


class _Catalogs:
    """The catalogs that tests name, each read once, with a judge of its own: dumps do not number themselves."""

    def __init__(self, config: Config) -> None:
        self._policy = config.policy
        self._read: dict[Path | None, tuple[Judge, Described] | CliError] = {}

    def of(self, path: Path | None) -> tuple[Judge, Described]:
        """Raises CliError, for the same file each time."""
        if path not in self._read:
            try:
                described = Described() if path is None else document(str(path))
                self._read[path] = Judge(self._policy), described
            except CliError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, CliError):
            raise found
        return found


def _difference(judge: Judge, described: Described, config: Config, test: PolicyTest) -> str | None:
    """What is not as the test wants it; None: it passes."""
    context = check_context(
        config,
        described,
        user=test.user,
        database=test.database,
        groups=test.groups,
        search_path=None if test.search_path is None else split_search_path(test.search_path),
    )
    verdict = judge.judge(test.sql.encode("utf-8", "surrogateescape"), context).verdict
    wrong: list[str] = []
    if verdict.decision.word != test.expect:
        wrong.append(f"expected {test.expect}, is {verdict.decision.word}")
    if test.rule is not None and verdict.rule != test.rule:
        wrong.append(f"expected rule {test.rule}, is {verdict.rule}")
    if test.obligations is not None and set(verdict.obligations) != test.obligations:
        expected, found = (
            ", ".join(sorted(each)) or "none" for each in (test.obligations, verdict.obligations)
        )
        wrong.append(f"expected obligations {expected}, are {found}")
    return f"{'; '.join(wrong)} ({verdict.rule}: {verdict.reason})" if wrong else None
