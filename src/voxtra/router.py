"""Which handler takes a call: a pure question to a list of routes, after any rules of your own.

Dispatch rules are asked first, then routes in the order of their registration, then the default.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, overload

from voxtra.exceptions import ConfigurationError, RouteNotFoundError
from voxtra.model import CallDirection

__all__ = ["NO_MATCH", "CallInfo", "DispatchRule", "Handler", "Match", "Route", "Router"]

log = logging.getLogger(__name__)

Handler = Callable[[Any], Awaitable[object]]
"""An async function of the call."""

_H = TypeVar("_H", bound=Handler)


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What is known of a call before anybody handles it.

    `called_number` is what was dialled, an extension or a full number; `variables` come from the
    channel.
    """

    call_id: str = ""
    caller_id: str = ""
    called_number: str = ""
    direction: CallDirection = CallDirection.INBOUND
    variables: Mapping[str, str] = field(default_factory=dict)


DispatchRule = Callable[[CallInfo], Awaitable[Handler | None] | Handler | None]
"""A function, async or not, that names a handler or passes."""


@dataclass(frozen=True, slots=True)
class Match:
    """Who takes a call. `metadata` belongs to that one call; false when nobody does."""

    handler: Handler | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __bool__(self) -> bool:
        return self.handler is not None


NO_MATCH: Final = Match()


@dataclass(frozen=True, slots=True)
class Route:
    """Calls that `handler` takes: to `extension`, from or to `number`; with both, both must fit.

    `number` is exact, or a prefix followed by `*`; `*` alone fits every call.
    """

    handler: Handler
    extension: str | None = None
    number: str | None = None
    name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def matches(self, *, extension: str = "", number: str = "") -> bool:
        """Tell whether a call to `extension` from (or to) `number` is this route's."""
        return self._fits(extension, (number,))

    def _fits(self, extension: str, numbers: tuple[str, ...]) -> bool:
        if self.extension is None and self.number is None:
            return False
        if self.extension is not None and self.extension != extension:
            return False
        return self.number is None or any(_covers(self.number, number) for number in numbers)

    def hides(self, later: Route) -> bool:
        """Tell whether no call is left for a route that comes after this one."""
        return (self.extension is None or self.extension == later.extension) and (
            self.number is None or (later.number is not None and _covers(self.number, later.number))
        )

    def __str__(self) -> str:
        wanted = {"extension": self.extension, "number": self.number}
        return ", ".join(f"{key} {value!r}" for key, value in wanted.items() if value is not None)


