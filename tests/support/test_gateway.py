"""The gateway helpers, with the story that most tests are made of."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from tests.support.gateway import SHOP_POLICY, GatewayProcess, make_config, merged, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import Q, tags


def test_merged_goes_down_into_mappings_and_replaces_lists() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merged(base, {"a": {"y": [3]}}, {"c": {}}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": {}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


async def test_running_gateway_holds_and_releases(tmp_path: Path, postgres: Postgres, database: str) -> None:
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY)) as gateway:
        carol = await gateway.client("carol")
        async with await gateway.raw(database) as client:
            await client.send(Q("DELETE FROM customer WHERE customer_id = 7"))
            hold = await carol.wait_for_hold()
            assert (await carol.approve(hold["id"], "as asked")).status_code == 200
            replies = await client.read_until("Z")
            assert tags(replies) == "NCZ"
            assert replies[1].text == "DELETE 1"
            assert (await carol.wait_for_end(hold["id"]))["state"] == "approved"
    # The last records are written when the gateway stops.
    assert gateway.audit(kind="statement", tag="DELETE 1")


async def test_gateway_process_is_stopped_and_killed(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    async with GatewayProcess(tmp_path, make_config(postgres, SHOP_POLICY)) as gateway:
        where = f"host={gateway.host} port={gateway.port} user=postgres dbname={database}"
        async with await gateway.client("carol") as carol:
            with psycopg.connect(where, autocommit=True) as connection:
                deleting = asyncio.create_task(asyncio.to_thread(connection.execute, "DELETE FROM customer"))
                hold = await carol.wait_for_hold()
                await carol.reject(hold["id"], "too many")
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="carol: too many"):
                    await deleting
        assert await gateway.stop() == 0
        await gateway.start()
        await gateway.kill()
        assert len(gateway.audit(kind="decision")) == 1
