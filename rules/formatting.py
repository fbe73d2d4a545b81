"""SQL laid out for people who must decide on it."""

from typing import Final

import sqlglot

from rules.caps import LIGHT_TOKENS, weight
from rules.crosscheck import is_shallow
from rules.reader import Unreadable, read_text

MAX_FORMATTED: Final = 2 * LIGHT_TOKENS
"""As a weight. What weighs more is shown as it came: the event loop has no time to lay it out."""


def format_sql(sql: str) -> str:
    """The text laid out in lines, or as it came where a layout could change what is seen.

    Display only: comments are kept by sqlglot where it can, and nothing is ever decided on the result.
    """
    if weight(sql.encode("utf-8", "surrogateescape")) > MAX_FORMATTED:
        return sql
    try:
        sources = read_text(sql)
        if not is_shallow(sql) or any(token.word == "array" for s in sources for token in s.tokens):
            # sqlglot may take twice the time for each level.
            return sql
        formatted = ";\n".join(sqlglot.transpile(sql, read="postgres", write="postgres", pretty=True))
        before = [token.value for source in sources for token in source.tokens]
        after = [token.value for source in read_text(formatted) for token in source.tokens]
    except (Unreadable, RecursionError):
        return sql
    except Exception:
        # sqlglot raises more than its own errors on odd input; the raw text is always right.
        return sql
    # A layout that adds, drops or respells anything is not a layout.
    return formatted if before == after else sql
