"""What statements are called: their leading key words, as people and the audit know them."""

import re
from collections.abc import Mapping
from typing import Any, Final

TRANSACTION: Final[Mapping[str, str]] = {
    "TRANS_STMT_BEGIN": "BEGIN",
    "TRANS_STMT_START": "START TRANSACTION",
    "TRANS_STMT_COMMIT": "COMMIT",
    "TRANS_STMT_ROLLBACK": "ROLLBACK",
    "TRANS_STMT_SAVEPOINT": "SAVEPOINT",
    "TRANS_STMT_RELEASE": "RELEASE",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK TO",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}
PLAIN: Final[Mapping[str, str]] = {
    "ListenStmt": "LISTEN",
    "UnlistenStmt": "UNLISTEN",
    "NotifyStmt": "NOTIFY",
    "VariableShowStmt": "SHOW",
    "CheckPointStmt": "CHECKPOINT",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
}
_NAMES: Final = {
    "SelectStmt": "SELECT",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "ClosePortalStmt": "CLOSE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "CreateStmt": "CREATE TABLE",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreatedbStmt": "CREATE DATABASE",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateEnumStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "ViewStmt": "CREATE VIEW",
    "IndexStmt": "CREATE INDEX",
    "RuleStmt": "CREATE RULE",
    "DropdbStmt": "DROP DATABASE",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "AlterRoleSetStmt": "ALTER ROLE",
    "AlterSystemStmt": "ALTER SYSTEM",
    "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterTableMoveAllStmt": "ALTER TABLE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "RenameStmt": "ALTER … RENAME",
    "ReplicaIdentityStmt": "ALTER TABLE",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "SecLabelStmt": "SECURITY LABEL",
    "ReassignOwnedStmt": "REASSIGN OWNED",
}
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def statement_name(kind: str, fields: Mapping[str, Any]) -> str:
    """A statement's name, such as ``SELECT`` or ``ALTER TABLE``."""
    match kind:
        case "TransactionStmt":
            return TRANSACTION.get(fields["kind"], "BEGIN")
        case "VariableSetStmt":
            return "RESET" if fields["kind"] in ("VAR_RESET", "VAR_RESET_ALL") else "SET"
        case "GrantStmt" | "GrantRoleStmt":
            return "GRANT" if fields.get("is_grant") else "REVOKE"
        case "VacuumStmt":
            return "VACUUM" if fields.get("is_vacuumcmd") else "ANALYZE"
        case "FetchStmt":
            return "MOVE" if fields.get("ismove") else "FETCH"
        case "DropStmt":
            return "DROP " + _object(fields["removeType"])
        case "DefineStmt":
            return "CREATE " + _object(fields["kind"])
        case "AlterTableStmt":
            return "ALTER " + _object(fields.get("objtype", "OBJECT_TABLE"))
    plain = PLAIN.get(kind) or _NAMES.get(kind)
    return plain or _CAPITAL.sub(" ", kind.removesuffix("Stmt")).upper()


def _object(kind: str) -> str:
    return kind.removeprefix("OBJECT_").replace("MATVIEW", "MATERIALIZED VIEW").replace("_", " ")
