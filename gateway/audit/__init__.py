"""The record of everything: an append-only file of chained JSON lines."""

from gateway.audit.brief import Brief, Outline
from gateway.audit.log import AuditLog, AuditUnavailable
from gateway.audit.port import AuditPort
from gateway.audit.record import AuditRecord, Kind
from gateway.audit.search import AuditFilter, Page, VerifyResult, export, search, verify

__all__ = [
    "AuditFilter",
    "AuditLog",
    "AuditPort",
    "AuditRecord",
    "AuditUnavailable",
    "Brief",
    "Kind",
    "Outline",
    "Page",
    "VerifyResult",
    "export",
    "search",
    "verify",
]
