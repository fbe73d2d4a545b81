"""Exit codes, and the error every command may end with."""

from typing import Final

__all__ = ["ABORTED", "DENY", "FAILED", "HOLD", "USAGE", "CliError"]

FAILED: Final = 1
USAGE: Final = 2
HOLD: Final = 3
DENY: Final = 4
ABORTED: Final = 130


class CliError(Exception):
    """The command ends with ``code``; the text is one line that says what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
