"""The tokens that ``holdgate login`` keeps, one for each server, in a file that only its owner can read."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

from gateway.cli.errors import CliError

__all__ = ["forget_token", "keep_token", "kept_token", "tokens_file"]

_MAX_FILE = 1024 * 1024


def tokens_file() -> Path:
    """Where they are: ``holdgate/tokens.json`` in the folder for configuration (XDG Base Directory Specification)."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(folder) if os.path.isabs(folder) else Path.home() / ".config"
    return base / "holdgate" / "tokens.json"


def kept_token(server: str) -> str | None:
    """The token for ``server``. Raises :class:`CliError` if others could have read it."""
    return _read().get(server)


def keep_token(server: str, token: str) -> Path:
    """Keep a token for ``server`` in place of the one before; returns the file."""
    return _write({**_read(), server: token})


def forget_token(server: str) -> None:
    """Keep no token for ``server`` any more."""
    tokens = _read()
    if tokens.pop(server, None) is not None:
        _write(tokens)


def _read() -> dict[str, str]:
    file = tokens_file()
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(_MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None
    if mode & 0o077:
        raise CliError(f"others may read or write {file}, so its tokens are not used: chmod 600 {file}")
    try:
        tokens = json.loads(content)
    except (ValueError, RecursionError):
        tokens = None
    if not isinstance(tokens, dict) or not all(isinstance(token, str) for token in tokens.values()):
        raise CliError(f"{file} is not a file of tokens; remove it, then holdgate login")
    return tokens


def _write(tokens: dict[str, str]) -> Path:
    """Put the whole file in place at once: whoever reads it meanwhile finds the old one or the new one."""
    file = tokens_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it 0600.
        handle, name = tempfile.mkstemp(prefix=".tokens-", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as opened:
                json.dump(tokens, opened, indent=1)
            os.replace(name, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from None
    return file
