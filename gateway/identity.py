"""Who a session belongs to, and what the reader of its statements must know about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway import clock
from rules import NO_CURSORS, Context, OpenCursors, SchemaSnapshot, is_harmless
from rules.catalog import EMPTY

__all__ = ["Principal", "SessionState"]


_READS_VALUES: Final = ("DateStyle", "IntervalStyle", "TimeZone")


@dataclass(frozen=True, slots=True)
class Principal:
    """The one who asks. ``role`` is the server role the gateway became for them, None for the login's own."""

    user: str
    groups: frozenset[str]
    database: str
    client_addr: str | None
    role: str | None = None


@dataclass(slots=True)
class SessionState:
    """What the server said about how texts are read in this session.

    ``stale`` says that a statement may have changed it since, ``unknown`` why it cannot be known now.
    ``bad_defaults`` are the guarded settings that the session did not begin with as they have to be, ``reported`` what
    the server last said of the ones that decide how dates and intervals are read. ``lapses`` counts how often texts
    began to be read as usual again.
    """

    user: str
    application_name: str = ""
    client_encoding: str = "UTF8"
    standard_conforming_strings: bool = True
    search_path: tuple[str, ...] = ("public",)
    role: str | None = None
    stale: bool = True
    unknown: str | None = None
    bad_defaults: frozenset[str] = frozenset()
    lapses: int = 0
    cursors: OpenCursors = NO_CURSORS
    reported: dict[str, str] = field(default_factory=dict)
    transaction_since: datetime | None = None
    replication: bool = False
    _login: str | None = None
    _asked: bool = False

    def context(
        self, who: Principal, prepared: Mapping[str, tuple[str, ...]], catalog: SchemaSnapshot = EMPTY
    ) -> Context:
        """The session as the judge sees it now."""
        return Context(
            user=who.user,
            now=clock.now(),
            groups=who.groups,
            role=self.role or who.role,
            database=who.database,
            application_name=self.application_name,
            client_addr=who.client_addr,
            search_path=self.search_path,
            prepared=prepared,
            cursors=self.cursors,
            standard_conforming_strings=self.standard_conforming_strings,
            client_encoding=self.client_encoding,
            unknown=self.unknown,
            catalog=catalog,
            bad_defaults=self.bad_defaults,
        )

    def begins_with(self, parameters: Mapping[str, str]) -> None:
        """Take what the server reported at login: these are the values that a reset goes back to."""
        for name, value in parameters.items():
            self.parameter(name, value)
        self.bad_defaults = frozenset(
            name for name, value in parameters.items() if not is_harmless(name, value)
        )

    @property
    def _usual(self) -> bool:
        return self.standard_conforming_strings and is_harmless("client_encoding", self.client_encoding)

    def learn(self, path: tuple[str, ...], user: str, login: str, strings: str, encoding: str) -> None:
        """Take what the server said when asked: the effective search path, current and session user, settings.

        The first session user it names is the one that logged in.
        """
        self._login = self._login or login
        self.search_path = path
        self.role = user if user != self._login else None
        self._read(strings == "on", encoding)
        self.stale = False
        self.unknown = None
        self._asked = True

    def parameter(self, name: str, value: str) -> None:
        """Follow a ParameterStatus."""
        if name in _READS_VALUES:
            self.reported[name] = value
        if name == "application_name":
            self.application_name = value
        elif name == "client_encoding":
            self._read(self.standard_conforming_strings, value)
        elif name == "standard_conforming_strings":
            self._read(value == "on", self.client_encoding)
        elif name == "session_authorization":
            self.stale = True
        elif name == "search_path":
            # Reported since PostgreSQL 18, as it was set: which of these schemas there are, the report does not say.
            self.stale = True
            if not self._asked:
                path = split_search_path(value)
                self.search_path = tuple(self.user if name == "$user" else name for name in path)

    def _read(self, standard_strings: bool, encoding: str) -> None:
        usual = self._usual
        self.standard_conforming_strings = standard_strings
        self.client_encoding = encoding
        self.lapses += self._usual and not usual

    def transaction(self, *, open_: bool) -> None:
        """Follow the transaction status."""
        if not open_:
            self.transaction_since = None
        elif self.transaction_since is None:
            self.transaction_since = clock.now()


def split_search_path(value: str) -> tuple[str, ...]:
    """The schemas of a ``search_path`` as the server reports it, quotes removed.

    Source: PostgreSQL documentation, "Schemas" (search path) and SplitIdentifierString in the server.
    """
    names: list[str] = []
    current: list[str] = []
    quoted = was_quoted = False
    i = 0
    while i <= len(value):
        char = value[i] if i < len(value) else ","
        if quoted:
            if char == '"' and value[i + 1 : i + 2] == '"':
                current.append('"')
                i += 1
            elif char == '"' or i == len(value):
                quoted = False
            else:
                current.append(char)
        elif char == '"':
            quoted = was_quoted = True
        elif char == ",":
            name = "".join(current)
            if not was_quoted:
                name = name.lower()
            if name:
                names.append(name)
            current, was_quoted = [], False
        elif not char.isspace():
            current.append(char)
        i += 1
    return tuple(names)
