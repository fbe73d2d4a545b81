"""The ``options`` start-up parameter: a command line for the server process.

It is read here so that the settings it makes are known, and passed on unchanged. Splitting follows the
server's ``pg_split_opts``, the switches its ``process_postgres_switches``.

Source: PostgreSQL documentation, "postgres" (Options) and "Database Connection Control Functions" (options).
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Setting", "split_options", "split_words"]

_SPACES: Final = " \t\n\v\f\r"
_WITH_ARGUMENT: Final = frozenset("BCcDdfhkNprSTtvW-")
_WITHOUT_ARGUMENT: Final = frozenset("bEeFijlnOPs")


@dataclass(frozen=True, slots=True)
class Setting:
    """A run-time setting and its value. ``name`` is in lower case; empty for what is not read as a setting,
    with the words as they came in ``value``: another switch, or something the server will refuse."""

    name: str
    value: str


def split_words(options: str) -> list[str]:
    """Words at unescaped white space; a backslash takes the next character as it is."""
    words: list[str] = []
    word: list[str] | None = None
    escaped = False
    for char in options:
        if char in _SPACES and not escaped:
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        if word is None:
            word = []
        if char == "\\" and not escaped:
            escaped = True
        else:
            word.append(char)
            escaped = False
    if word is not None:
        words.append("".join(word))
    return words


def split_options(options: str) -> tuple[Setting, ...]:
    """The settings an ``options`` string makes, in order; of a name made twice the last one counts.

    All spellings of getopt count: ``-c name=value``, ``-cname=value``, ``--name=value``, and either of them
    behind flags without an argument (``-ec name=value``). Settings behind a word the server refuses are
    read too: to know of more than will happen does no harm.
    """
    settings: list[Setting] = []
    words = iter(split_words(options))
    for word in words:
        if len(word) < 2 or word[0] != "-" or word == "--":
            settings.append(Setting("", word))
            continue
        at = 1
        while at < len(word) and word[at] in _WITHOUT_ARGUMENT:
            at += 1
        if at == len(word) or word[at] not in _WITH_ARGUMENT:
            settings.append(Setting("", word))
            continue
        argument = word[at + 1 :] or next(words, "")
        settings.append(_setting(word[at], argument, word))
    return tuple(settings)


def _setting(switch: str, argument: str, word: str) -> Setting:
    name, equals, value = argument.partition("=")
    if switch not in "c-" or not equals or not name:
        return Setting("", word if word.endswith(argument) else f"{word} {argument}")
    return Setting(name.replace("-", "_").lower() if name.isascii() else name, value)
