"""A reader: a child process that reads SQL for its gateway, so that no text can stall or kill the gateway itself.

It speaks to the process that started it, and to nobody else: requests come on standard input and are answered on
standard output (gateway.readers.wire). It ends when its input does, whatever became of the other end. A reading that
lasts much longer than it may is ended by an alarm of the kernel, which needs nobody's help: compiled code listens
to no signal handler and to no thread.

Deep trees get a large stack and end in RecursionError; memory is capped and ends in MemoryError.
"""

import contextlib
import faulthandler
import os
import pickle
import resource
import signal
import sys
import threading
from dataclasses import replace
from typing import BinaryIO, Final

from gateway.readers.wire import (
    HEADER,
    MAX_ANSWER,
    Arriving,
    Forget,
    Learn,
    Part,
    Read,
    Request,
    Rules,
    encode_answer,
)
from rules import Judge, SchemaSnapshot, unread

__all__ = ["Worker", "main", "serve"]

STACK_BYTES: Final = 256 * 1024 * 1024
"""Virtual memory, of which only what is used becomes real. A megabyte of ``+1+1…`` takes PostgreSQL's parser 70 MB."""

RECURSION: Final = 12_000
"""Levels of Python. Sixteen times what a level was seen to take at most still fits into the stack."""


class Worker:
    """What a reader knows, and its answers."""

    def __init__(self) -> None:
        self._judge: Judge | None = None
        self._catalogs: dict[int, Arriving] = {}
        self.exhausted = False
        """Whether memory ran out: what is left of it is in pieces."""

    def answer(self, request: Request) -> bytes | None:
        """Take one request; the frames of the facts if it asked for some."""
        match request:
            case Read():
                return self._read(request)
            case Rules():
                self._judge = Judge(request.policy, cache_size=0)
            case Learn():
                self._catalogs[request.key] = Arriving.begun(request, self.catalog)
            case Part():
                self._catalogs[request.key].add(request)
            case Forget():
                if self._judge is not None:
                    self._judge.forget(self.catalog(request.key))
                del self._catalogs[request.key]
        return None

    def catalog(self, key: int) -> SchemaSnapshot:
        """The catalog known by a key."""
        return self._catalogs[key].whole()

    def _read(self, request: Read) -> bytes:
        judge, context = self._judge, request.context
        assert judge is not None, "the policy comes first"
        try:
            if request.key is not None:
                context = replace(context, catalog=self.catalog(request.key))
            answer = encode_answer(judge.read(request.sql, context))
        except RecursionError:
            return encode_answer(unread("nested too deeply"))
        except MemoryError:
            self.exhausted = True
            return encode_answer(unread("reading it takes more memory than limits.reader_memory allows"))
        if len(answer) > MAX_ANSWER:
            return encode_answer(unread("what it does is too much to be told"))
        return answer


def main() -> None:
    """Read for the process on the other end of standard input. The argument is the memory limit in bytes."""
    faulthandler.enable()
    # The gateway decides when its readers end: what its terminal or its service manager tells the whole group is
    # not meant for them while statements that were accepted are still read.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # A crash is expected here and has nobody to look at its image, which would hold the texts of statements.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Whatever prints must not speak to the gateway.
    os.dup2(2, 1)
    sys.setrecursionlimit(RECURSION)
    threading.stack_size(STACK_BYTES)
    completed: list[bool] = []
    thread = threading.Thread(target=lambda: completed.append(serve(requests, replies)), name="reader")
    thread.start()
    thread.join()
    sys.exit(0 if completed else 1)


def serve(requests: BinaryIO, replies: BinaryIO) -> bool:
    """Answer every request until the input ends, nobody takes the answers any more, or memory has run out.

    Returns whether all of memory was there to the end.
    """
    worker = Worker()
    with contextlib.suppress(BrokenPipeError):
        _send(replies, encode_answer(None))
        while not worker.exhausted:
            header = requests.read(HEADER.size)
            if len(header) < HEADER.size:
                break
            (length,) = HEADER.unpack(header)
            body = requests.read(length)
            if len(body) < length:
                break
            request: Request = pickle.loads(body)  # noqa: S301 - from the gateway that started us
            if isinstance(request, Read):
                # The gateway ends us at the deadline; this is for when the gateway itself is gone.
                signal.setitimer(signal.ITIMER_REAL, request.seconds * 2 + 1)
            answer = worker.answer(request)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if answer is not None:
                _send(replies, answer)
    return not worker.exhausted


def _send(replies: BinaryIO, answer: bytes) -> None:
    replies.write(answer)
    replies.flush()


if __name__ == "__main__":
    main()
