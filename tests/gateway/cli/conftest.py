"""A management port for the commands that talk to one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.management import Desk, management


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A running management port with everything behind it."""
    async with management(tmp_path) as running:
        yield running
