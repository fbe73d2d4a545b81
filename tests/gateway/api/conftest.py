"""A management port for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.management import Desk, management, signing_in_by
from tests.support.oidc import OidcServer, oidc_server


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A running management port with everything behind it."""
    async with management(tmp_path) as running:
        yield running


@pytest.fixture
async def provider() -> AsyncIterator[OidcServer]:
    """A running OpenID provider."""
    async with oidc_server() as running:
        yield running


@pytest.fixture
async def sso(provider: OidcServer, tmp_path: Path) -> AsyncIterator[Desk]:
    """A management port to which people sign in through ``provider``."""
    async with management(tmp_path, **signing_in_by(provider)) as running:
        yield running
