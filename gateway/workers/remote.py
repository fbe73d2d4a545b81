"""A port whose other side is another process: a protocol class is the whole contract.

Each method of the protocol becomes a call by that name, or a word where the method does not wait. Arguments and
result cross as its annotations say; errors cross where both sides name them.
"""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from gateway.workers.channel import CallFailed, Channel
from gateway.workers.values import decode, decode_members, encode

__all__ = ["serve", "stub"]

P = TypeVar("P")


class _Method:
    """One method of a port: how its arguments and its result cross."""

    def __init__(self, port: type, name: str) -> None:
        function = getattr(port, name)
        hints = typing.get_type_hints(function)
        self.waits = inspect.iscoroutinefunction(function)
        self.name = f"{port.__name__}.{name}"
        self.result = hints.pop("return")
        self._hints = hints
        self._signature = inspect.signature(function)

    def pack(self, *arguments: object, **named: object) -> bytes:
        bound = self._signature.bind(None, *arguments, **named)
        bound.apply_defaults()
        return encode({name: bound.arguments[name] for name in self._hints})

    def unpack(self, body: bytes) -> dict[str, Any]:
        return decode_members(body, self._hints)


def stub(port: type[P], channel: Channel, errors: Iterable[type[Exception]] = ()) -> P:
    """The port, answered at the other end of ``channel``. What it raises there is raised here if it is one of
    ``errors``, else :class:`CallFailed`; :class:`ChannelClosed` if nobody answers any more."""
    known = {error.__name__: error for error in errors}
    members: dict[str, Callable[..., Any]] = {
        name: _calling(method, channel, known) if method.waits else _saying(method, channel)
        for name, method in _methods(port)
    }
    return cast(
        P, type(f"Remote{port.__name__}", (), {name: staticmethod(one) for name, one in members.items()})()
    )


def serve(port: type[P], target: P, channel: Channel, errors: Iterable[type[Exception]] = ()) -> None:
    """Let the other end of ``channel`` use ``target``, as far as ``port`` says."""
    expected = tuple(errors)
    for name, method in _methods(port):
        bound = getattr(target, name)
        if method.waits:
            channel.answer(method.name, functools.partial(_answered, method, bound, expected))
        else:
            channel.hear(method.name, functools.partial(_heard, method, bound))


def _methods(port: type) -> Iterator[tuple[str, _Method]]:
    for name, member in vars(port).items():
        if not name.startswith("_") and inspect.isfunction(member):
            yield name, _Method(port, name)


def _calling(
    method: _Method, channel: Channel, known: dict[str, type[Exception]]
) -> Callable[..., Awaitable[Any]]:
    async def call(*arguments: object, **named: object) -> Any:
        try:
            answer = await channel.call(method.name, method.pack(*arguments, **named))
        except CallFailed as failed:
            if failed.kind in known:
                raise known[failed.kind](str(failed)) from None
            raise
        return decode(answer, method.result)

    return call


def _saying(method: _Method, channel: Channel) -> Callable[..., None]:
    def say(*arguments: object, **named: object) -> None:
        channel.say(method.name, method.pack(*arguments, **named))

    return say


async def _answered(
    method: _Method, bound: Callable[..., Awaitable[Any]], expected: tuple[type[Exception], ...], body: bytes
) -> bytes:
    try:
        return encode(await bound(**method.unpack(body)))
    except expected as error:
        raise CallFailed(type(error).__name__, str(error)) from error


def _heard(method: _Method, bound: Callable[..., None], body: bytes) -> None:
    bound(**method.unpack(body))
