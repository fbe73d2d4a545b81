"""Cutting psql scripts and isolation specs into what would be sent to the server.

Source: PostgreSQL documentation, "psql" (meta-commands, variables), psql's psqlscan.l, and
src/test/isolation/README.
"""

import re
from collections.abc import Iterator

__all__ = ["spec_statements", "statements"]

_LEXEME = re.compile(
    r"""(?P<line>--[^\n]*)
    |(?P<comment>/\*)
    |(?P<escape>[eE]'(?:[^'\\]|\\.|'')*')
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$)
    |(?P<variable>(?<![:\w]):(?:'(?P<literal>\w+)'|"(?P<name>\w+)"|(?P<plain>[A-Za-z_]\w*)))
    |(?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    |(?P<number>\d\w*)
    |(?P<semicolon>;)
    |(?P<backslash>\\)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_OLD_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_CONFORMING = re.compile(
    r"\s*(?:re)?set\s+(?:\w+\s+)?standard_conforming_strings(?:\s*(?:to|=)\s*'?(\w+))?", re.IGNORECASE
)
_FROM_STDIN = re.compile(r"\bcopy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_COPY_END = re.compile(r"^\\\.\n?", re.MULTILINE)
_SENDING = ("g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch", "bind", "parse")
_BLOCK = re.compile(r"\{(.*?)\}", re.DOTALL)


def statements(script: str) -> Iterator[str]:
    """What psql would send of a script, without the final semicolons.

    Variables are replaced by a literal, a name or a word of their own name; all branches of ``\\if`` are read.
    """
    return _Scanner(script).run()


def spec_statements(spec: str) -> Iterator[str]:
    """The statements inside the blocks of an isolation spec."""
    text = re.sub(r"^\s*#.*$", "", spec, flags=re.MULTILINE)
    for block in _BLOCK.finditer(text):
        yield from statements(block[1])


class _Scanner:
    """One pass over a script, with what psql remembers between the lexemes."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._at = 0
        self._parts: list[str] = []
        self._words: list[str] = []
        self._depth = 0
        self._begins = 0
        self._conforming = True

    def run(self) -> Iterator[str]:
        while self._at < len(self._script):
            match = _LEXEME.match(self._script, self._at)
            assert match is not None, "the last alternative takes anything"
            kind, text = match.lastgroup or "other", match[0]
            if kind in ("literal", "name", "plain"):
                kind = "variable"
            elif kind == "tag":
                kind = "dollar"
            if kind == "string" and not self._conforming:
                old = _OLD_STRING.match(self._script, self._at)
                text = old[0] if old else text
            self._at += len(text)
            if kind == "semicolon" and self._depth == 0 and self._begins == 0:
                yield from self._end()
            elif kind == "backslash":
                yield from self._command()
            else:
                self._parts.append(self._lexeme(kind, text, match))
        yield from self._end()

    def _lexeme(self, kind: str, text: str, match: re.Match[str]) -> str:
        if kind == "comment":
            return text + self._rest_of_comment()
        if kind == "dollar":
            return text + self._up_to(text)
        if kind == "variable":
            if match["literal"]:
                return f"'{match['literal']}'"
            return f'"{match["name"]}"' if match["name"] else match["plain"]
        if kind == "word":
            self._word(text.lower())
        elif text in "([":
            self._depth += 1
        elif text in ")]" and self._depth:
            self._depth -= 1
        return text

    def _word(self, word: str) -> None:
        """Follow BEGIN ATOMIC … END, as psql does: only within CREATE FUNCTION and CREATE PROCEDURE."""
        self._words.append(word)
        if self._words[0] != "create" or not {"function", "procedure"} & set(self._words[1:4]):
            return
        if word == "begin" or (word == "case" and self._begins):
            self._begins += 1
        elif word == "end" and self._begins:
            self._begins -= 1

    def _rest_of_comment(self) -> str:
        start, depth = self._at, 1
        while depth and (mark := re.compile(r"/\*|\*/").search(self._script, self._at)):
            depth += 1 if mark[0] == "/*" else -1
            self._at = mark.end()
        if depth:
            self._at = len(self._script)
        return self._script[start : self._at]

    def _up_to(self, end: str) -> str:
        start = self._at
        found = self._script.find(end, start)
        self._at = len(self._script) if found < 0 else found + len(end)
        return self._script[start : self._at]

    def _command(self) -> Iterator[str]:
        """A backslash outside of quotes: a meta-command to the end of its line, or ``\\;``."""
        if self._script.startswith(";", self._at):
            self._at += 1
            self._parts.append(";")
            self._words.clear()
            return
        end = self._script.find("\n", self._at)
        line = self._script[self._at : end if end >= 0 else len(self._script)]
        self._at += len(line)
        name = re.match(r"\w*", line)
        if name is not None and name[0] in _SENDING:
            yield from self._end()
        elif line.startswith("copy ") and _FROM_STDIN.search(line):
            self._skip_data()

    def _end(self) -> Iterator[str]:
        text = "".join(self._parts).strip()
        self._parts.clear()
        self._words.clear()
        self._depth = self._begins = 0
        if not text:
            return
        yield text
        setting = _CONFORMING.match(text)
        if setting is not None:
            self._conforming = (setting[1] or "on").lower() in ("on", "default", "true", "1")
        if _FROM_STDIN.search(text) and not text.lower().startswith(("create", "do")):
            self._skip_data()

    def _skip_data(self) -> None:
        """Leave out the data lines of COPY … FROM STDIN, up to ``\\.``."""
        after = self._script.find("\n", self._at)
        end = _COPY_END.search(self._script, after + 1) if after >= 0 else None
        if end is not None:
            self._at = end.end()
