"""From a mapping (as YAML or JSON gives it) to a Policy; every problem is reported, not just the first."""

import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeVar

from rules.approval import Approval
from rules.compile_approval import known_members
from rules.compile_caps import CapReading
from rules.compile_criteria import CriteriaReading
from rules.facts import Action, Nature
from rules.mapping import Path, PolicyError, Problem
from rules.names import pattern, split_name
from rules.personal import ALL, SYSTEM, PersonalData, PersonalRelation
from rules.policy import Default, Hours, Network, Policy, RelationPattern, RowCondition, Rule, When
from rules.verdict import Decision, Obligation, Obligations, united

T = TypeVar("T")
W = TypeVar("W", bound=str)

_DECISIONS: Final = {decision.word: decision for decision in Decision}
_ALLOW, _HOLD, _DENY = Default(Decision.ALLOW), Default(Decision.HOLD), Default(Decision.DENY)
_READ_ONLY: Final = Default(Decision.ALLOW, (Obligation.READ_ONLY,))
_DEFAULTS: Final = {default.word: default for default in (_ALLOW, _HOLD, _DENY, _READ_ONLY)}
_STANDARD: Final = {
    Nature.UNREADABLE: _HOLD,
    Nature.READINGS_DIFFER: _HOLD,
    Nature.NOT_CROSS_CHECKED: _ALLOW,
    Nature.UNKNOWN_RELATION: _HOLD,
    Nature.OPAQUE: _HOLD,
    Nature.SERVER_FILE: _DENY,
    Nature.GUARDED: _DENY,
    Nature.REPLICATION: _DENY,
    Nature.PLAIN: _ALLOW,
}
_NOT_CONTAINED: Final = {
    Nature.UNREADABLE: "a text that was not read may end the read-only transaction",
    Nature.SERVER_FILE: "a read-only transaction does not stop it",
    Nature.GUARDED: "a read-only transaction does not stop it",
    Nature.REPLICATION: "it runs in no transaction",
}
"""Where ``read_only`` would promise what it cannot give."""
_FOLLOW_ALLOW: Final = (Nature.SERVER_FILE, Nature.GUARDED, Nature.READINGS_DIFFER, Nature.NOT_CROSS_CHECKED)
_LETS_EVERYTHING_THROUGH: Final = (
    Nature.UNREADABLE,
    Nature.UNKNOWN_RELATION,
    Nature.OPAQUE,
    Nature.PLAIN,
)
_ROWS: Final = re.compile(r"(>=|<=|>|<|=)\s*([0-9]+)")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(
    r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?([0-2]?[0-9]):([0-5][0-9])-([0-2]?[0-9]):([0-5][0-9])", re.IGNORECASE
)

_PERSONAL_KEYS: Final = ("relation", "columns", "subject", "class")
_RULE_KEYS: Final = ("name", "when", "then", "approval", "criteria", "hold", "message", "obligations")
_HOLDS: Final[Mapping[object, Literal["wait", "ticket"]]] = {"wait": "wait", "ticket": "ticket"}
_WHEN_KEYS: Final = (
    "action",
    "relation",
    "data",
    "columns",
    "rows",
    "users",
    "groups",
    "databases",
    "application",
    "client_addr",
    "hours",
)
_REDACT_ERRORS: Final[tuple[Literal["personal", "all", "none"], ...]] = ("personal", "all", "none")
_ERASING_UPDATE: Final[tuple[Literal["delete", "update"], ...]] = ("delete", "update")
_TOP_KEYS: Final = (
    "personal_data",
    "rules",
    "defaults",
    "approval",
    "redact_errors",
    "erasing_update",
    "checks",
    "caps",
    "groups",
    "open_groups",
    "users",
    "databases",
    "limits",
)


def compile_policy(document: Mapping[str, object]) -> Policy:
    """Compile the keys ``personal_data``, ``rules``, ``defaults``, ``approval``, ``redact_errors``,
    ``erasing_update`` and ``caps``.

    ``groups`` and ``users`` (each user with its ``groups``) say which groups exist, ``open_groups`` which of them have
    members who are not listed, ``checks`` which web services can be asked; ``databases`` and ``limits``
    are taken and left alone.  Raises PolicyError with every problem found.
    """
    return _Compiler(document).compile()


