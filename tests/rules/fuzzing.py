"""Statements made of statements: words of the corpora taken out, doubled, exchanged, moved and spliced."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.rules.traffic import FILES, read_traffic

__all__ = ["mutations", "seeds"]

_CORPUS = Path(__file__).parent / "corpus"
_WORD = re.compile(
    r"\s+|--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$\w*\$.*?\$\w*\$|\w+|[<>=!~@#%^&|+*/?-]+|.",
    re.DOTALL,
)
_LONGEST = 3000
_BAIT = (
    *(
        "DELETE FROM customers",
        "TRUNCATE crm.orders",
        "SELECT email FROM customers",
        "customers",
        "crm.customers",
    ),
    *(
        "'",
        '"',
        "$$",
        "/*",
        "*/",
        "--",
        ";",
        "(",
        ")",
        ",",
        "E'\\\\'",
        "U&",
        "ONLY",
        "*",
        "AS",
        "WITH x AS (",
    ),
    *(
        "RETURNING *",
        "EXPLAIN ANALYZE",
        "UNION ALL",
        "\x0b",
        "\u00a0",
        "\u2028",
        "\ufeff",
        "é",
        "::text",
        "NULL",
        "1",
    ),
)


def seeds() -> list[str]:
    """Every statement of the corpora."""
    found: list[str] = []
    for name in ("redteam.jsonl", "variations.jsonl"):
        for line in (_CORPUS / name).read_text(encoding="utf-8").split("\n"):
            sql = json.loads(line)["sql"] if line else None
            found += [sql] if isinstance(sql, str) else sql or []
    found += [recorded.sql for file in FILES for recorded in read_traffic(file)]
    return [sql for sql in dict.fromkeys(found) if len(sql) <= _LONGEST]


def mutations(texts: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Endless statements, each a few changes away from one of ``texts``."""
    while True:
        words = _WORD.findall(rng.choice(texts))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            _change(words, texts, rng)
        yield "".join(words)


def _change(words: list[str], texts: Sequence[str], rng: random.Random) -> None:
    at = rng.randrange(len(words) + 1)
    match rng.randrange(7):
        case 0:
            del words[at : at + rng.randint(1, 3)]
        case 1:
            words[at:at] = words[at : at + rng.randint(1, 4)]
        case 2:
            other = _WORD.findall(rng.choice(texts))
            start = rng.randrange(len(other) + 1)
            words[at : at + rng.randint(0, 3)] = other[start : start + rng.randint(1, 12)]
        case 3:
            words[at:at] = [" ", rng.choice(_BAIT), " "]
        case 4:
            words[at : at + 1] = [rng.choice(_BAIT)]
        case 5:
            other = _WORD.findall(rng.choice(texts))
            words[at:] = other[rng.randrange(len(other) + 1) :]
        case _:
            words += [rng.choice(("; ", ";", " UNION ALL ")), rng.choice(texts)]
