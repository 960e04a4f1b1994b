"""Conversations and transfers in moments that are hard to meet: nobody is left up for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.system.support import eventually, run_app
from tests.toy_exchange import ToyExchange
from voxtra import CallSession, VoxtraApp
from voxtra.exceptions import CallEnded, NotFound, TelephonyError


class Calls:
    """Callers whose handler is the test; `done` lets a caller's handler return."""

    def __init__(self, app: VoxtraApp, pbx: ToyExchange) -> None:
        self.pbx = pbx
        self._app = app
        self._done: dict[str, asyncio.Event] = {}
        app.default()(self._serve)

    async def call(self, call_id: str) -> CallSession:
        """Have somebody call and be answered."""
        self._done[call_id] = asyncio.Event()
        self.pbx.call(call_id)
        session = self._app.active_sessions[call_id]
        await session.answer()
        return session

    def done(self, *sessions: CallSession) -> None:
        """Let the handlers of these calls return."""
        for session in sessions:
            self._done[session.id].set()

    async def _serve(self, call: CallSession) -> None:
        await self._done[call.id].wait()


@pytest.fixture
def pbx() -> ToyExchange:
    """Return a PBX."""
    return ToyExchange()


@pytest.fixture
async def calls(pbx: ToyExchange) -> AsyncIterator[Calls]:
    """Run an app that callers reach."""
    app = VoxtraApp(telephony=pbx)
    made = Calls(app, pbx)
    async with run_app(app):
        yield made


async def test_the_caller_goes_when_the_far_end_answers(calls: Calls, pbx: ToyExchange) -> None:
    """Who answers a transfer in the moment in which the caller hangs up is hung up."""
    caller = await calls.call("a")
    pbx.when_answered = lambda: pbx.end("a")
    with pytest.raises(CallEnded):
        await caller.transfer_to("PJSIP/agent")
    assert pbx.up == set()
    await eventually(lambda: not pbx.bridges)


@pytest.mark.parametrize("verb", ["ring_stop", "create_bridge", "bridge_add"])
async def test_a_transfer_that_fails_after_the_answer(
    calls: Calls, pbx: ToyExchange, verb: str
) -> None:
    """Who has answered a transfer that can't be completed is hung up; the caller goes on."""
    caller = await calls.call("a")
    pbx.refuses.add(verb)
    with pytest.raises(TelephonyError):
        await caller.transfer_to("PJSIP/agent")
    assert pbx.up == {"a"}
    assert not caller.state.is_final


@pytest.mark.parametrize("steps", range(1, 16))
async def test_a_transfer_that_is_given_up(calls: Calls, pbx: ToyExchange, steps: int) -> None:
    """A transfer given up at any moment leaves a conversation of two, or the caller alone."""
    caller = await calls.call("a")
    transfer = asyncio.create_task(caller.transfer_to("PJSIP/agent"))
    for _ in range(steps):
        await asyncio.sleep(0)
    transfer.cancel()
    await asyncio.gather(transfer, return_exceptions=True)
    await eventually(lambda: caller.bridge is None or not caller.bridge.is_over)
    together = 1 if caller.bridge is None else 2
    await eventually(lambda: len(pbx.up) == together)
    assert len(pbx.bridges) == together - 1


async def test_one_whose_handler_is_done_can_move(calls: Calls, pbx: ToyExchange) -> None:
    """A call whose handler is done is not hung up when it goes into another conversation, with
    somebody else or with the same; who stays behind alone with nothing to do is.
    """
    one, two, three = [await calls.call(name) for name in "abc"]
    first = await one.bridge_with(two)
    calls.done(one, two)
    await asyncio.sleep(0)
    second = await two.bridge_with(one)
    assert (set(second.members), pbx.up) == ({one, two}, {"a", "b", "c"})
    third = await three.bridge_with(one)
    await asyncio.gather(first.wait(), second.wait())
    assert set(third.members) == {one, three}
    assert pbx.up == {"a", "c"}
    assert pbx.bridges == {third.id: {"a", "c"}}


async def test_a_move_that_fails_leaves_nobody_up_for_nothing(
    calls: Calls, pbx: ToyExchange
) -> None:
    """When a call whose handler is done can't get into the next conversation, it is hung up."""
    one, two, three = [await calls.call(name) for name in "abc"]
    await one.bridge_with(two)
    calls.done(one, two)
    await asyncio.sleep(0)
    pbx.refuses.add("bridge_add")
    with pytest.raises(TelephonyError):
        await three.bridge_with(one)
    await eventually(lambda: pbx.up == {"c"})
    assert not three.state.is_final


async def test_two_conversations_at_the_same_time(calls: Calls, pbx: ToyExchange) -> None:
    """A call that two want at the same moment is in one conversation; the other one is over."""
    one, two, three = [await calls.call(name) for name in "abc"]
    made = await asyncio.gather(
        one.bridge_with(two), one.bridge_with(three), return_exceptions=True
    )
    bridges = [each for each in made if not isinstance(each, BaseException)]
    await eventually(lambda: len(pbx.bridges) == 1)
    (bridge,) = [each for each in bridges if not each.is_over]
    assert one.bridge is bridge
    assert pbx.bridges == {bridge.id: {member.id for member in bridge.members}}
    assert len(bridge.members) == 2
    assert [two.bridge, three.bridge].count(None) == 1


async def test_a_member_that_leaves_while_the_conversation_is_closed(
    calls: Calls, pbx: ToyExchange
) -> None:
    """A conversation is closed to its end when a member hangs up meanwhile."""
    one, two = [await calls.call(name) for name in "ab"]
    bridge = await one.bridge_with(two)
    await asyncio.gather(bridge.close(), one.hangup(), two.hangup())
    assert pbx.bridges == {}


async def test_a_member_that_can_not_be_let_go(calls: Calls, pbx: ToyExchange) -> None:
    """One who can't be taken out keeps nobody else in, and the conversation from nothing."""
    one, two = [await calls.call(name) for name in "ab"]
    bridge = await one.bridge_with(two)
    pbx.refuses.add("bridge_remove")
    with pytest.raises(TelephonyError):
        await bridge.remove(one)
    await bridge.wait()
    assert (one.bridge, two.bridge, pbx.bridges) == (None, None, {})


async def test_a_conversation_that_is_over_takes_nobody(calls: Calls) -> None:
    """Adding to a conversation that is over says so, and not that the call is."""
    one, two, three = [await calls.call(name) for name in "abc"]
    bridge = await one.bridge_with(two)
    await bridge.close()
    with pytest.raises(NotFound, match="over"):
        await bridge.add(three)


async def test_a_hostile_caller_is_transferred(calls: Calls, pbx: ToyExchange) -> None:
    """Line breaks in what a caller claims to be reach no header of a transfer, and no log."""
    pbx.caller_id = "1\r\nP-Asserted-Identity: sip:boss@example.com"
    caller = await calls.call("a")
    assert caller.caller_id == pbx.caller_id
    agent = await caller.transfer_to("PJSIP/agent")
    assert agent.caller_id.isprintable()
    assert agent.caller_id.startswith("1P-Asserted")
    assert repr(caller).isprintable()
