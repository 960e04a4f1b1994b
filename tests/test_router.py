"""Routing: dispatch rules, then routes in their order, then the default."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.exceptions import ConfigurationError, RouteNotFoundError
from voxtra.router import NO_MATCH, CallInfo, Handler, Route, Router


async def support(call: object) -> None:
    """Take calls to the desk."""


async def vip(call: object) -> None:
    """Take calls of good customers."""


async def fallback(call: object) -> None:
    """Take all other calls."""


def test_extension_is_exact():
    """A route of an extension takes that one and no longer or shorter one."""
    router = Router()
    router.route(extension="1000")(support)
    assert router.match(CallInfo(called_number="1000")).handler is support
    for other in ("100", "10000", "", "+1000"):
        assert router.match(CallInfo(called_number=other)) is NO_MATCH


@pytest.mark.parametrize(
    ("pattern", "number", "taken"),
    [
        ("+265888111111", "+265888111111", True),
        ("+265888111111", "+2658881111112", False),
        ("+265*", "+265888111111", True),
        ("+265*", "+265", True),
        ("+265*", "+26", False),
        ("*", "", True),
        ("*", "anonymous", True),
    ],
)
def test_number_is_the_callers_or_the_called(pattern: str, number: str, taken: bool):
    """A number route looks at who calls and at what was called: exact, or a prefix and `*`."""
    router = Router()
    router.route(number=pattern)(vip)
    assert bool(router.match(CallInfo(caller_id=number, called_number="x"))) is (
        taken or pattern == "*"
    )
    assert bool(router.match(CallInfo(caller_id="x", called_number=number))) is (
        taken or pattern == "*"
    )
    assert Route(vip, number=pattern).matches(number=number) is taken


def test_extension_and_number_must_both_match():
    """A route with both takes only what fits both."""
    route = Route(vip, extension="1000", number="+265*")
    assert route.matches(extension="1000", number="+265888")
    assert not route.matches(extension="1000", number="+1")
    assert not route.matches(extension="1001", number="+265888")
    router = Router()
    router.route(extension="1000", number="+265*")(vip)
    assert router.match(CallInfo(caller_id="+2651", called_number="1000"))
    assert not router.match(CallInfo(caller_id="+1", called_number="1000"))


def test_route_without_conditions_matches_nothing():
    """A bare `Route` value takes no call."""
    assert not Route(support).matches(extension="", number="")


@given(
    routes=st.lists(
        st.tuples(st.sampled_from(["1", "2", "*", "+1*", "+12", "+12*"]), st.booleans())
    ),
    called=st.sampled_from(["1", "2", "3", ""]),
    caller=st.sampled_from(["", "+1", "+12", "+123"]),
)
def test_first_registered_route_wins(routes: list[tuple[str, bool]], called: str, caller: str):
    """The match is the first route, in order of registration, that matches by itself."""
    router, seen = Router(), set()
    for index, (value, is_number) in enumerate(routes):
        if (value, is_number) not in seen:
            seen.add((value, is_number))
            where: dict[str, Any] = {"number" if is_number else "extension": value}
            router.route(**where, name=str(index))(support)
    expected = next(
        (
            route.name
            for route in router.routes
            if route.matches(extension=called, number=caller)
            or route.matches(extension=called, number=called)
        ),
        "",
    )
    assert router.match(CallInfo(caller_id=caller, called_number=called)).name == expected


async def test_rules_come_first_then_routes_then_default():
    """A rule that names a handler wins over a route, a route over the default."""
    router = Router()
    router.default(fallback)
    router.route(extension="1000", name="desk")(support)
    router.add_dispatch_rule(lambda info: vip if info.variables.get("VIP") else None)
    special = CallInfo(called_number="1000", variables={"VIP": "1"})
    assert (await router.select(special)).handler is vip
    assert (await router.select(CallInfo(called_number="1000"))).name == "desk"
    assert (await router.select(CallInfo(called_number="2000"))).handler is fallback
    assert router.match(special).handler is support


async def test_rules_are_asked_in_order_and_may_be_async():
    """Rules get the call's info one after another until one names a handler."""
    router, asked = Router(), []

    async def first(info: CallInfo) -> Handler | None:
        asked.append(("first", info.call_id))
        return None

    def second(info: CallInfo) -> Handler | None:
        asked.append(("second", info.call_id))
        return vip

    def third(info: CallInfo) -> Handler | None:
        asked.append(("third", info.call_id))
        return support

    for rule in (first, second, third):
        router.add_dispatch_rule(rule)
    assert (await router.select(CallInfo(call_id="c"))).handler is vip
    assert asked == [("first", "c"), ("second", "c")]


async def test_rule_that_raises_is_passed_over(caplog: pytest.LogCaptureFixture):
    """A broken rule is logged with its name, and the call is routed by what follows."""
    router = Router()
    router.default(fallback)

    def broken(info: CallInfo) -> Handler | None:
        raise LookupError("no such customer")

    async def broken_later(info: CallInfo) -> Handler | None:
        raise LookupError("neither")

    router.add_dispatch_rule(broken)
    router.add_dispatch_rule(broken_later)
    router.add_dispatch_rule(lambda info: "support")  # type: ignore[arg-type, return-value]  # the test
    assert (await router.select(CallInfo())).handler is fallback
    assert "no such customer" in caplog.text
    assert "broken_later failed" in caplog.text
    assert "gave 'support', no handler" in caplog.text


