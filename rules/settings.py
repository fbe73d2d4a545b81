"""Settings that a session may not change lightly: they decide how texts are read, or switch protections off."""

from typing import Final

from rules.facts import Action, EffectFacts, Nature

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
