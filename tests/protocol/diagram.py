"""Draws ``protocol/state.py`` into the documentation.

``python -m tests.protocol.diagram`` writes it; ``test_state.py`` checks that it was not forgotten.
"""

import re
from pathlib import Path
from typing import Final

from protocol.state import ANYTIME, REPLIES, Effect, Reply
from protocol.tags import BackendTag

__all__ = ["DOCUMENT", "drawn", "in_document"]

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs/protocol.md"
_BLOCK: Final = re.compile(r"(?<=^<!-- drawn -->\n).*?(?=^<!-- end -->)", re.MULTILINE | re.DOTALL)

_GOES_TO: Final = {
    Effect.ANSWERS: "[*]",
    Effect.FINISHES: "[*]",
    Effect.CONTINUES: None,
    Effect.FINISHES_ONE: None,
    Effect.ASKS_DATA: "CopyIn",
    Effect.BOTH_WAYS: "CopyIn",
}


def drawn() -> str:
    """One diagram for each kind of reply, and the messages that may come at any time."""
    parts = []
    for reply, table in REPLIES.items():
        parts.append(f"### {reply.value}\n\n```mermaid\nstateDiagram-v2\n{_diagram(reply, table)}```\n")
    anytime = ", ".join(sorted(_name(tag) for tag in ANYTIME))
    parts.append(
        f"At any time, between any two of these: {anytime}. ErrorResponse may come instead of any answer.\n"
    )
    return "\n" + "\n".join(parts) + "\n"


def in_document() -> str:
    """What the documentation shows now."""
    found = _BLOCK.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found is not None, f"{DOCUMENT} has no block for the diagrams"
    return found[0]


def _diagram(reply: Reply, table: dict[int, Effect]) -> str:
    state = reply.name.title().replace("_", "")
    lines = [f"    state {_quoted(reply.value)} as {state}", f"    [*] --> {state}: sent to the server"]
    asks = False
    for effect in Effect:
        tags = [_name(tag) for tag, its in table.items() if its is effect]
        if not tags:
            continue
        target = _GOES_TO[effect] or state
        asks = asks or target == "CopyIn"
        lines.append(f"    {state} --> {target}: {', '.join(tags)}")
    after_error = state if BackendTag.READY_FOR_QUERY in table else "[*]"
    lines.append(f"    {state} --> {after_error}: ErrorResponse")
    if asks:
        lines.insert(1, f"    state {_quoted('COPY data of the client')} as CopyIn")
        lines.append(f"    CopyIn --> {state}: CopyDone or CopyFail of the client, or ErrorResponse")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _name(tag: int) -> str:
    return BackendTag(tag).name.title().replace("_", "")


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(_BLOCK.sub(lambda _: drawn(), text), encoding="utf-8")
