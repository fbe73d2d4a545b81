"""Which functions are PostgreSQL's own and harmless, and what the others may do.

The list of PostgreSQL's functions is an allow-list: a name that is not on it is code nobody has vouched for.  Some
of PostgreSQL's own are taken off again, because they run SQL from a text, reach files, steer the server, or
change the session.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from rules.builtin import FUNCTIONS, INFORMATION_SCHEMA_FUNCTIONS, words


class Conduct(Enum):
    """What a function does beyond computing."""

    HARMLESS = auto()
    OPAQUE = auto()
    SERVER_FILE = auto()
    SESSION = auto()
    INDEXES = auto()
    LARGE_OBJECT = auto()


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is called: ``name`` with its schema if one was written, and why it is not harmless."""

    name: str
    conduct: Conduct
    why: str = ""


_RUNS_TEXT: Final = words(
    """cursor_to_xml cursor_to_xmlschema database_to_xml database_to_xml_and_xmlschema database_to_xmlschema
    query_to_xml query_to_xml_and_xmlschema query_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema
    schema_to_xmlschema table_to_xml table_to_xml_and_xmlschema table_to_xmlschema ts_rewrite ts_stat"""
)
_STEERS_SERVER: Final = words(
    """pg_backup_start pg_backup_stop pg_cancel_backend pg_copy_logical_replication_slot
    pg_copy_physical_replication_slot pg_create_logical_replication_slot pg_create_physical_replication_slot
    pg_create_restore_point pg_drop_replication_slot pg_import_system_collations pg_log_backend_memory_contexts
    pg_log_standby_snapshot pg_nextoid pg_promote pg_reload_conf pg_rotate_logfile pg_start_backup pg_stop_backup
    pg_stop_making_pinned_objects pg_switch_wal pg_sync_replication_slots pg_terminate_backend
    pg_wal_replay_pause pg_wal_replay_resume pg_stat_reset pg_stat_reset_backend_stats pg_stat_reset_replication_slot
    pg_stat_reset_shared pg_stat_reset_single_function_counters pg_stat_reset_single_table_counters
    pg_stat_reset_slru pg_stat_reset_subscription_stats pg_clear_attribute_stats pg_clear_relation_stats
    pg_restore_attribute_stats pg_restore_relation_stats"""
)
_STEERS_PREFIXES: Final = ("binary_upgrade_", "pg_replication_", "pg_logical_")
_WORKS_ON_INDEXES: Final = words(
    "brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list"
)
_SHOWS_OTHERS: Final = words(
    "pg_stat_get_activity pg_stat_get_backend_activity pg_hba_file_rules pg_ident_file_mappings "
    "pg_show_all_file_settings pg_stat_get_backend_client_addr"
)
_FILE_PREFIXES: Final = ("pg_read_", "pg_ls_", "pg_file_", "pg_stat_file", "lo_import", "lo_export")
_LARGE_OBJECTS: Final = words(
    """lo_close lo_creat lo_create lo_from_bytea lo_get lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64
    lo_truncate lo_truncate64 lo_unlink loread lowrite"""
)
CARRIES_OUT: Final = frozenset(["pg_notify", "set_config", "pg_logical_emit_message"]) | _LARGE_OBJECTS
"""Functions that put their arguments where others can read them, wherever in a statement they are called."""

COUNTS: Final = frozenset(["count", "regr_count"])
"""Aggregates that say how many, never what."""
SUMMARIES: Final = words(
    """avg sum stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp bool_and bool_or
    every regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy"""
)
"""Aggregates that hide single values, as long as what they work on is not a personal value itself."""
MEASURES: Final = words(
    """length char_length character_length octet_length bit_length array_length cardinality jsonb_array_length
    json_array_length pg_column_size num_nulls num_nonnulls"""
)
"""Functions that say how long a value is."""


def known(schema: str | None, name: str, *, pg_catalog_first: bool = True) -> Function:
    """What is known of a function from its name.

    ``pg_catalog_first`` is false where the search path puts another schema before pg_catalog: then an unqualified
    name may be anybody's.
    """
    full = name if schema is None else f"{schema}.{name}"
    if schema == "information_schema" and name in INFORMATION_SCHEMA_FUNCTIONS:
        return Function(full, Conduct.HARMLESS)
    if name not in FUNCTIONS or schema not in (None, "pg_catalog"):
        if name.startswith(_FILE_PREFIXES) or name.startswith(("dblink", "postgres_fdw_")):
            return Function(
                full, Conduct.SERVER_FILE, f"{full}() reaches files or servers outside of the database"
            )
        return Function(full, Conduct.OPAQUE, f"{full}() is not one of PostgreSQL's own functions")
    if schema is None and not pg_catalog_first:
        return Function(
            full, Conduct.OPAQUE, f"{full}() may not be PostgreSQL's own: search_path puts others first"
        )
    if name.startswith(_FILE_PREFIXES):
        return Function(full, Conduct.SERVER_FILE, f"{name}() reaches files of the server")
    if name in _RUNS_TEXT:
        return Function(full, Conduct.OPAQUE, f"{name}() reads what a text names")
    if name in _STEERS_SERVER or name.startswith(_STEERS_PREFIXES):
        return Function(full, Conduct.OPAQUE, f"{name}() acts on the server, not on data")
    if name in _SHOWS_OTHERS:
        return Function(full, Conduct.OPAQUE, f"{name}() shows other sessions or settings")
    if name in _WORKS_ON_INDEXES:
        return Function(full, Conduct.INDEXES, f"{name}() evaluates what an index is made of")
    if name == "set_config":
        return Function(full, Conduct.SESSION)
    if name in _LARGE_OBJECTS:
        return Function(full, Conduct.LARGE_OBJECT, f"{name}() works on large objects")
    return Function(full, Conduct.HARMLESS)
