"""What is known of each database's definitions: read, kept, shown."""

from gateway.catalog.read import Ask, AskError, Reading, read, read_catalog

__all__ = ["Ask", "AskError", "Reading", "read", "read_catalog"]