async def test_resolve_returns_the_handler_or_raises():
    """`resolve` gives the handler itself; without one, an error that says for what."""
    router = Router()
    router.route(extension="1000")(support)
    router.route(number="+265*")(vip)
    assert await router.resolve(extension="1000") is support
    assert await router.resolve(number="+2651") is vip
    assert await router.resolve(call_info=CallInfo(called_number="1000")) is support
    with pytest.raises(RouteNotFoundError, match="no handler for extension '9', number '\\+1'"):
        await router.resolve(extension="9", number="+1")
    router.add_dispatch_rule(lambda info: fallback if info.call_id == "c" else None)
    assert await router.resolve(extension="1000", call_info=CallInfo(call_id="c")) is fallback


def test_metadata_is_each_calls_own():
    """Nested values of one call's metadata are no other call's, nor the route's."""
    given_once = {"tags": ["a"]}
    router = Router()
    router.route(extension="1000", metadata=given_once)(support)
    router.match(CallInfo(called_number="1000")).metadata["tags"].append("b")
    given_once["tags"].append("c")
    assert router.match(CallInfo(called_number="1000")).metadata == {"tags": ["a"]}


def test_routes_is_a_copy():
    """Changing the list that `routes` gives changes no routing."""
    router = Router()
    router.route(extension="1000")(support)
    router.routes.clear()
    assert [route.extension for route in router.routes] == ["1000"]


def test_decorators_return_the_handler():
    """A decorated function stays what it was, and may be decorated again."""
    router = Router()
    assert router.route(extension="1")(router.route(extension="2")(support)) is support
    assert router.default(fallback) is fallback
    other = Router()
    assert other.default()(fallback) is fallback
    assert other.match(CallInfo()).handler is fallback


def test_same_extension_twice_is_refused():
    """The second handler of an extension, a number or the default is an error that names both."""
    router = Router()
    router.route(extension="1000")(support)
    router.route(extension="1000", number="+1*")(vip)
    router.default(fallback)
    with pytest.raises(ConfigurationError, match="extension '1000' is routed to support already"):
        router.route(extension="1000")(vip)
    with pytest.raises(ConfigurationError, match="default handler is fallback already"):
        router.default(vip)
    assert len(router.routes) == 2


def test_route_that_no_call_can_reach_is_logged(caplog: pytest.LogCaptureFixture):
    """A route behind one that takes all of its calls is most likely a mistake."""
    router = Router()
    router.route(number="+265*")(support)
    router.route(number="+1*")(support)
    assert not caplog.records
    router.route(number="+265888")(vip)
    assert "no call is left for the route of number '+265888'" in caplog.text


def test_mistakes_at_registration_are_one_clear_error():
    """Forgotten parentheses, no condition, wrong types: an error at the decorator itself."""
    router = Router()
    with pytest.raises(ConfigurationError, match=r'Write @route\(extension="1000"\)'):
        router.route(support)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ConfigurationError, match=r"Use default\(\)"):
        router.route()
    with pytest.raises(ConfigurationError, match="extension: must be text, not 1000"):
        router.route(extension=1000)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ConfigurationError, match="number: is empty"):
        router.route(number="")
    with pytest.raises(ConfigurationError, match="not its last character"):
        router.route(number="+2*5")
    with pytest.raises(ConfigurationError, match="metadata: every call gets its own copy"):
        router.route(extension="1", metadata={"lock": threading.Lock()})
    with pytest.raises(ConfigurationError, match="is no function"):
        router.route(extension="1")("support")  # type: ignore[type-var]  # that is the test
    with pytest.raises(ConfigurationError, match="is no function"):
        router.add_dispatch_rule("rule")  # type: ignore[arg-type]  # that is the test
    assert router.routes == []


async def test_include_takes_over_rules_routes_and_default():
    """An included router's routes come after our own."""
    sales, router = Router(), Router()
    sales.route(extension="2000", metadata={"team": "sales"})(vip)
    sales.default(fallback)
    sales.add_dispatch_rule(lambda info: vip if info.call_id == "rule" else None)
    router.route(extension="1000")(support)
    router.include(sales)
    assert [route.extension for route in router.routes] == ["1000", "2000"]
    assert router.match(CallInfo(called_number="2000")).metadata == {"team": "sales"}
    assert (await router.select(CallInfo(call_id="rule"))).handler is vip
    assert (await router.select(CallInfo())).handler is fallback


def test_include_refuses_a_conflict_as_a_whole():
    """Where both claim an extension, nothing of the other is taken over."""
    sales, router = Router(), Router()
    sales.route(extension="2000")(vip)
    sales.route(extension="1000")(vip)
    router.route(extension="1000")(support)
    with pytest.raises(ConfigurationError, match="extension '1000'"):
        router.include(sales)
    with pytest.raises(ConfigurationError):
        router.include(router)
    assert [route.extension for route in router.routes] == ["1000"]
