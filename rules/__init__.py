"""Turns SQL into facts and facts into a verdict; pure, and never a guess.

``compile_policy`` makes a Policy from a mapping, ``Judge`` judges messages under it.  What cannot be read with
certainty is unreadable and gets the policy's default for that; nothing here raises for what a client sends.
"""

from rules.approval import NO_MARGIN, Approval, Confirm, Escalation, GrantLimits, Margin, Stage, joined, unmet
from rules.bulk import narrow
from rules.capping import Cap, Demand, demands
from rules.caps import Allowance
from rules.catalog import SchemaSnapshot
from rules.compile import compile_policy
from rules.conflicts import Act, Affected, ConflictAction, ConflictKind, affected
from rules.context import Context, Parameter
from rules.criteria import Criterion, CriterionOutcome, Met, SqlCheck, SqlParameter, check
from rules.cursors import NO_CURSORS, CursorAct, CursorStep, OpenCursors
from rules.explanation import Explanation
from rules.facts import Action, EffectFacts, Facts, Nature, ParameterBound, RowBound, StatementFacts
from rules.formatting import format_sql
from rules.intent import UNSAID, Intent, spoken_in
from rules.judge import Judge, TooHeavy, slim, unread
from rules.kept import Kept
from rules.mapping import PolicyError, Problem
from rules.policy import Policy
from rules.readonly import Boundary, Containment, containment, joint
from rules.settings import is_harmless
from rules.shapes import Shape, is_bounded, shape_digest, shape_of
from rules.subjects import Kind, Touch, people_in
from rules.templates import MAX_LENGTH as MAX_TEMPLATE
from rules.templates import pattern_of
from rules.verdict import Decision, Effect, Judgement, Obligation, Verdict, united

__all__ = [
    "MAX_TEMPLATE",
    "NO_CURSORS",
    "NO_MARGIN",
    "UNSAID",
    "Act",
    "Action",
    "Affected",
    "Allowance",
    "Approval",
    "Boundary",
    "Cap",
    "Confirm",
    "ConflictAction",
    "ConflictKind",
    "Containment",
    "Context",
    "Criterion",
    "CriterionOutcome",
    "CursorAct",
    "CursorStep",
    "Decision",
    "Demand",
    "Effect",
    "EffectFacts",
    "Escalation",
    "Explanation",
    "Facts",
    "GrantLimits",
    "Intent",
    "Judge",
    "Judgement",
    "Kept",
    "Kind",
    "Margin",
    "Met",
    "Nature",
    "Obligation",
    "OpenCursors",
    "Parameter",
    "ParameterBound",
    "Policy",
    "PolicyError",
    "Problem",
    "RowBound",
    "SchemaSnapshot",
    "Shape",
    "SqlCheck",
    "SqlParameter",
    "Stage",
    "StatementFacts",
    "TooHeavy",
    "Touch",
    "Verdict",
    "affected",
    "check",
    "compile_policy",
    "containment",
    "demands",
    "format_sql",
    "is_bounded",
    "is_harmless",
    "joined",
    "joint",
    "narrow",
    "pattern_of",
    "people_in",
    "shape_digest",
    "shape_of",
    "slim",
    "spoken_in",
    "united",
    "unmet",
    "unread",
]
