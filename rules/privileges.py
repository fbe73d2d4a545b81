"""GRANT and REVOKE in all their forms.

Source: documentation section 5.8, "Privileges".
"""

from collections.abc import Mapping
from typing import Final

from rules.definer import Definer, Handler
from rules.facts import Action, EffectFacts
from rules.findings import Frame
from rules.pgquery import Node


class Privileges(Definer):
    """Reads who is allowed what."""

    def _grant(self, fields: Node, frame: Frame) -> None:
        verb = "grants" if fields.get("is_grant") else "revokes"
        findings = self.statements.findings
        for one in fields.get("objects", ()):
            if "RangeVar" in one:
                findings.note(self.statements.on_relation(one["RangeVar"], Action.GRANT, frame, f"{verb} on"))
            elif fields.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA":
                schema = one["String"]["sval"]
                inside = findings.world.personal.in_schema(schema)
                findings.note(
                    EffectFacts(
                        Action.GRANT,
                        f"{schema}.*",
                        touches_personal=bool(inside),
                        classes=frozenset().union(*(each.classes for each in inside)),
                        detail=f"{verb} on all of {schema}",
                    )
                )
            else:
                findings.note(EffectFacts(Action.GRANT, detail=f"{verb} on an object"))

    def _grant_role(self, fields: Node, frame: Frame) -> None:
        self.statements.findings.note(EffectFacts(Action.GRANT, detail="grants or revokes roles"))

    def _default_privileges(self, fields: Node, frame: Frame) -> None:
        self.statements.findings.note(EffectFacts(Action.GRANT, detail="changes default privileges"))

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return _HANDLERS


_HANDLERS: Final[Mapping[str, Handler]] = {
    "GrantStmt": Privileges._grant,
    "GrantRoleStmt": Privileges._grant_role,
    "AlterDefaultPrivilegesStmt": Privileges._default_privileges,
}
