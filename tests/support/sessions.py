"""Fixtures of one client in front of a gateway. A module with a policy of its own has a ``gateway`` of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import SHOP_POLICY, ApproverClient, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import RawClient

__all__ = ["carol", "client", "gateway"]


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway with the policy for the sample database."""
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, database: str) -> AsyncIterator[RawClient]:
    """A session through it."""
    async with await gateway.raw(database) as raw:
        yield raw


@pytest.fixture
async def carol(gateway: RunningGateway) -> ApproverClient:
    """An approver on its management port."""
    return await gateway.client("carol")
