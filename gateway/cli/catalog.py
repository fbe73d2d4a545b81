"""Commands about a database's definitions: dump, diff, scan; and where other commands get a catalog from."""

import asyncio
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.errors import FAILED, USAGE, CliError
from gateway.cli.output import print_json
from gateway.text import one_line, visible

if TYPE_CHECKING:
    from gateway.catalog.described import Described
    from gateway.catalog.scan import Scan, Scope
    from gateway.config import Config

__all__ = ["configuration", "diff", "document", "dump", "live", "scan"]

_DOCUMENT_BYTES = 512 * 1024 * 1024
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


def dump(options: Namespace) -> None:
    """Write a database's catalog as a document."""
    from gateway.catalog.document import dump as written

    text = written(_database(options, FAILED))
    if options.output is None:
        sys.stdout.write(text)
        return
    try:
        Path(options.output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {options.output}: {error.strerror}") from None


def diff(options: Namespace) -> int:
    """Say what differs between two documents, or between a document and a database; 1 if anything does."""
    from gateway.catalog.difference import differences
    from gateway.catalog.document import to_document

    if (options.second is None) == (options.config is None):
        raise CliError("give two dumps, or one and where the database is: -c FILE", USAGE)
    first = document(options.first, USAGE)
    second = _database(options, USAGE) if options.second is None else document(options.second, USAGE)
    changes = differences(to_document(first), to_document(second))
    if options.json:
        print_json(
            [
                {"change": each.change, "kind": each.kind, "name": each.name, "lines": list(each.lines)}
                for each in changes
            ]
        )
    else:
        for change in changes:
            print(one_line(f"{_SIGNS[change.change]} {change.kind} {change.name}"))
            for line in change.lines:
                print(f"    {visible(line)}")
    return FAILED if changes else 0


def scan(options: Namespace) -> None:
    """Propose what is personal in a database, as YAML to paste or as JSON."""
    from gateway.catalog.live import LiveError
    from gateway.catalog.scan import Scope, as_json, as_yaml

    scope = Scope(
        frozenset(options.schema),
        options.rows,
        float(options.seconds),
        options.confidence,
        tuple(region.upper() for region in options.region),
    )
    config, name = _meant(options, FAILED)
    try:
        if scope.rows:
            import gateway.catalog.scan.values  # noqa: F401
        found = asyncio.run(_scanned(config, name, scope))
    except ModuleNotFoundError as error:
        raise CliError(
            f"looking at values needs {error.name}: install it with pip install 'holdgate[scan]', or look at names "
            "alone with --rows 0"
        ) from None
    except LiveError as error:
        raise CliError(str(error)) from None
    if options.json:
        print_json(as_json(found))
    else:
        sys.stdout.write(as_yaml(found))


async def _scanned(config: "Config", name: str, scope: "Scope") -> "Scan":
    from gateway.catalog.live import connected
    from gateway.catalog.read import read
    from gateway.catalog.scan import scan as look

    async with connected(config, name) as inspector:
        return await look((await read(inspector.run)).snapshot, inspector.run, scope)


def configuration(options: Namespace, code: int = FAILED) -> "Config":
    """The configuration, or one line about why it cannot be used."""
    from gateway.config import ConfigError, load_config

    try:
        return load_config(options.config)
    except ConfigError as error:
        why = one_line(error, 200)
        raise CliError(f"{options.config} cannot be used, see holdgate validate: {why}", code) from None


def document(path: str, code: int = FAILED) -> "Described":
    """The catalog in a file, or one line about why it cannot be used."""
    from gateway.catalog.load import DocumentError, load
    from gateway.catalog.places import line_of

    try:
        with Path(path).open("rb") as file:
            content = file.read(_DOCUMENT_BYTES + 1)
        if len(content) > _DOCUMENT_BYTES:
            raise CliError(f"{path} is larger than {_DOCUMENT_BYTES} bytes", code)
        text = content.decode()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", code) from None
    except UnicodeDecodeError:
        raise CliError(f"{path} is not UTF-8 text", code) from None
    try:
        return load(text)
    except DocumentError as error:
        first, *others = error.problems
        place = f"{path}:{line_of(text, first.where)}" if first.where else path
        more = f" (and {len(others)} more)" if others else ""
        raise CliError(f"{place}: {first}{more}", code) from None


def live(config: "Config", database: str, code: int = FAILED) -> "Described":
    """A database's catalog as it is now, or one line about why it cannot be read."""
    from gateway.catalog.live import LiveError, read_live

    try:
        return asyncio.run(read_live(config, database))
    except LiveError as error:
        raise CliError(str(error), code) from None


def _database(options: Namespace, code: int) -> "Described":
    return live(*_meant(options, code), code)


def _meant(options: Namespace, code: int) -> "tuple[Config, str]":
    """The configuration, and which of its databases is meant."""
    from gateway.checking import database_meant

    config = configuration(options, code)
    name = database_meant(config, options.database)
    if not name:
        raise CliError("say which database: --database D", USAGE)
    return config, name
