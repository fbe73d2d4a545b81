"""A YAML file as plain values that still know where they stand.

Only the core of YAML is read: mappings, lists, text, numbers, true, false, null, anchors and ``<<``. Of the
surprises of YAML 1.1 none is kept: ``no``, ``on`` and ``10:30`` are text, keys are always text, a key written
twice is an error. ``${NAME}`` in any text is replaced from the environment, ``$${`` stands for ``${`` itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import yaml

from gateway.config.errors import ConfigError, ConfigProblem

__all__ = ["Document", "Path", "dotted", "parse_document"]

Path = tuple[str | int, ...]

MAX_NODES = 50_000
"""Nodes after aliases are followed: far above any honest file, far below what an alias bomb needs."""
MAX_DEPTH = 40

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLACEHOLDER = re.compile("\\$\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001")
_LITERAL = "$$\ue000"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+")
_WORDS: Mapping[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_TAG = "tag:yaml.org,2002:"
_IMPLICIT = frozenset(_TAG + word for word in ("int", "float", "bool", "null", "timestamp"))


def dotted(path: Path) -> str:
    """``('databases', 'shop', 'rules', 0)`` as ``databases.shop.rules[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@dataclass(slots=True)
class Document:
    """The values of a file, with what was wrong on the way to them.

    ``from_environment`` maps the path of a value to the ``${NAME}`` text it was written as: such a value
    may be a secret and is never shown.
    """

    file: str
    folder: FilePath
    value: object = None
    problems: list[ConfigProblem] = field(default_factory=list)
    from_environment: dict[Path, str] = field(default_factory=dict)
    _values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _faulty: set[Path] = field(default_factory=set)

    def place(self, path: Path, value: tuple[int, int], key: tuple[int, int] | None = None) -> None:
        """Remember where (line and column, from 1) the value of ``path``, and its key, are written."""
        self._values[path] = value
        if key is not None:
            self._keys[path] = key

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Add a problem at ``path`` or, when nothing stands there, at the nearest part above it."""
        known = path
        while known not in self._values and known:
            known = known[:-1]
        line, column = self._values.get(known, (1, 1))
        if at_key or known != path:
            line, column = self._keys.get(known, (line, column))
        self._faulty.add(path)
        self.problems.append(ConfigProblem(self.file, line, column, dotted(path), message))

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column, from 1, of the value of ``path``."""
        return self._values.get(path, (1, 1))

    def is_faulty(self, path: Path) -> bool:
        """Whether a problem of exactly this value was noted already, so that no second one need follow."""
        return path in self._faulty


def parse_document(text: str, path: FilePath, environment: Mapping[str, str]) -> Document:
    """Read ``text``, the content of ``path``.

    Raises :class:`ConfigError` only when it is not YAML at all; everything else that is wrong is found in
    ``problems`` of the result.
    """
    file = str(path)
    if "\ue000" in text or "\ue001" in text:
        raise ConfigError([ConfigProblem(file, 1, 1, "", "private use characters U+E000 and U+E001")])
    # Inside {...} YAML would take the braces of ${NAME} for its own. Same length, so columns stay true.
    masked = _REFERENCE.sub("$\ue000\\1\ue001", text).replace("$${", _LITERAL)
    document = Document(file, path.absolute().parent)
    try:
        node = yaml.compose(masked, Loader=yaml.SafeLoader)
        if node is not None:
            document.value = _Builder(document, environment).build(node, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError([ConfigProblem(file, line, column, "", _unmask(_words_of(error)))]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        found = error.character
        code = found if isinstance(found, int) else ord(found)
        message = f"not YAML: the character #x{code:04x} is not allowed"
        raise ConfigError([ConfigProblem(file, line, column, "", message)]) from None
    except RecursionError:
        raise ConfigError([ConfigProblem(file, 1, 1, "", "nested too deeply")]) from None
    return document


def _words_of(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return "not YAML: " + (", ".join(parts) or "cannot be read")


def _unmask(text: str) -> str:
    return text.replace("\ue000", "{").replace("\ue001", "}")


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Builder:
    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._count = 0
        self._full = False

    def build(self, node: yaml.Node, path: Path, depth: int) -> object:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            if not self._full:
                self._full = True
                self._document.problem(path, "too large or too deep once its aliases are followed")
            return None
        self._document.place(path, _position(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._document.problem(path, f"the YAML tag {node.tag} is not used here")
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        merged: dict[str, object] = {}
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._document.place((*path, "?"), _position(key_node))
                self._document.problem((*path, "?"), "a key must be plain text")
                continue
            if key_node.tag == _TAG + "merge":
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if isinstance(source, yaml.MappingNode):
                        for key, value in self._mapping(source, path, depth + 1).items():
                            merged.setdefault(key, value)
                    else:
                        self._document.problem(path, "<< must name a mapping")
                continue
            key = _unmask(key_node.value)
            child = (*path, key)
            if key in seen:
                line, column = _position(key_node)
                message = "this key is written twice; keep one of them"
                problem = ConfigProblem(self._document.file, line, column, dotted(child), message)
                self._document.problems.append(problem)
                continue
            seen.add(key)
            self._document.from_environment.pop(child, None)
            result[key] = self.build(value_node, child, depth + 1)
            self._document.place(child, _position(value_node), _position(key_node))
        return merged | result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        text: str = node.value
        if node.tag in _IMPLICIT and node.style in (None, ""):
            return _resolve(text)
        if node.tag not in (_TAG + "str", _TAG + "merge", _TAG + "value"):
            self._document.problem(path, f"the YAML tag {node.tag} is not used here")
            return None
        return self._expand(text, path)

    def _expand(self, text: str, path: Path) -> str | None:
        def replace(match: re.Match[str]) -> str:
            name = match[1]
            value = self._environment.get(name)
            if value is None:
                self._document.problem(path, f"the environment variable {name} is not set")
                return ""
            return value

        pieces = text.split(_LITERAL)
        if any(_PLACEHOLDER.search(piece) for piece in pieces):
            self._document.from_environment[path] = _unmask(text)
        elif "${" in text:
            self._document.problem(path, "${ must be followed by a name and }; write $${ for ${ itself")
        expanded = "${".join(_unmask(_PLACEHOLDER.sub(replace, piece)) for piece in pieces)
        return None if self._document.is_faulty(path) else expanded


def _resolve(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) < 40:
        return float(text)
    return text
