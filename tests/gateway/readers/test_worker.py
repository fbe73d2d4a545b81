"""What a reader does with what it is told, and when it ends."""

import asyncio
import io
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.readers import worker
from gateway.readers.wire import HEADER, Forget, Read, Rules, encode, pieces
from gateway.readers.worker import serve
from rules import Context, Facts, SchemaSnapshot
from rules.catalog import Relation
from tests.rules.policies import context, strict_judge
from tests.support.processes import gone

POLICY = strict_judge().policy
DELETE = b"DELETE FROM customers"


def decode(stream: io.BytesIO) -> list[object]:
    """Every answer in a stream, each of them of one portion."""
    decoded: list[object] = []
    while header := stream.read(HEADER.size):
        (length,) = HEADER.unpack(header)
        decoded.append(pickle.loads(stream.read(length)))
        assert stream.read(HEADER.size) == HEADER.pack(0)
    return decoded


def conversation(*requests: object, cut: int = 0) -> list[object]:
    """What is answered to requests, the last ``cut`` bytes of which never come."""
    sent = b"".join(map(encode, requests))
    replies = io.BytesIO()
    assert serve(io.BytesIO(sent[: len(sent) - cut]), replies)
    replies.seek(0)
    return decode(replies)


def read(sql: bytes, key: int | None = None, session: Context | None = None) -> Read:
    return Read(sql, session or context(), key, 60.0)


def test_it_says_that_it_is_there_and_answers_what_is_asked() -> None:
    ready, facts = conversation(Rules(POLICY), read(DELETE))
    assert ready is None
    assert facts == strict_judge().read(DELETE, context())


@pytest.mark.parametrize("cut", [1, 100, len(encode(read(DELETE))) - 2])
def test_it_ends_with_its_input_wherever_that_ends(cut: int) -> None:
    assert conversation(Rules(POLICY), read(DELETE), cut=cut) == [None]


def test_it_ends_when_nobody_takes_its_answers() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as replies:
        assert serve(io.BytesIO(encode(Rules(POLICY)) + encode(read(DELETE))), replies)


CATALOG = SchemaSnapshot(
    7,
    "shop",
    180000,
    tuple(Relation(number, "crm", f"t{number}", "r", ("id",), (23,)) for number in range(200)),
)


def test_statements_are_read_in_the_catalog_they_name() -> None:
    sql = b"SELECT * FROM crm.t7"
    other = SchemaSnapshot(8, "shop", 180000)
    answers = conversation(
        Rules(POLICY),
        *pieces(1, CATALOG),
        *pieces(2, other),
        read(sql, 1),
        read(sql, 2),
        read(sql),
        Forget(2),
        read(sql, 1),
    )
    judge = strict_judge()
    first, second, third = (judge.read(sql, context(catalog=c)) for c in (CATALOG, other, SchemaSnapshot()))
    assert answers == [None, first, second, third, first]


def test_a_tree_too_deep_for_its_stack_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_deeply(*_: object) -> Facts:
        raise RecursionError

    monkeypatch.setattr("rules.Judge.read", read_deeply)
    _, facts = conversation(Rules(POLICY), read(DELETE))
    assert isinstance(facts, Facts)
    assert facts.unreadable == "nested too deeply"


def test_it_goes_after_memory_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_greedily(*_: object) -> Facts:
        raise MemoryError

    monkeypatch.setattr("rules.Judge.read", read_greedily)
    replies = io.BytesIO()
    requests = encode(Rules(POLICY)) + encode(read(DELETE)) * 2
    assert not serve(io.BytesIO(requests), replies)
    replies.seek(0)
    (_, facts) = decode(replies)
    assert isinstance(facts, Facts)
    assert "memory" in (facts.unreadable or "")


def test_an_answer_too_large_to_be_taken_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_ANSWER", 400)
    _, facts = conversation(
        Rules(POLICY), read(b";".join([DELETE + b" WHERE a = %d" % n for n in range(20)]))
    )
    assert isinstance(facts, Facts)
    assert facts.unreadable == "what it does is too much to be told"


# --- as a process ---------------------------------------------------------------------------------------


def start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.readers.worker", str(1 << 30)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def exchange(process: "subprocess.Popen[bytes]", *requests: object) -> list[object]:
    output, _ = process.communicate(b"".join(map(encode, requests)), timeout=20)
    return decode(io.BytesIO(output))


def test_the_process_speaks_frames_and_nothing_else_and_ends_well() -> None:
    process = start()
    assert exchange(process, Rules(POLICY), read(DELETE)) == [None, strict_judge().read(DELETE, context())]
    assert process.returncode == 0


def test_a_request_that_makes_no_sense_ends_the_process() -> None:
    process = start()
    output, errors = process.communicate(HEADER.pack(3) + b"abc", timeout=20)
    assert decode(io.BytesIO(output)) == [None]
    assert process.returncode == 1
    assert b"UnpicklingError" in errors


def test_the_kernel_ends_a_reading_that_nobody_else_ends() -> None:
    process = start()
    long = b"SELECT " + b"+".join([b"1"] * 9000)
    # The alarm rings a hundredth of a second after the reading has begun.
    assert exchange(process, Rules(POLICY), Read(long, context(), None, -0.495)) == [None]
    assert process.returncode == -signal.SIGALRM


PARENT = """
import asyncio, sys
import uvloop
from gateway.config import Limits
from gateway.metrics import Metrics
from gateway.readers.pool import ParsePool
from tests.rules.policies import context, strict_judge

async def main():
    pool = ParsePool(Metrics(), Limits)
    judge = strict_judge()
    long = b"SELECT " + b"+".join([b"1"] * 9000)
    await asyncio.gather(*(pool.read(judge, long + b'+%d' % n, context(), owner=n) for n in range(4)))
    while len(pool.pids) < 2:
        await asyncio.sleep(0.01)
    print(*pool.pids, flush=True)
    await asyncio.gather(*(pool.read(judge, long + b'+%d' % n, context(), owner=n) for n in range(1000)))

(uvloop if sys.argv[1] == "uvloop" else asyncio).run(main())
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_readers_end_when_their_gateway_is_killed(loop: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(script), loop, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    async with asyncio.timeout(25):
        pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
        assert len(pids) == 2
        parent.kill()
        await parent.wait()
        await gone(*pids)
