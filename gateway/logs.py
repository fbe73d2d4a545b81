"""What the gateway says to its operator: lines on stderr, each of one event."""

import logging
import sys

from gateway.text import one_line

__all__ = ["OneLine", "log_to_stderr"]


class OneLine(logging.Formatter):
    """A formatter that makes one line of every message, whatever clients put into it.

    A name with a line end in it cannot pass for a line of its own, nor speak to the terminal the log is read
    on. The trace of a failure, which is the program's own, follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


def log_to_stderr(level: int, form: str) -> None:
    """Log what is at least as grave as ``level``; ``form`` is one of ``logging``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(form))
    logging.basicConfig(level=level, handlers=[handler])
    # What it says of a migration is of no use to whoever starts a gateway.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It says where each request goes, and the addresses of webhooks are secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
