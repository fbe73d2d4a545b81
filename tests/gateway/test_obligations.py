"""What the client is told where values were left out."""

from pathlib import Path
from typing import Literal

import pytest

from gateway.arbiter import Release, Ruled, Ruling
from gateway.config import Audit, Config, load_config
from gateway.obligations import Obligations
from protocol.request import Execution, Step
from rules import Decision, Facts, Judgement, SchemaSnapshot, Verdict

LEFT_OUT = "Values are left out here, since they may be personal data."
WHERE = f"{LEFT_OUT} The audit of the gateway has them: statement S-1.2."


def config(tmp_path: Path, statements: str, redact: str) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(
        f"databases: {{shop: {{host: db}}}}\naudit: {{statements: {statements}, redact: {redact}}}\n",
        encoding="utf-8",
    )
    return load_config(file, environment={})


def ruling(*, redacts: bool, held: bool) -> Ruling:
    """A ruling on one execution."""
    verdict = Verdict(Decision.ALLOW, "r", "why", None, ())
    one = Ruled(Execution(Step.QUERY, 0, 0), Judgement(Facts(), verdict), (Facts(),), SchemaSnapshot(), {})
    if held:
        one.release = Release("policy", "H-1", ("carol",))
    return Ruling(Decision.ALLOW, [one], one, "policy", redacts=redacts)


@pytest.mark.parametrize(
    ("statements", "redact", "held", "hint"),
    [
        ("all", "none", False, WHERE),
        ("held", "none", False, LEFT_OUT),
        ("all", "literals", False, LEFT_OUT),
        ("held", "literals", True, WHERE),
    ],
)
def test_the_hint_names_the_record_where_the_audit_keeps_it(
    tmp_path: Path,
    statements: Literal["all", "held"],
    redact: Literal["none", "literals"],
    held: bool,
    hint: str,
) -> None:
    settings = config(tmp_path, statements, redact)
    assert settings.audit == Audit(tmp_path / "audit.jsonl", statements=statements, redact=redact)
    obligations = Obligations(lambda: settings)
    assert obligations.redaction(ruling(redacts=True, held=held), "S-1.2") == hint
    assert obligations.redaction(ruling(redacts=False, held=held), "S-1.2") == ""
