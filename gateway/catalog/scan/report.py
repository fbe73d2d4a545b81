"""What a scan found, for people and programs: YAML to paste into a configuration, or JSON. Neither holds a value."""

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from gateway.catalog.scan.scan import Proposal, Scan
from gateway.text import one_line

__all__ = ["as_json", "as_yaml"]

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?")
_WORDS: Final = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n"])


def as_yaml(scan: Scan) -> str:
    """An entry ``personal_data`` for the configuration, with the reasons as comments."""
    return "\n".join(_lines(scan)) + "\n"


def as_json(scan: Scan) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "database": scan.database,
        "relations": scan.relations,
        "personal_data": [
            {
                "relation": proposal.relation,
                "columns": [
                    {
                        "name": finding.column,
                        "kind": str(finding.kind),
                        "confidence": round(finding.confidence, 2),
                        "reasons": list(finding.reasons),
                    }
                    for finding in proposal.findings
                ],
                "subject": proposal.subject,
                "subject_reason": proposal.subject_reason,
                "sampled_rows": proposal.sampled,
            }
            for proposal in scan.proposals
        ],
        "not_sampled": [{"relation": relation, "why": why} for relation, why in scan.unsampled],
    }


def _lines(scan: Scan) -> Iterator[str]:
    found = len(scan.proposals)
    yield _comment(
        f"{scan.database}: {found} of {scan.relations} relations may hold personal data. Look at each line:"
    )
    yield "# what is missing here is not guarded, and what is too much is held for nothing."
    yield "personal_data:" if scan.proposals else "personal_data: []"
    for proposal in scan.proposals:
        yield from _entry(proposal)
    if scan.unsampled:
        yield "# Of these no values were looked at; what is proposed for them, if anything, is by names alone:"
        for relation, why in scan.unsampled:
            yield _comment(f"  {relation}: {why}")


def _entry(proposal: Proposal) -> Iterator[str]:
    yield f"  - relation: {_scalar(proposal.relation)}"
    yield "    columns:"
    for finding in proposal.findings:
        why = "; ".join((f"confidence {finding.confidence:.2f}", *finding.reasons))
        yield f"      - {_scalar(finding.column)}    {_comment(f'{finding.kind}, {why}')}"
    if proposal.subject is None:
        yield f"    {_comment(f'subject: {proposal.subject_reason}')}"
    else:
        yield f"    subject: {_scalar(proposal.subject)}    {_comment(proposal.subject_reason)}"


def _comment(text: str) -> str:
    return f"# {one_line(text)}" if not text.startswith("  ") else f"#   {one_line(text)}"


def _scalar(text: str) -> str:
    """The text as YAML on one line, without anything that a terminal would obey."""
    if _PLAIN.fullmatch(text) and text not in _WORDS:
        return text
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=False, width=1_000_000)
    return dumped.rstrip("\n")
