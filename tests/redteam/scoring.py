"""What an entry's two runs, without and with the gateway, say about the gateway.

A must-stop entry that does visible harm by itself (rows of personal tables gone, more personal values out than
the policy lets pass) is stopped when that harm is prevented: by a hold, a refusal or an obligation.  Where no harm
can be seen (a setting changed, values that leave encoded) the gateway must have held or refused something.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.redteam.attempt import Attempt, shape
from tests.redteam.corpus import FAIL_CLOSED, Entry

__all__ = ["BULK", "Outcome", "Result", "Trial", "score", "unsuited"]

BULK = 20
"""Subjects that a read may show: the policy's rule ``bulk`` holds beyond."""

_NOT_THERE = frozenset({"42601", "42704", "42883", "42P01", "42703", "3F000", "0A000", "22023"})
"""A server of another version does not know a word, an object, a function."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: what was answered, the rows of personal tables before and after, and what the audit says of it.

    ``verdicts`` are those of its statements (none without a gateway).
    """

    attempt: Attempt
    before: Mapping[str, int | None]
    after: Mapping[str, int | None]
    verdicts: tuple[str, ...] = ()

    @property
    def deleted(self) -> dict[str, int | str]:
        """How many rows each personal relation lost; ``gone`` for a relation that is no more."""
        lost: dict[str, int | str] = {}
        for name, rows in self.before.items():
            left = self.after[name]
            if left is None:
                lost[name] = "gone"
            elif rows is not None and rows > left:
                lost[name] = rows - left
        return lost

    @property
    def refused(self) -> bool:
        """Whether the gateway held or denied anything, the login included."""
        return bool(self.attempt.holds) or not {"hold", "deny"}.isdisjoint(self.verdicts)

    def harm(self, entry: Entry) -> str:
        """The harm that can be seen, in words; empty when there is none."""
        found = [
            f"{rows} rows of {name} gone" if rows != "gone" else f"{name} gone"
            for name, rows in self.deleted.items()
        ]
        if self.attempt.subjects > (0 if entry.side_channel else BULK):
            kinds = ", ".join(f"{len(values)} {kind}" for kind, values in self.attempt.tokens.items())
            found.append(f"personal values out: {kinds}")
        return "; ".join(found)


class Outcome(StrEnum):
    """What an entry counts as."""

    STOPPED = "stopped"
    MISSED = "missed"
    PASSED = "passed"
    HELD = "held"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Result:
    """An entry's outcome, and why."""

    entry: Entry
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        entry = self.entry
        return f"{self.outcome:<8} {entry.id} ({entry.category}, {entry.expect}): {self.why} | {entry.text}"


def unsuited(entry: Entry, direct: Trial, major: int) -> str:
    """Why the entry says nothing on a server of this version; empty when it does.

    It must have failed without the gateway, on a version it is not meant for, where it is known to work on its own.
    """
    if major in entry.versions or entry.evidence.get("errors"):
        return ""
    missing = [code for code in direct.attempt.errors if code in _NOT_THERE]
    return f"PostgreSQL {major} answers {', '.join(missing)}" if missing else ""


def score(entry: Entry, direct: Trial, through: Trial, repeated: Trial | None = None) -> Result:
    """The result of an entry. ``repeated`` is a second run without the gateway, where the first two differ."""
    if entry.innocent:
        return _innocent(entry, direct, through, repeated)
    harm = through.harm(entry)
    if harm:
        refused = ", though something was held or refused" if through.refused else ""
        return Result(entry, Outcome.MISSED, f"{harm}{refused}")
    if through.refused or _login_refused(direct, through) or direct.harm(entry):
        return Result(entry, Outcome.STOPPED)
    if entry.expect == FAIL_CLOSED and not through.attempt.broken:
        return Result(entry, Outcome.STOPPED, "read in time, and harmless")
    return Result(entry, Outcome.MISSED, through.attempt.broken or "nothing was held or refused")


def _innocent(entry: Entry, direct: Trial, through: Trial, repeated: Trial | None) -> Result:
    if through.refused:
        return Result(entry, Outcome.HELD, f"verdicts {', '.join(through.verdicts) or 'hold'}")
    if through.attempt.broken != direct.attempt.broken:
        return Result(entry, Outcome.HELD, through.attempt.broken or "not broken as it is directly")
    if through.deleted != direct.deleted:
        return Result(entry, Outcome.HELD, f"deleted {through.deleted}, directly {direct.deleted}")
    if through.attempt.answers == direct.attempt.answers:
        return Result(entry, Outcome.PASSED)
    volatile = repeated is not None and repeated.attempt.answers != direct.attempt.answers
    if volatile and shape(through.attempt.answers) == shape(direct.attempt.answers):
        return Result(entry, Outcome.PASSED, "values change from run to run")
    return Result(entry, Outcome.HELD, f"another answer: {_difference(direct.attempt, through.attempt)}")


def _login_refused(direct: Trial, through: Trial) -> bool:
    return through.attempt.broken.startswith("login refused") and not direct.attempt.broken


def _difference(direct: Attempt, through: Attempt) -> str:
    for number, (expected, got) in enumerate(zip(direct.answers, through.answers, strict=False), 1):
        for one, other in zip(expected, got, strict=False):
            if one != other:
                return f"message {number}: {one!r} became {other!r}"
        if len(expected) != len(got):
            return f"message {number}: {len(got)} replies instead of {len(expected)}"
    return f"{len(through.answers)} messages answered instead of {len(direct.answers)}"
