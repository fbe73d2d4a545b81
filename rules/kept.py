"""What was decided once about a text, or about all texts of its template, and holds until something else changes."""

from dataclasses import dataclass
from typing import Final

from rules.facts import Action, Facts, Nature
from rules.templates import Template
from rules.verdict import Decision, Judgement, Obligation

__all__ = ["Kept"]

_KINDS: Final = frozenset({"SELECT", "VALUES", "INSERT", "UPDATE", "DELETE"})
_ACTIONS: Final = frozenset({Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE, Action.CALL})


@dataclass(frozen=True, slots=True)
class Kept:
    """A judgement that is kept: on one text, or with a ``template`` on every text of it."""

    judgement: Judgement
    template: Template | None = None

    def of(self, sql: bytes) -> Judgement:
        """The judgement on a text that it was kept for."""
        if self.template is None:
            return self.judgement
        return Judgement(self.template.read(sql), self.judgement.verdict)

    @property
    def ordinary(self) -> bool:
        """Whether it is allowed with no obligation but one that counts once it fails, reads and writes rows or calls
        functions that are known, and leaves the session and the definitions of the database as they are."""
        facts, verdict = self.judgement.facts, self.judgement.verdict
        if verdict.decision is not Decision.ALLOW or verdict.approval is not None:
            return False
        if verdict.obligations not in ((), (Obligation.REDACT_ERRORS,)):
            return False
        if facts != Facts(facts.statements) or facts.session_dependent or facts.has_parameter_bounds:
            return False
        return len(facts.statements) == 1 and all(
            statement.kind in _KINDS
            and all(
                effect.nature is Nature.PLAIN and effect.action in _ACTIONS for effect in statement.effects
            )
            for statement in facts.statements
        )
