"""The corpus of statements that must be stopped and of those that must not.

Each line is one message or a list of messages of one session. A line with a ``gap`` is one that is known to get
through (or to be allowed on purpose) and says why: the test fails when a gap closes as well, so that the list
stays true.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from rules import NO_CURSORS, Decision
from tests.rules.policies import context, strict_judge

LINES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "corpus" / "redteam.jsonl").read_text(encoding="ascii").splitlines()
]


def decide(line: dict[str, Any]) -> Decision:
    """The strictest decision on any message of the line's session."""
    judge = strict_judge()
    if "hex" in line:
        messages = [bytes.fromhex(line["hex"])]
    else:
        texts = line["sql"] if isinstance(line["sql"], list) else [line["sql"]]
        messages = [text.encode() for text in texts]
    startup = line.get("startup") or {}
    encoding = startup.get("client_encoding", "UTF8")
    standard = "standard_conforming_strings" not in json.dumps(startup)
    prepared: dict[str, tuple[str, ...]] = {}
    cursors = NO_CURSORS
    worst = Decision.ALLOW
    for message in messages:
        judgement = judge.judge(
            message,
            context(
                prepared=dict(prepared),
                cursors=cursors,
                client_encoding=encoding,
                standard_conforming_strings=standard,
            ),
        )
        worst = max(worst, judgement.verdict.decision)
        for name, text in judgement.facts.prepares:
            prepared[name] = (*prepared.get(name, ()), text)
        cursors = cursors.after(judgement.facts.cursors)
    return worst


@pytest.mark.parametrize("line", LINES, ids=[line["id"] for line in LINES])
def test_line(line: dict[str, Any]) -> None:
    stopped = decide(line) is not Decision.ALLOW
    must_stop = line["expect"] != "allow"
    assert stopped == (must_stop and "gap" not in line)


def test_the_corpus_is_whole() -> None:
    innocent = [line for line in LINES if line["expect"] == "allow"]
    gaps = [line["id"] for line in LINES if "gap" in line]
    assert (len(LINES), len(innocent), len(gaps)) == (175, 38, 12)