class _Compiler(CapReading, CriteriaReading):
    def __init__(self, document: Mapping[str, object]) -> None:
        super().__init__()
        self._document = document
        self._classes: set[str] = {"personal"}

    def compile(self) -> Policy:
        document = self._document
        if not isinstance(document, Mapping):
            raise PolicyError([Problem((), "a mapping is needed")])
        self._known_keys(document, _TOP_KEYS, ())
        self._members = known_members(document.get("groups"), document.get("users"))
        self._open = frozenset(self._texts(document.get("open_groups", ()), ("open_groups",)))
        checks = document.get("checks")
        self._checks = frozenset(map(str, checks)) if isinstance(checks, Mapping) else frozenset()
        personal = self._personal_data(document.get("personal_data"))
        rules = self._rules(document.get("rules"))
        defaults = self._defaults(document.get("defaults"), rules)
        approval = self._approval(document.get("approval"), ("approval",))
        redact_errors = self._word("redact_errors", _REDACT_ERRORS, "personal")
        erasing_update = self._word("erasing_update", _ERASING_UPDATE, "update")
        caps = self._caps(document.get("caps"), self._when)
        version = self._version()
        if self._problems:
            raise PolicyError(self._problems)
        return Policy(
            version=version,
            personal=personal,
            rules=rules,
            defaults=defaults,
            approval=approval or Approval(),
            depends_on_time=any(rule.when.hours is not None for rule in rules),
            redact_errors=redact_errors,
            erasing_update=erasing_update,
            caps=caps,
            approval_digest=_digest(document.get("approval")),
        )

    def _version(self) -> str:
        kept = {key: value for key, value in self._document.items() if key not in ("limits", "caps")}
        return _digest(kept)

    def _personal_data(self, value: object) -> PersonalData:
        relations: list[PersonalRelation] = []
        for path, entry in self._entries(value, ("personal_data",), _PERSONAL_KEYS):
            name = self._text(entry.get("relation"), (*path, "relation"), required=True)
            columns = self._texts(entry.get("columns", ALL), (*path, "columns"))
            if columns == ():
                self._problem(
                    (*path, "columns"), 'at least one column is needed (leave it out or write "*" for all)'
                )
            subject = self._text(entry.get("subject"), (*path, "subject"))
            data_class = self._text(entry.get("class"), (*path, "class"))
            if data_class is not None:
                self._classes.add(data_class)
            parts = split_name(name) if name is not None else None
            if name is not None and (parts is None or len(parts) != 2):
                self._problem((*path, "relation"), "must be written schema.name")
            if parts is not None and len(parts) == 2 and columns:
                relations.append(PersonalRelation(parts[0], parts[1], columns, subject, data_class))
        self._classes.update(one.data_class for one in SYSTEM if one.data_class is not None)
        return PersonalData((*relations, *SYSTEM))

    def _rules(self, value: object) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        seen: set[str] = set()
        for path, entry in self._entries(value, ("rules",), _RULE_KEYS):
            name = self._text(entry.get("name"), (*path, "name"), required=True)
            if name is not None:
                if name in seen:
                    self._problem((*path, "name"), f"another rule is already called {name}")
                if name.startswith("default:"):
                    self._problem((*path, "name"), "names that begin with default: are kept for the defaults")
                seen.add(name)
            when = self._when(entry.get("when"), (*path, "when"))
            then = self._decision(entry.get("then"), (*path, "then"))
            approval = self._approval(entry.get("approval"), (*path, "approval"), self._askers(when))
            if approval is not None and then is not None and then is not Decision.HOLD:
                self._problem((*path, "approval"), "only a rule with then: hold waits for an approval")
            criteria = self._criteria(entry.get("criteria"), (*path, "criteria"))
            if criteria and then is not None and then is not Decision.HOLD:
                self._problem((*path, "criteria"), "only a rule with then: hold has anything to check")
            hold = self._hold(entry.get("hold"), (*path, "hold"), then)
            message = self._text(entry.get("message"), (*path, "message"))
            obligations = self._obligations(entry.get("obligations"), (*path, "obligations"))
            if obligations and then is Decision.DENY:
                self._problem((*path, "obligations"), "what a rule denies does not run, so it owes nothing")
            if name is not None and then is not None:
                rules.append(
                    Rule(name, when, then, approval, message, obligations, criteria, hold, _digest(entry))
                )
        return tuple(rules)

    def _hold(self, value: object, path: Path, then: Decision | None) -> Literal["wait", "ticket"] | None:
        if value is None:
            return None
        if then is not None and then is not Decision.HOLD:
            self._problem(path, "only a rule with then: hold holds")
        word = _HOLDS.get(value) if isinstance(value, str) else None
        if word is None:
            self._problem(path, "must be wait or ticket")
        return word

    def _askers(self, when: When) -> frozenset[str] | None:
        """Everybody a rule may be about, None where it names no groups."""
        if when.groups is None:
            return None
        return frozenset(one for group in when.groups for one in self._members.get(group, ()))

    def _when(self, value: object, path: Path) -> When:
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            self._problem(path, "a mapping is needed")
            return When()
        self._known_keys(value, _WHEN_KEYS, path)
        groups = self._set(value, "groups", path)
        for group in sorted(groups or ()):
            self._group_exists(group, (*path, "groups"))
        data = self._text(value.get("data"), (*path, "data"))
        if data is not None and data not in self._classes:
            self._problem(
                (*path, "data"),
                f"no class {data} in personal_data; known: {', '.join(sorted(self._classes))}",
            )
        columns = self._set(value, "columns", path)
        return When(
            actions=self._actions(value, path),
            relations=self._each(value, "relation", path, RelationPattern),
            data=data,
            columns=None if columns is None else frozenset(column.lower() for column in columns),
            rows=self._rows(value.get("rows"), (*path, "rows")),
            users=self._each(value, "users", path, _exact_case),
            groups=groups,
            databases=self._each(value, "databases", path, _exact_case),
            applications=self._each(value, "application", path, pattern),
            networks=self._each(value, "client_addr", path, _network),
            hours=self._each(value, "hours", path, _hours),
        )

    def _each(
        self, section: Mapping[str, object], key: str, path: Path, make: Callable[[str], T]
    ) -> tuple[T, ...] | None:
        if section.get(key) is None:
            return None
        made: list[T] = []
        for text in self._texts(section[key], (*path, key)):
            try:
                made.append(make(text))
            except ValueError as error:
                self._problem((*path, key), str(error))
        if not made:
            self._problem((*path, key), "an empty list would match nothing")
        return tuple(made)

    def _set(self, section: Mapping[str, object], key: str, path: Path) -> frozenset[str] | None:
        each = self._each(section, key, path, str)
        return None if each is None else frozenset(each)

    def _actions(self, section: Mapping[str, object], path: Path) -> frozenset[Action] | None:
        each = self._each(section, "action", path, _action)
        return None if each is None else frozenset(each)

    def _rows(self, value: object, path: Path) -> RowCondition | None:
        if value is None:
            return None
        match = _ROWS.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            self._problem(path, "must be a comparison such as '> 100'")
            return None
        return RowCondition(match[1], int(match[2]))

    def _obligations(self, value: object, path: Path) -> Obligations:
        if value is None:
            return ()
        words = self._texts(value, path)
        for index, word in enumerate(words):
            if word not in list(Obligation):
                place = path if isinstance(value, str) else (*path, index)
                self._problem(place, f"unknown obligation {word}; known: {', '.join(Obligation)}")
        return united([[Obligation(word) for word in words if word in list(Obligation)]])

    def _defaults(self, value: object, rules: Sequence[Rule]) -> dict[Nature, Default]:
        chosen: dict[Nature, Default] = {}
        if value is not None and not isinstance(value, Mapping):
            self._problem(("defaults",), "a mapping is needed")
        elif value is not None:
            self._known_keys(value, [nature.value for nature in Nature], ("defaults",))
            for nature in Nature:
                if nature.value in value:
                    default = self._default(value[nature.value], nature)
                    if default is not None:
                        chosen[nature] = default
        defaults = {**_STANDARD, **chosen}
        # Whoever lets unread text, unknown code and everything else through gains nothing from a refusal of what
        # is named: the same could be had by another spelling.  Replication is still asked for by its own name.
        if all(defaults[nature] == _ALLOW for nature in _LETS_EVERYTHING_THROUGH) and all(
            rule.then is Decision.ALLOW and not rule.obligations for rule in rules
        ):
            for nature in _FOLLOW_ALLOW:
                defaults[nature] = chosen.get(nature, _ALLOW)
        return defaults

    def _default(self, value: object, nature: Nature) -> Default | None:
        path = ("defaults", nature.value)
        default = _DEFAULTS.get(value) if isinstance(value, str) else None
        if default is None:
            self._problem(path, f"must be one of {', '.join(_DEFAULTS)}")
        elif default is _READ_ONLY and nature in _NOT_CONTAINED:
            self._problem(path, f"cannot be read_only: {_NOT_CONTAINED[nature]}; write allow, hold or deny")
        return default

    def _word(self, key: str, words: tuple[W, ...], default: W) -> W:
        value = self._document.get(key)
        for word in words:
            if value == word:
                return word
        if value is not None:
            self._problem((key,), f"must be one of {', '.join(words)}")
        return default

    def _decision(self, value: object, path: Path) -> Decision | None:
        decision = _DECISIONS.get(value) if isinstance(value, str) else None
        if decision is None:
            self._problem(path, f"must be one of {', '.join(_DECISIONS)}")
        return decision