class Router:
    """Routes, dispatch rules and a default handler."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._rules: list[DispatchRule] = []
        self._default: Handler | None = None

    @property
    def routes(self) -> list[Route]:
        """The routes in the order in which they are tried: a copy."""
        return list(self._routes)

    def route(
        self,
        misplaced: None = None,
        /,
        *,
        extension: str | None = None,
        number: str | None = None,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Callable[[_H], _H]:
        """Return a decorator for the handler of an extension, a number or both.

        `metadata` is merged into `call.metadata`, a deep copy for every call. Raises
        `ConfigurationError` when the calls have a handler already, or no call is named.
        """
        if misplaced is not None:
            raise ConfigurationError(
                "@route takes parentheses and keywords", fix='Write @route(extension="1000")'
            )
        if extension is None and number is None:
            raise ConfigurationError(
                "a route needs an extension or a number",
                fix="Use default() for all calls that no route takes",
            )
        _check_text("extension", extension)
        _check_text("number", number)
        if number is not None and "*" in number[:-1]:
            raise ConfigurationError(
                f"{number!r} has a * that is not its last character", field="number"
            )
        try:
            own = copy.deepcopy(dict(metadata or {}))
        except Exception as error:
            raise ConfigurationError(
                f"every call gets its own copy, but this can't be copied: {error}", field="metadata"
            ) from error

        def decorate(handler: _H) -> _H:
            _check_callable(handler)
            self._add(Route(handler, extension, number, name or _name_of(handler), own))
            return handler

        return decorate

    @overload
    def default(self, handler: None = None, /) -> Callable[[_H], _H]: ...

    @overload
    def default(self, handler: _H, /) -> _H: ...

    def default(self, handler: Handler | None = None, /) -> object:
        """Register the handler of all calls that no rule and no route takes.

        A decorator with or without parentheses. Raises `ConfigurationError` at the second handler.
        """
        if handler is None:
            return self.default
        _check_callable(handler)
        if self._default is not None:
            raise ConfigurationError(
                f"the default handler is {_name_of(self._default)} already, "
                f"so {_name_of(handler)} can't be it"
            )
        self._default = handler
        return handler

    def add_dispatch_rule(self, rule: DispatchRule) -> None:
        """Ask `rule` about every call, after the rules that were added before it."""
        _check_callable(rule)
        self._rules.append(rule)

    def include(self, other: Router) -> None:
        """Take over what another router holds now: its rules, its routes and its default.

        Raises `ConfigurationError`, and takes over nothing, where both claim the same calls.
        """
        merged = Router()
        for router in (self, other):
            merged._rules += router._rules
            for route in router._routes:
                merged._add(route)
            if router._default is not None:
                merged.default(router._default)
        self._rules, self._routes, self._default = merged._rules, merged._routes, merged._default

    def match(self, call_info: CallInfo) -> Match:
        """Return the match of routes and default alone, without asking the dispatch rules. Pure."""
        called = call_info.called_number
        return self._match(called, (call_info.caller_id, called))

    async def select(self, call_info: CallInfo) -> Match:
        """Return the match for a call, dispatch rules first. A rule that raises is passed over."""
        return await self._by_rule(call_info) or self.match(call_info)

    async def resolve(
        self, *, extension: str = "", number: str = "", call_info: CallInfo | None = None
    ) -> Handler:
        """Return the handler for an extension and a number, or those of `call_info`.

        Raises `RouteNotFoundError`.
        """
        info = call_info or CallInfo(caller_id=number, called_number=extension)
        match = await self._by_rule(info)
        if not match:
            given = extension or number
            match = self._match(extension, (number,)) if given else self.match(info)
        if match.handler is None:
            raise RouteNotFoundError(
                f"no handler for extension {extension or info.called_number!r}, "
                f"number {number or info.caller_id!r}"
            )
        return match.handler

    def _add(self, route: Route) -> None:
        for earlier in self._routes:
            if (earlier.extension, earlier.number) == (route.extension, route.number):
                raise ConfigurationError(
                    f"{route} is routed to {_name_of(earlier.handler)} already, "
                    f"so it can't be to {_name_of(route.handler)}"
                )
            if earlier.hides(route):
                log.warning("no call is left for the route of %s: %s takes all", route, earlier)
        self._routes.append(route)

    def _match(self, extension: str, numbers: tuple[str, ...]) -> Match:
        for route in self._routes:
            if route._fits(extension, numbers):
                return Match(route.handler, copy.deepcopy(route.metadata), route.name)
        if self._default is not None:
            return Match(self._default, name=_name_of(self._default))
        return NO_MATCH

    async def _by_rule(self, call_info: CallInfo) -> Match:
        for rule in self._rules:
            try:
                handler: object = rule(call_info)
                if inspect.isawaitable(handler):
                    handler = await handler
            except Exception:
                log.exception("dispatch rule %s failed and is passed over", _name_of(rule))
                continue
            if handler is None:
                continue
            if callable(handler):
                return Match(handler, name=_name_of(handler))
            log.error("dispatch rule %s gave %r, no handler", _name_of(rule), handler)
        return NO_MATCH


def _covers(pattern: str, number: str) -> bool:
    """Tell whether a pattern takes a number, or all that a second pattern takes."""
    return number == pattern or (pattern.endswith("*") and number.startswith(pattern[:-1]))


def _check_text(field: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(
            f"must be text, not {value!r}", field=field, fix="Put it in quotes"
        )
    if not value:
        raise ConfigurationError("is empty", field=field, fix="Leave it out, or use default()")


def _check_callable(handler: object) -> None:
    if not callable(handler):
        raise ConfigurationError(f"{handler!r} is no function", fix="Decorate an async function")


def _name_of(handler: Callable[..., object]) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__
