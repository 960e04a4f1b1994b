"""Conferences: they last, they are told of, and they end whole, whoever asks and whoever goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.place import Pbx
from tests.system.support import Collector, eventually, run_app
from voxtra import CallSession, VoxtraApp, outcome
from voxtra.conference import Conference
from voxtra.events import VoxtraEvent
from voxtra.exceptions import CallEnded, ConferenceEmpty, NotFound, TelephonyError
from voxtra.record_options import RecordOptions


class Hall:
    """An app with callers who stay, and all that it told."""

    def __init__(self, folder: Path) -> None:
        self.pbx = Pbx(folder / "spool")
        self.sink = Collector()
        self.events: list[VoxtraEvent] = []
        self.app = VoxtraApp(
            telephony=self.pbx,
            recording_sink=self.sink,
            recording_dir=self.pbx.folder,
            download_dir=folder / "downloads",
        )
        self.app.subscribe(self.events.append)
        self.leave = asyncio.Event()
        self.app.default(self._stay)

    async def _stay(self, call: CallSession) -> None:
        await call.answer()
        await self.leave.wait()

    async def call(self, call_id: str) -> CallSession:
        """Have somebody call, and be answered."""
        self.pbx.call(call_id)
        session = self.app.get_session(call_id)
        assert session is not None
        await session.wait_answered()
        return session

    async def conference(self, *members: CallSession) -> Conference:
        """Make a conference of these calls."""
        made = await self.app.switchboard.conference("c", tenant_id="acme")
        for each in members:
            await made.add(each)
        return made

    def told(self, conference: Conference) -> list[str]:
        """Return what was told of a conference: the last word of each type, and of whom."""
        return [
            " ".join([event.type.value.removeprefix("conference."), *event.data.values()]).strip()
            for event in self.events
            if event.type.value.startswith("conference.") and event.session_id == conference.id
        ]


@pytest.fixture
async def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hall]:
    """Run an app that callers reach."""
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.05)
    made = Hall(tmp_path)
    async with run_app(made.app):
        yield made


async def test_it_lasts(hall: Hall) -> None:
    """With nobody, with one, and when the last one has left, it is there; it ends when it is
    closed.
    """
    conference = await hall.conference()
    call = await hall.call("a")
    await conference.add(call)
    await conference.remove(call)
    hall.pbx.end("a")
    assert not conference.is_over
    assert hall.app.get_conference(conference.id) is conference
    assert conference.id in hall.pbx.bridges
    await conference.close()
    assert conference.id not in hall.pbx.bridges
    await eventually(lambda: hall.app.get_conference(conference.id) is None)
    assert hall.told(conference) == ["started c", "joined a", "left a", "ended"]


async def test_it_is_known_with_its_first_event(hall: Hall) -> None:
    """Who hears that it started can ask whose it is; so can who hears that it ended."""
    tenants: list[str] = []

    def look(event: VoxtraEvent) -> None:
        found = hall.app.get_conference(event.session_id)
        tenants.append(found.tenant_id if found else "")

    hall.app.subscribe(look)
    conference = await hall.conference()
    await conference.close()
    assert tenants == ["acme", "acme"]


async def test_one_that_can_not_be_made(hall: Hall) -> None:
    """It is not there, and nothing was told of it."""
    hall.pbx.refuses.add("create_bridge")
    with pytest.raises(TelephonyError):
        await hall.app.switchboard.conference()
    assert hall.app.switchboard.conferences == {}
    assert hall.events == []


async def test_who_comes_and_goes_is_told_once(hall: Hall) -> None:
    """Joining twice is joining once, leaving twice is leaving once, hanging up is leaving."""
    one, two = await hall.call("one"), await hall.call("two")
    conference = await hall.conference(one, one, two)
    await conference.remove(one)
    await conference.remove(one)
    hall.pbx.end("two")
    assert hall.told(conference) == [
        "started c",
        "joined one",
        "joined two",
        "left one",
        "left two",
    ]
    assert conference.members == ()


async def test_a_call_is_in_one_conference_at_a_time(hall: Hall) -> None:
    """Who is put into another one leaves the first, which lasts."""
    call = await hall.call("a")
    first = await hall.conference(call)
    second = await hall.conference(call)
    assert call.bridge is second
    assert hall.pbx.bridges == {first.id: set(), second.id: {"a"}}
    assert hall.told(first)[-1] == "left a"
    assert not first.is_over


async def test_two_conferences_want_a_call_at_once(hall: Hall) -> None:
    """It is in exactly one of them, and both say the same as the PBX."""
    call = await hall.call("a")
    halls = [await hall.conference() for _ in range(2)]
    await asyncio.gather(*(each.add(call) for each in halls))
    (having,) = [each for each in halls if each.members]
    assert call.bridge is having
    assert hall.pbx.bridges[having.id] == {"a"}


async def test_a_call_that_ends_while_it_is_put_in(hall: Hall) -> None:
    """It is in none, and the conference goes on."""
    call = await hall.call("a")
    conference = await hall.conference()
    adding = asyncio.create_task(conference.add(call))
    await asyncio.sleep(0)
    hall.pbx.end("a")
    with pytest.raises(CallEnded):
        await adding
    assert conference.members == ()
    assert not conference.is_over


async def test_one_that_is_over_takes_nobody(hall: Hall) -> None:
    """An error says so, and the call goes on."""
    call = await hall.call("a")
    conference = await hall.conference()
    await conference.close()
    with pytest.raises(NotFound, match="over"):
        await conference.add(call)
    with pytest.raises(NotFound, match="over"):
        await conference.record_start()
    assert hall.pbx.up == {"a"}


async def test_its_members_go_on_by_themselves(hall: Hall) -> None:
    """A call with a handler stays up at the end of a conference; one without is hung up."""
    kept, parked = await hall.call("kept"), await hall.call("parked")
    conference = await hall.conference(kept, parked)
    parked.park()
    await conference.close()
    assert hall.pbx.up == {"kept"}
    assert kept.bridge is None


# -- recordings


async def test_nobody_to_record(hall: Hall) -> None:
    """An empty conference is not recorded: the PBX would end that by itself, with nothing in it."""
    conference = await hall.conference()
    with pytest.raises(ConferenceEmpty) as empty:
        await conference.record_start()
    assert empty.value.conference_id == conference.id
    assert not hall.pbx.live


async def test_a_recording_of_the_whole(hall: Hall) -> None:
    """It is of the bridge and of no call, it goes on when one leaves, and belongs to the tenant."""
    one, two = await hall.call("one"), await hall.call("two")
    conference = await hall.conference(one, two)
    made = await conference.record(RecordOptions(target=conference.default_target))
    assert (made.target, made.target_id, made.conference_id) == (
        "bridge",
        conference.id,
        conference.id,
    )
    assert (made.call_id, made.tenant_id, made.holder_id) == ("", "acme", conference.id)
    hall.pbx.end("one")
    assert conference.recording is not None
    await conference.close()
    (told,) = await hall.sink.wait_for(1)
    assert (told.extra["state"], told.extra["end_reason"]) == ("available", "stopped")


async def test_it_ends_after_its_recording(hall: Hall) -> None:
    """The bridge is destroyed when the file is finished: before that nobody would hear of it."""
    conference = await hall.conference(await hall.call("a"))
    await conference.record_start()
    order: list[str] = []
    hall.app.subscribe(
        lambda event: order.append(event.type.value) if "recording" in event.type else None
    )
    destroy = hall.pbx.destroy_bridge

    async def noted(bridge_id: str) -> None:
        order.append("destroyed")
        await destroy(bridge_id)

    hall.pbx.destroy_bridge = noted  # type: ignore[method-assign]  # to see in which order
    await conference.close()
    assert order[:2] == ["recording.finished", "destroyed"]


async def test_a_member_s_own_recording_goes_on(hall: Hall) -> None:
    """What a call records of itself has nothing to do with the conference's end."""
    call = await hall.call("a")
    await call.record_start()
    conference = await hall.conference(call)
    await conference.record_start()
    await conference.close()
    assert call.recording is not None
    assert [each.target_id for each in hall.pbx.live.values()] == ["a"]


