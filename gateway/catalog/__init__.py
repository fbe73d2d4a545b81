"""What is known of each database's definitions: read, kept, shown."""

from gateway.catalog.copies import Copy
from gateway.catalog.keeper import Keeper, Place
from gateway.catalog.kept import Catalog
from gateway.catalog.read import Ask, AskError, Reading, read, read_catalog
from gateway.catalog.view import SessionCatalog

__all__ = [
    "Ask",
    "AskError",
    "Catalog",
    "Copy",
    "Keeper",
    "Place",
    "Reading",
    "SessionCatalog",
    "read",
    "read_catalog",
]
