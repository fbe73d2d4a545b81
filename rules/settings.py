"""Settings that a session may not change lightly: they decide how texts are read, or switch protections off."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.pgquery import Node

_HARMLESS_VALUES: Final = {
    "standard_conforming_strings": frozenset(["on", "true", "yes", "1", "t", "y", "tr", "tru", "ye"]),
    "client_encoding": frozenset(["utf8", "unicode"]),
    "session_replication_role": frozenset(["origin"]),
}
_WHY: Final = {
    "standard_conforming_strings": "decides where strings end, so it stays on",
    "client_encoding": "decides which bytes are quotes, so it stays UTF8",
    "session_replication_role": "switches triggers and foreign keys off, so it stays origin",
}


def setting(name: str | None, value: str | None, *, resets: bool = False) -> EffectFacts:
    """The effect of giving a setting a value; None stands for a name or value that the text does not show.

    A reset is taken as harmless: it goes back to what the session began with (see ``guarded_resets``).
    """
    folded = None if name is None else name.lower()
    if folded is None and value is not None and "," in value:
        # None of the guarded settings takes a list; pg_dump sets one by a name it looks up.
        return EffectFacts(Action.SESSION, detail="changes a setting that takes a list")
    if folded is None:
        return EffectFacts(
            Action.SESSION,
            nature=Nature.GUARDED,
            detail="changes a setting whose name the statement does not show",
        )
    resets = resets or (value is not None and value.strip().lower() == "default")
    if resets or (value is not None and is_harmless(folded, value)) or folded not in _WHY:
        return EffectFacts(Action.SESSION, folded, detail=f"changes {folded} for the session", resets=resets)
    return EffectFacts(Action.SESSION, folded, nature=Nature.GUARDED, detail=f"{folded} {_WHY[folded]}")


def assignment(fields: Node) -> EffectFacts:
    """The effect of a SET or RESET; also as ALTER ROLE, DATABASE, SYSTEM and FUNCTION have it."""
    kind = fields["kind"]
    name = fields.get("name")
    if kind == "VAR_RESET_ALL":
        return EffectFacts(Action.SESSION, detail="resets all settings", resets=True)
    if kind in ("VAR_RESET", "VAR_SET_DEFAULT", "VAR_SET_CURRENT"):
        return setting(name, None, resets=True)
    if kind == "VAR_SET_MULTI":
        return EffectFacts(Action.SESSION, "transaction", detail="sets transaction modes")
    if name in ("role", "session_authorization"):
        return EffectFacts(Action.SESSION, name, detail=f"changes {name.replace('_', ' ')}")
    values = [_constant(one) for one in fields.get("args", ())]
    return setting(name, values[0] if len(values) == 1 else None)


def _constant(node: Any) -> str | None:
    constant = node.get("A_Const")
    if constant is None:
        return None
    for field, key in (("sval", "sval"), ("fval", "fval"), ("ival", "ival")):
        if field in constant:
            return str(constant[field].get(key, "" if field == "sval" else 0))
    if "boolval" in constant:
        return "on" if constant["boolval"].get("boolval") else "off"
    return None


def search_path(fields: Node) -> tuple[str, ...] | None:
    """The path that a SET search_path sets; None where it is not that, or the text does not show it all."""
    if fields["kind"] != "VAR_SET_VALUE" or fields.get("name") != "search_path":
        return None
    names = [_constant(one) for one in fields.get("args", ())]
    if any(name is None or name == "$user" for name in names):
        return None
    return tuple(name for name in names if name)


def is_harmless(name: str, value: str) -> bool:
    """Whether a setting may have this value: it is not guarded, or texts are read with it as they are everywhere."""
    harmless = _HARMLESS_VALUES.get(name.lower())
    if harmless is None:
        return True
    if name.lower() == "client_encoding":
        # The server compares the names of encodings by their letters and digits.
        return "".join(char for char in value.lower() if char.isalnum() and char.isascii()) in harmless
    return value.strip().lower() in harmless


def startup(settings: Mapping[str, str]) -> Facts:
    """What a session that begins with these settings does by that: only the guarded ones count."""
    effects = [setting(name, value) for name, value in settings.items()]
    guarded = tuple(effect for effect in effects if effect.nature is Nature.GUARDED)
    return Facts((StatementFacts("LOGIN", "login", guarded),) if guarded else (), changes_context=True)


def guarded_resets(facts: Facts, bad_defaults: frozenset[str]) -> Facts:
    """The facts in a session where these settings have defaults under which its texts cannot be read: going back to
    a default is then no less than setting it."""
    if not bad_defaults:
        return facts
    return replace(
        facts,
        statements=tuple(
            replace(one, effects=tuple(_reset(effect, bad_defaults) for effect in one.effects))
            for one in facts.statements
        ),
    )


def _reset(effect: EffectFacts, bad_defaults: frozenset[str]) -> EffectFacts:
    bad = bad_defaults if effect.relation is None else bad_defaults & {effect.relation}
    if not effect.resets or not bad:
        return effect
    name = min(bad)
    detail = f"{name} {_WHY[name]}; its default in this session is another"
    return replace(effect, nature=Nature.GUARDED, detail=detail)
