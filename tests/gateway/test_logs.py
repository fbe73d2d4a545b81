"""One event, one line, whatever a client put into it."""

import logging

import pytest

from gateway.logs import OneLine, log_to_stderr


def line(message: str, *arguments: object, error: Exception | None = None) -> str:
    record = logging.LogRecord("gateway.x", logging.WARNING, "x.py", 1, message, arguments, None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return OneLine("%(levelname)s %(name)s: %(message)s").format(record)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("two\nWARNING gateway.x: forged", "two WARNING gateway.x: forged"),
        ("\x1b[2J\x1b]0;t\x07", r"\x1b[2J\x1b]0;t\x07"),
        ("a\rb\u2028c\u202ed", r"a\x0db\u2028c\u202ed"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_clients_say_makes_no_lines_and_speaks_to_no_terminal(given: str, shown: str) -> None:
    assert (
        line('database "%s" does not exist', given) == f'WARNING gateway.x: database "{shown}" does not exist'
    )


def test_the_trace_of_a_failure_follows_on_lines_of_its_own() -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        text = line("a task failed\n", error=error)
    first, *rest = text.splitlines()
    assert first == "WARNING gateway.x: a task failed"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "RuntimeError: a bug"


def test_it_goes_to_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    log_to_stderr(logging.INFO, "%(levelname)s %(message)s")
    logging.getLogger("gateway.x").info("hello\nthere")
    logging.getLogger("alembic.runtime.migration").info("not this")
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.example/secret")
    logging.getLogger("gateway.x").debug("nor this")
    assert capsys.readouterr() == ("", "INFO hello there\n")
