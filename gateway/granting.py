"""What of a held statement may be granted: the shape that more of it would have, and what that is bound to."""

from gateway.arbiter import Ruling
from gateway.recorder import Recorder
from gateway.store import Grantable
from protocol.request import Step
from rules import Approval, Decision, Parameter, Policy, Shape, is_bounded, shape_digest, shape_of

__all__ = ["grantable"]


def grantable(ruling: Ruling, approval: Approval, policy: Policy, recorder: Recorder) -> Grantable | None:
    """What may be granted of a request, None where nothing may: its rules say nothing of grants, or it does anything
    but to read and write rows in one text that was read with certainty."""
    if approval.grants is None or len(ruling.ruled) != 1:
        return None
    (one,) = ruling.ruled
    if one.execution.step is Step.FUNCTION_CALL or len(one.execution.sql) != 1 or len(one.readings) != 1:
        return None
    (sql,), (facts,) = one.execution.sql, one.readings
    effects = one.judgement.verdict.effects
    rules = tuple(sorted({effect.rule for effect in effects if effect.decision is Decision.HOLD}))
    parameters = [Parameter(*parameter) for parameter in one.execution.parameters]
    who, role = recorder.who, recorder.state.role or recorder.who.role or ""
    bound_to = (who.user, who.database, role, binding := policy.binding(rules))
    shape = shape_of(sql)
    free = shape_digest(shape, facts, parameters, ("free", *bound_to))
    exact = shape_digest(Shape(sql), facts, parameters, ("exact", *bound_to))
    if free is None or exact is None:
        return None
    return Grantable(
        max_for=approval.grants.max_for,
        max_uses=approval.grants.max_uses,
        free=free,
        exact=exact,
        text=str(shape),
        same=str(Shape(sql)),
        bounded=is_bounded(facts, parameters),
        role=role,
        rules=rules,
        binding=binding,
    )