# -- ends


async def test_many_close_it_at_once(hall: Hall) -> None:
    """It ends once, and all return when it is over."""
    conference = await hall.conference(await hall.call("a"))
    await asyncio.gather(*(conference.close() for _ in range(3)))
    assert hall.told(conference)[-2:] == ["left a", "ended"]
    await conference.close()
    assert hall.told(conference).count("ended") == 1


async def test_who_closes_it_goes_away(hall: Hall) -> None:
    """The end that was asked for comes about, and is told, whoever waits for it."""
    conference = await hall.conference(await hall.call("a"))
    await conference.record_start()
    closing = asyncio.create_task(conference.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await conference.wait()
    await eventually(lambda: hall.told(conference)[-1] == "ended")
    assert conference.id not in hall.pbx.bridges
    await hall.sink.wait_for(1)


@pytest.mark.parametrize("verb", ["bridge_remove", "destroy_bridge"])
async def test_a_pbx_that_fails_at_the_end(hall: Hall, verb: str) -> None:
    """It is over all the same, and told so."""
    conference = await hall.conference(await hall.call("a"))
    hall.pbx.refuses.add(verb)
    await conference.close()
    assert hall.told(conference)[-1] == "ended"


async def test_the_app_ends(tmp_path: Path) -> None:
    """Conferences end with it, and their recordings are finished."""
    hall = Hall(tmp_path)
    async with run_app(hall.app):
        conference = await hall.conference(await hall.call("a"))
        await conference.record_start()
    assert hall.told(conference)[-1] == "ended"
    assert hall.pbx.bridges == {}
    assert [each.extra["state"] for each in hall.sink.received] == ["available"]


# -- after a restart


async def test_it_is_taken_over_with_who_is_left(hall: Hall) -> None:
    """Calls that are gone by then are not in it; it can be recorded and closed like before."""
    await hall.call("a")
    hall.pbx.bridges["b"] = {"a", "gone"}
    assert await hall.app.switchboard.resume_conference("b", "weekly", "acme")
    conference = hall.app.get_conference("b")
    assert conference is not None
    assert (conference.name, conference.tenant_id) == ("weekly", "acme")
    assert [each.id for each in conference.members] == ["a"]
    await conference.record_start()
    await conference.close()
    assert hall.told(conference) == ["joined a", "left a", "ended"]
    await eventually(lambda: hall.app.get_conference("b") is None)


async def test_one_whose_bridge_is_gone(hall: Hall) -> None:
    """There is nothing to take over."""
    assert not await hall.app.switchboard.resume_conference("b", "", "acme")
    assert hall.app.switchboard.conferences == {}
    assert hall.events == []
