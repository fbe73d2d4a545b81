"""Who runs a statement, and in what session: everything beside the text that a verdict may depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rules.catalog import EMPTY, SchemaSnapshot
from rules.cursors import NO_CURSORS, OpenCursors
from rules.settings import is_harmless


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound parameter: its type's OID (0 where unknown), format (0 text, 1 binary), value (None for NULL)."""

    type_oid: int
    format: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Context:
    """The session as it stands when the statement would run.

    ``search_path`` is the effective path in the order the server searches it: schema names without quotes, ``$user``
    replaced, what does not exist or may not be used left out, ``pg_catalog`` and the session's own ``pg_temp_N`` where
    they are searched unasked.  ``catalog`` is
    what is known of the database, the session's own temporary and uncommitted relations included.
    ``now`` is aware and in UTC.  ``prepared`` maps a prepared statement's name to every text it may stand for
    (more than one where a PREPARE may have been rolled back); EXECUTE is judged on all of them.
    ``cursors`` are those that DECLARE has opened.  ``role`` is
    whose privileges the session has, None for the login role's.  ``unknown`` says why the rest cannot be told.
    ``parameter_types`` are the types (OIDs) of somebody's own that parameters were declared with beside the text.
    ``bad_defaults`` are the guarded settings whose default in this session is not what they have to be.
    """

    user: str
    now: datetime
    groups: frozenset[str] = frozenset()
    role: str | None = None
    database: str = ""
    application_name: str = ""
    client_addr: str | None = None
    search_path: tuple[str, ...] = ("public",)
    prepared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cursors: OpenCursors = NO_CURSORS
    standard_conforming_strings: bool = True
    client_encoding: str = "UTF8"
    unknown: str | None = None
    bad_defaults: frozenset[str] = frozenset()
    parameter_types: tuple[int, ...] = ()
    catalog: SchemaSnapshot = EMPTY

    def unreadable(self, sql: bytes) -> str | None:
        """Why this text cannot be read in this session, or None: lexing must not depend on what we do not see.

        Without a backslash a text reads the same however strings are read, and in ASCII in every encoding that a
        client can speak: the server converts nothing of it.
        """
        if self.unknown is not None:
            return self.unknown
        if not self.standard_conforming_strings and b"\\" in sql:
            return "standard_conforming_strings is off in this session, and the text has a backslash in it"
        if not is_harmless("client_encoding", self.client_encoding) and not sql.isascii():
            return f"client_encoding is {self.client_encoding}, and the text is not ASCII; set it to UTF8"
        return None
