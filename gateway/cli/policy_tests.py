"""Running the tests that a configuration holds for its own policy."""

from gateway.clock import now
from gateway.config import Config, ConfigProblem, PolicyTest
from rules import Context, Judge

__all__ = ["run_policy_tests"]


def run_policy_tests(config: Config) -> list[ConfigProblem]:
    """One problem for each test that fails, at the place where it is written. Nothing is run on a server."""
    judge = Judge(config.policy)
    problems: list[ConfigProblem] = []
    for index, test in enumerate(config.tests):
        difference = _difference(judge, config, test)
        if difference is not None:
            problems.append(
                ConfigProblem(str(config.path), test.line, test.column, f"tests[{index}]", difference)
            )
    return problems


def _difference(judge: Judge, config: Config, test: PolicyTest) -> str | None:
    """What is not as the test wants it; None: it passes."""
    user = config.users.get(test.user)
    context = Context(
        user=test.user,
        now=now(),
        groups=config.groups_of(test.user) if test.groups is None else test.groups,
        role=user.role if user is not None else None,
        database=test.database,
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