def _digest(value: object) -> str:
    """SHA-256 over a part of the document, in hexadecimal."""
    try:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    except (TypeError, ValueError):  # keys of several types cannot be sorted; they are problems anyway
        canonical = repr(value)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ValueError(f"unknown action {text}; known: {', '.join(Action)}") from None


def _exact_case(glob: str) -> re.Pattern[str]:
    """Users and databases are told apart by case: ``Alice`` and ``alice`` are two roles."""
    return re.compile(pattern(glob).pattern)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text} is neither an address nor a network such as 10.0.0.0/8") from None


def _hours(text: str) -> Hours:
    match = _HOURS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text} is not a span such as 08:00-18:00 or mon-fri 08:00-18:00 (UTC)")
    start, end = int(match[3]) * 60 + int(match[4]), int(match[5]) * 60 + int(match[6])
    if start > 24 * 60 or end > 24 * 60 or start == end:
        raise ValueError(f"{text} is not a span of the day")
    if match[1] is None:
        return Hours(start, end)
    first, last = match[1].lower(), (match[2] or match[1]).lower()
    if first not in _DAYS or last not in _DAYS:
        raise ValueError(f"{text}: days are {', '.join(_DAYS)}")
    begin, finish = _DAYS.index(first), _DAYS.index(last)
    return Hours(start, end, frozenset((begin + step) % 7 for step in range((finish - begin) % 7 + 1)))
