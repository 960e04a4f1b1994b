"""Events by key."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.ari.bus import Bus, Inbox
from voxtra.ari.decode import UnknownEvent
from voxtra.ari.schema import Bridge, Channel, ChannelEnteredBridge, ChannelHold, Event, StasisStart


def hold(channel: str) -> ChannelHold:
    """Make an event of one key."""
    return ChannelHold(channel=Channel(id=channel))


def joined(bridge: str, channel: str) -> ChannelEnteredBridge:
    """Make an event of two keys."""
    return ChannelEnteredBridge(bridge=Bridge(id=bridge), channel=Channel(id=channel))


async def test_an_inbox_gets_the_events_of_its_keys_in_order():
    """Events of other keys pass by."""
    bus = Bus()
    with bus.expect("a", "b") as inbox:
        published = [hold("a"), hold("c"), hold("b"), hold("a")]
        for event in published:
            bus.publish(event)
        got = [await inbox.get(1) for _ in range(3)]
    assert [id(event) for event in got] == [id(published[n]) for n in (0, 2, 3)]


async def test_an_event_of_two_keys_is_delivered_once():
    """An inbox that waits for both keys of an event gets one event."""
    bus = Bus()
    with bus.expect("bridge", "channel") as inbox:
        bus.publish(joined("bridge", "channel"))
        assert (await inbox.get(1)).type == "ChannelEnteredBridge"
        with pytest.raises(TimeoutError):
            await inbox.get(0)


async def test_every_inbox_of_a_key_gets_the_event():
    """Who waits does not take it away from another who waits."""
    bus = Bus()
    with bus.expect("a") as first, bus.expect("a") as second:
        bus.publish(hold("a"))
        assert await first.get(1) is await second.get(1)


async def test_a_waiting_reader_is_woken():
    """An event that comes later ends the waiting."""
    bus = Bus()
    with bus.expect("a") as inbox:
        reader = asyncio.create_task(inbox.get(5))
        await asyncio.sleep(0)
        bus.publish(hold("a"))
        assert (await reader).type == "ChannelHold"


async def test_wait_for_returns_what_the_predicate_accepts():
    """Events before it are forgotten, those behind it stay."""
    bus = Bus()
    with bus.expect("a") as inbox:
        wanted, behind = StasisStart(channel=Channel(id="a")), hold("a")
        for event in (hold("a"), wanted, behind):
            bus.publish(event)
        assert await inbox.wait_for(lambda event: isinstance(event, StasisStart), 1) is wanted
        assert await inbox.get(1) is behind


async def test_wait_for_has_one_deadline_for_all_events():
    """Events that are not wanted do not prolong the waiting."""
    bus = Bus()
    with bus.expect("a") as inbox:
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def chatter() -> None:
            while True:
                bus.publish(hold("a"))
                await asyncio.sleep(0.01)

        noise = asyncio.create_task(chatter())
        with pytest.raises(TimeoutError):
            await inbox.wait_for(lambda event: False, 0.1)
        noise.cancel()
        assert 0.1 <= loop.time() - began < 1


async def test_a_reader_that_gives_up_loses_nothing():
    """A cancelled or timed-out reader leaves the next event to the next reader."""
    bus = Bus()
    with bus.expect("a") as inbox:
        with pytest.raises(TimeoutError):
            await inbox.get(0.01)
        event = hold("a")
        bus.publish(event)
        assert await inbox.get(1) is event


async def test_a_full_inbox_loses_the_oldest_and_says_so(caplog):
    """The newest events are kept, each loss is counted, and the log doubles rather than floods."""
    bus = Bus()
    with bus.expect("a", limit=3) as inbox, bus.expect("a") as roomy:
        events = [hold("a") for _ in range(8)]
        for event in events:
            bus.publish(event)
        assert [await inbox.get(1) for _ in range(3)] == events[5:]
        assert (inbox.dropped, roomy.dropped, bus.dropped) == (5, 0, 5)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "4 events lost" in caplog.text


async def test_a_closed_inbox_gets_nothing_and_says_so():
    """After the `with` block no event is kept for it, and reading it is an error."""
    bus = Bus()
    with bus.expect("a") as inbox:
        pass
    inbox.close()
    bus.publish(hold("a"))
    with pytest.raises(RuntimeError, match="inbox for a is closed"):
        await inbox.get(1)


async def test_a_closed_bus_wakes_everybody_with_its_error():
    """Waiting ends at once with the error, after the events that had come before it."""
    bus = Bus()
    with bus.expect("a") as waiting, bus.expect("b") as behind:
        reader = asyncio.create_task(waiting.get(5))
        bus.publish(hold("b"))
        await asyncio.sleep(0)
        bus.close(ConnectionError("no events any more"))
        with pytest.raises(ConnectionError, match="no events any more"):
            await reader
        assert (await behind.get(1)).type == "ChannelHold"
        with pytest.raises(ConnectionError):
            await behind.get(1)
    with pytest.raises(ConnectionError):
        bus.expect("a")


async def test_two_readers_of_one_inbox_are_refused():
    """The second one is told so rather than left to wait for ever."""
    bus = Bus()
    with bus.expect("a") as inbox:
        first = asyncio.create_task(inbox.get(5))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="has a reader"):
            await inbox.get(5)
        bus.publish(hold("a"))
        await first


async def test_an_untyped_event_is_delivered_too():
    """An event newer than our schema reaches whoever waits for its channel."""
    bus = Bus()
    with bus.expect("c") as inbox:
        bus.publish(UnknownEvent(raw={"type": "New", "channel": {"id": "c"}}, problem=""))
        assert (await inbox.get(1)).type == "New"


keys = st.sampled_from("abc")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("open"), st.sets(keys, min_size=1)),
            st.tuples(st.just("close"), st.integers(0, 5)),
            st.tuples(st.just("publish"), st.tuples(keys, keys)),
        ),
        max_size=30,
    )
)
def test_the_bus_agrees_with_a_list_of_all_inboxes(steps):
    """However inboxes come and go, each holds what a search through all of them would give it."""

    async def run() -> None:
        bus = Bus()
        inboxes: list[tuple[Inbox, list[Event] | None]] = []
        for verb, value in steps:
            if verb == "open":
                inboxes.append((bus.expect(*value), []))
            elif verb == "close" and value < len(inboxes):
                inboxes[value][0].close()
                inboxes[value] = (inboxes[value][0], None)
            elif verb == "publish":
                event = joined(*value)
                bus.publish(event)
                for inbox, expected in inboxes:
                    if expected is not None and set(value) & set(inbox.keys):
                        expected.append(event)
        for inbox, expected in inboxes:
            if expected is not None:
                assert [await inbox.get(0) for _ in expected] == expected
                with pytest.raises(TimeoutError):
                    await inbox.get(0)

    asyncio.run(run())
