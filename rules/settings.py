"""Settings that a session may not change lightly: they decide how texts are read, or switch protections off."""

from typing import Any, Final

from rules.facts import Action, EffectFacts, Nature
from rules.pgquery import Node

_HARMLESS_VALUES: Final = {
    "standard_conforming_strings": frozenset(["on", "true", "yes", "1", "t", "y", "tr", "tru", "ye"]),
    "client_encoding": frozenset(["utf8", "utf-8", "unicode"]),
    "session_replication_role": frozenset(["origin"]),
}
_WHY: Final = {
    "standard_conforming_strings": "decides where strings end",
    "client_encoding": "decides which bytes are quotes",
    "session_replication_role": "switches triggers and foreign keys off",
}


def setting(name: str | None, value: str | None, *, resets: bool = False) -> EffectFacts:
    """The effect of giving a setting a value; None stands for a name or value that the text does not show.

    A reset is taken as harmless: it goes back to what the session began with.
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
    harmless = _HARMLESS_VALUES.get(folded)
    if harmless is None or resets or (value is not None and value.strip().lower() in (*harmless, "default")):
        return EffectFacts(Action.SESSION, folded, detail=f"changes {folded} for the session")
    return EffectFacts(Action.SESSION, folded, nature=Nature.GUARDED, detail=f"{folded} {_WHY[folded]}")


def assignment(fields: Node) -> EffectFacts:
    """The effect of a SET or RESET; also as ALTER ROLE, DATABASE, SYSTEM and FUNCTION have it."""
    kind = fields["kind"]
    name = fields.get("name")
    if kind == "VAR_RESET_ALL":
        return EffectFacts(Action.SESSION, detail="resets all settings")
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
