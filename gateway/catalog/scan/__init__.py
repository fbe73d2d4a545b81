"""Proposing what is personal in a database: by names, types, comments, and samples of values."""

from gateway.catalog.scan.report import as_json, as_yaml
from gateway.catalog.scan.scan import Finding, Proposal, Scan, Scope, scan

__all__ = ["Finding", "Proposal", "Scan", "Scope", "as_json", "as_yaml", "scan"]
