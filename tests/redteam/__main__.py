"""``python -m tests.redteam [CORPUS ...] [--only ID] [--record]``, see ``make redteam``."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.redteam.campaign import Score, campaign, run_all
from tests.redteam.corpus import Entry, read_corpus
from tests.redteam.scoring import Trial

SHIPPED = Path(__file__).resolve().parent.parent / "rules" / "corpus"
CORPORA = (SHIPPED / "redteam.jsonl", SHIPPED / "variations.jsonl")
SCHEMA = "redteam_schema.sql"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run corpora; 0 only if all that must be stopped was, and nothing innocent."""
    parser = argparse.ArgumentParser(prog="make redteam", description=__doc__)
    parser.add_argument("corpora", nargs="*", type=Path, default=CORPORA, metavar="CORPUS")
    parser.add_argument("--only", action="append", metavar="ID", help="run this entry (may be repeated)")
    parser.add_argument(
        "--record",
        action="store_true",
        help="run without the gateway, and write what the entries do into the corpus as their evidence",
    )
    chosen = parser.parse_args(arguments)
    total = Score()
    for corpus in chosen.corpora:
        beside = corpus.parent / SCHEMA
        schema = beside if beside.exists() else SHIPPED / SCHEMA
        entries = [entry for entry in read_corpus(corpus) if not chosen.only or entry.id in chosen.only]
        if chosen.record:
            asyncio.run(_record(corpus, entries, schema))
        else:
            asyncio.run(run_all(entries, schema, lambda line: print(line, flush=True), total))
    if chosen.record:
        return 0
    print(total)
    return 0 if total.perfect and total.results else 1


async def _record(corpus: Path, entries: Sequence[Entry], schema: Path) -> None:
    # Not splitlines(): see read_corpus().
    texts = corpus.read_text(encoding="utf-8").split("\n")
    lines = {line["id"]: line for line in (json.loads(text) for text in texts if text.strip())}
    async with campaign(schema) as running:
        for entry in entries:
            lines[entry.id]["evidence"] = _evidence(await running.directly(entry))
    corpus.write_text("".join(f"{json.dumps(line)}\n" for line in lines.values()), encoding="utf-8")


def _evidence(trial: Trial) -> dict[str, object]:
    made = trial.attempt
    return {
        "tags": made.tags,
        "deleted": trial.deleted,
        "pii_tokens_out": sum(map(len, made.tokens.values())),
        "errors": made.errors,
    }


if __name__ == "__main__":
    sys.exit(main())
