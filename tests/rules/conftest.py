"""The corpus's database as the judge knows it."""

import pytest

from rules.catalog import SchemaSnapshot
from tests.redteam.__main__ import SCHEMA, SHIPPED
from tests.redteam.arena import TEMPLATE, run_arena
from tests.support.catalog import snapshot_of


@pytest.fixture(scope="session")
def corpus_catalog() -> SchemaSnapshot:
    """The catalog of the corpus's schema, read from a server that is gone since."""
    with run_arena((SHIPPED / SCHEMA).read_text(encoding="utf-8"), None) as arena:
        return snapshot_of(arena.postgres, TEMPLATE)
